//! How many different entries an account may look up in a day, or a client of the legacy API, which has no accounts.
//!
//! Invariant: looking the same contacts up again costs nothing; only new entries count. Each process counts for
//! itself: a write to the database for every lookup would cost many times what the lookup does.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Timestamp;

use super::{Counted, subject};

const DAY: i64 = 86_400_000;

/// Entries of all accounts and clients that are told apart, about 160 MB; those beyond it are counted without telling
/// known entries from new ones.
const BUDGET: usize = 10_000_000;

/// Accounts and clients after which new clients are not counted, about 250 MB. Whoever has so many addresses to come from
/// is not held back by a quota for each of them.
const MAX_PARTIES: usize = 1_000_000;

/// The counters of one process.
#[derive(Debug)]
pub struct LookupQuota {
    /// Entries of one account or client and day; 0 for no bound.
    quota: usize,
    max_parties: usize,
    hasher: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: i64,
    parties: HashMap<[u8; 32], Seen>,
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
    /// Counters with `quota` entries of one account or client and day; 0 for no bound.
    pub fn new(quota: usize) -> Self {
        Self { quota, max_parties: MAX_PARTIES, hasher: RandomState::new(), today: Mutex::default() }
    }

    /// Counts the entries of one request by `counted`.
    ///
    /// # Errors
    /// The time until the next day, if the quota does not hold them all; none is counted then.
    pub fn charge(&self, counted: Counted<'_>, entries: &[&str], now: Timestamp) -> Result<(), Duration> {
        if self.quota == 0 || entries.is_empty() {
            return Ok(());
        }
        let party = subject("daily_quota", counted);
        let hashes: Vec<u64> = entries.iter().map(|entry| self.hasher.hash_one(entry)).collect();
        let day = now.as_millis().div_euclid(DAY);
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if today.day != day {
            *today = Today { day, ..Today::default() };
        }
        let is_new = !today.parties.contains_key(&party);
        if is_new && matches!(counted, Counted::Client(_)) && today.parties.len() >= self.max_parties {
            return Ok(());
        }
        let is_within_budget = today.entries + hashes.len() <= BUDGET;
        let seen = today.parties.entry(party).or_default();
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
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{Counted, LookupQuota};
    use crate::domain::mxid::UserId;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);
    const HALF_A_DAY: Duration = Duration::from_secs(43_200);

    #[test]
    fn only_new_entries_count_and_a_new_day_begins_at_zero() {
        let quota = LookupQuota::new(3);
        let (alice, bob) = (UserId::parse("@alice:hs").unwrap(), UserId::parse("@bob:hs").unwrap());
        let (alice, bob) = (Counted::Account(&alice), Counted::Account(&bob));
        assert_eq!(quota.charge(alice, &["a", "b"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["c", "d"], NOON), Err(HALF_A_DAY));
        assert_eq!(quota.charge(alice, &["a", "b", "c"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["a", "a", "b", "c", "c"], NOON), Ok(()));
        assert_eq!(quota.charge(bob, &["x", "y", "z"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["d"], NOON), Err(HALF_A_DAY));
        assert_eq!(quota.charge(alice, &["d"], NOON.plus(HALF_A_DAY)), Ok(()));
        assert_eq!(LookupQuota::new(0).charge(alice, &["1", "2", "3", "4"], NOON), Ok(()));
    }

    #[test]
    fn a_client_is_counted_by_its_address_and_apart_from_every_account() {
        let quota = LookupQuota::new(1);
        let charge = |client: &str, entry| quota.charge(Counted::Client(client.parse().unwrap()), &[entry], NOON);
        for (client, same, other) in [("1.2.3.4", "1.2.3.4", "1.2.3.5"), ("2a00::1", "2a00::2", "2a00:0:0:1::1")] {
            assert_eq!(charge(client, "a"), Ok(()));
            assert_eq!(charge(same, "a"), Ok(()));
            assert_eq!(charge(same, "b"), Err(HALF_A_DAY));
            assert_eq!(charge(other, "b"), Ok(()));
        }
        let alice = UserId::parse("@alice:hs").unwrap();
        assert_eq!(quota.charge(Counted::Account(&alice), &["b"], NOON), Ok(()));
    }

    #[test]
    fn clients_without_number_fill_no_memory_and_take_nothing_from_accounts() {
        let quota = LookupQuota { max_parties: 3, ..LookupQuota::new(1) };
        let client = |number: u8| Counted::Client(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)));
        for number in 0..9 {
            assert_eq!(quota.charge(client(number), &["a"], NOON), Ok(()));
        }
        assert_eq!(quota.today.lock().unwrap().parties.len(), 3);
        // Who was there before is held to the quota, and so is every account.
        let alice = UserId::parse("@alice:hs").unwrap();
        for counted in [client(0), Counted::Account(&alice)] {
            assert_eq!(quota.charge(counted, &["a"], NOON), Ok(()));
            assert_eq!(quota.charge(counted, &["b"], NOON), Err(HALF_A_DAY));
        }
    }
}
