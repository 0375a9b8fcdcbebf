//! How many different entries an account may look up in a day.
//!
//! Invariant: looking the same contacts up again costs nothing; only new entries count. Each process counts for
//! itself: a write to the database for every lookup would cost many times what the lookup does.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::mxid::UserId;

const DAY: i64 = 86_400_000;

/// Entries of all accounts that are told apart, about 160 MB; accounts beyond it are counted without telling known
/// entries from new ones.
const BUDGET: usize = 10_000_000;

/// The counters of one process.
#[derive(Debug)]
pub struct LookupQuota {
    /// Entries of one account and day; 0 for no bound.
    quota: usize,
    hasher: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    accounts: HashMap<UserId, Seen>,
    /// The entries of all of them that are told apart.
    entries: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// Keyed 64-bit hashes: enough to tell entries apart, useless to whoever reads the memory.
    entries: HashSet<u64>,
    /// Those that came when the budget was used up.
    untold: usize,
}

impl LookupQuota {
    /// Counters with `quota` entries of one account and day; 0 for no bound.
    pub fn new(quota: usize) -> Self {
        Self { quota, hasher: RandomState::new(), today: Mutex::default() }
    }

    /// Counts the entries of one request.
    ///
    /// # Errors
    /// The time until the next day, if the account's quota does not hold them all; none is counted then.
    pub fn charge(&self, mxid: &UserId, entries: &[&str], now: Timestamp) -> Result<(), Duration> {
        if self.quota == 0 {
            return Ok(());
        }
        let hashes: Vec<u64> = entries.iter().map(|entry| self.hasher.hash_one(entry)).collect();
        let day = now.as_millis().div_euclid(DAY);
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day != day {
            *today = Today { day, ..Today::default() };
        }
        let is_within_budget = today.entries + hashes.len() <= BUDGET;
        let seen = today.accounts.entry(mxid.clone()).or_default();
        let used = seen.entries.len() + seen.untold;
        // A request that surely fits needs no count of what is new in it.
        if used + hashes.len() > self.quota {
            let new: HashSet<u64> = hashes.iter().copied().filter(|hash| !seen.entries.contains(hash)).collect();
            if used + new.len() > self.quota {
                metrics::counter!("identity_rate_limited_total", "limit" => "daily_quota").increment(1);
                let tomorrow = Timestamp::from_millis((day + 1) * DAY);
                return Err(tomorrow.since(now));
            }
        }
        let before = seen.entries.len();
        if is_within_budget {
            seen.entries.extend(hashes);
        } else {
            seen.untold += hashes.iter().filter(|hash| !seen.entries.contains(hash)).count();
        }
        let added = seen.entries.len() - before;
        today.entries += added;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::LookupQuota;
    use crate::domain::mxid::UserId;

    #[test]
    fn only_new_entries_count_and_a_new_day_begins_at_zero() {
        let quota = LookupQuota::new(3);
        let (alice, bob) = (UserId::parse("@alice:hs").unwrap(), UserId::parse("@bob:hs").unwrap());
        let noon = Timestamp::from_millis(43_200_000);
        let half_a_day = Duration::from_secs(43_200);
        assert_eq!(quota.charge(&alice, &["a", "b"], noon), Ok(()));
        assert_eq!(quota.charge(&alice, &["c", "d"], noon), Err(half_a_day));
        assert_eq!(quota.charge(&alice, &["a", "b", "c"], noon), Ok(()));
        assert_eq!(quota.charge(&alice, &["a", "a", "b", "c", "c"], noon), Ok(()));
        assert_eq!(quota.charge(&bob, &["x", "y", "z"], noon), Ok(()));
        assert_eq!(quota.charge(&alice, &["d"], noon), Err(half_a_day));
        assert_eq!(quota.charge(&alice, &["d"], noon.plus(half_a_day)), Ok(()));
        assert_eq!(LookupQuota::new(0).charge(&alice, &["1", "2", "3", "4"], noon), Ok(()));
    }
}
