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
    /// Keyed 64-bit hashes: enough to tell entries apart, useless to whoever reads the memory.
    seen: HashMap<UserId, HashSet<u64>>,
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
            *today = Today { day, seen: HashMap::new() };
        }
        let seen = today.seen.entry(mxid.clone()).or_default();
        // A request that surely fits needs no count of what is new in it.
        if seen.len() + hashes.len() > self.quota {
            let new: HashSet<u64> = hashes.iter().copied().filter(|hash| !seen.contains(hash)).collect();
            if seen.len() + new.len() > self.quota {
                metrics::counter!("identity_rate_limited_total", "limit" => "daily_quota").increment(1);
                let tomorrow = Timestamp::from_millis((day + 1) * DAY);
                return Err(tomorrow.since(now));
            }
        }
        seen.extend(hashes);
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
