//! The daily lookup quota: distinct entries of an account, or of a client address for the legacy API.
//!
//! Invariant: a repeated lookup of the same contacts is free; only new entries count. Each process counts by itself: a
//! database write for every lookup would cost many times the lookup.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;

use super::{LimitKey, subject};
use crate::domain::utc_day::UtcDay;

/// Entries in memory, of all accounts and clients, about 160 MB. Beyond it every entry counts as new.
const MAX_ENTRIES: usize = 10_000_000;

/// Accounts and clients in memory, about 250 MB. Beyond it new clients are not counted: a quota by address does not stop
/// an attacker with that many addresses.
const MAX_CALLERS: usize = 1_000_000;

/// The lookups of one process on the current day.
#[derive(Debug)]
pub struct LookupQuota {
    /// Entries of one account or client and day; 0 disables the quota.
    quota: usize,
    max_callers: usize,
    hasher: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: UtcDay,
    callers: HashMap<[u8; 32], Seen>,
    /// The number of entries in memory, of all callers.
    entries: usize,
}

#[derive(Debug, Default)]
struct Seen {
    /// Keyed 64-bit hashes, which distinguish entries and reveal none of them.
    entries: HashSet<u64>,
    /// Entries beyond [`MAX_ENTRIES`].
    untracked: usize,
}

impl LookupQuota {
    /// Allows `quota` entries of one account or client and day; 0 disables the quota.
    pub fn new(quota: usize) -> Self {
        Self { quota, max_callers: MAX_CALLERS, hasher: RandomState::new(), today: Mutex::default() }
    }

    /// Counts the entries of one request by `key`.
    ///
    /// # Errors
    /// The time until the next day if they exceed the quota; none of them is counted then.
    pub fn charge(&self, key: LimitKey<'_>, entries: &[&str], now: Timestamp) -> Result<(), Duration> {
        if self.quota == 0 || entries.is_empty() {
            return Ok(());
        }
        let caller = subject("daily_quota", key);
        let hashes: Vec<u64> = entries.iter().map(|entry| self.hasher.hash_one(entry)).collect();
        let day = UtcDay::of(now);
        let mut today = self.today.lock();
        if today.day != day {
            *today = Today { day, ..Today::default() };
        }
        let is_new = !today.callers.contains_key(&caller);
        if is_new && matches!(key, LimitKey::Client(_)) && today.callers.len() >= self.max_callers {
            return Ok(());
        }
        let is_tracked = today.entries + hashes.len() <= MAX_ENTRIES;
        let seen = today.callers.entry(caller).or_default();
        let used = seen.entries.len() + seen.untracked;
        // A request that fits even if every entry is new needs no search for new ones.
        if used + hashes.len() > self.quota {
            let new: HashSet<u64> = hashes.iter().copied().filter(|hash| !seen.entries.contains(hash)).collect();
            if used + new.len() > self.quota {
                metrics::counter!("identity_rate_limited_total", "limit" => "daily_quota").increment(1);
                return Err(day.end().since(now));
            }
        }
        let before = seen.entries.len();
        if is_tracked {
            seen.entries.extend(hashes);
        } else {
            seen.untracked += hashes.iter().filter(|hash| !seen.entries.contains(hash)).count();
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

    use super::{LimitKey, LookupQuota};
    use crate::domain::mxid::UserId;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);
    const HALF_A_DAY: Duration = Duration::from_secs(43_200);

    #[test]
    fn only_new_entries_count_and_each_day_starts_at_zero() {
        let quota = LookupQuota::new(3);
        let (alice, bob) = (UserId::parse("@alice:hs").unwrap(), UserId::parse("@bob:hs").unwrap());
        let (alice, bob) = (LimitKey::Account(&alice), LimitKey::Account(&bob));
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
    fn clients_are_counted_by_address_and_separately_from_accounts() {
        let quota = LookupQuota::new(1);
        let charge = |client: &str, entry| quota.charge(LimitKey::Client(client.parse().unwrap()), &[entry], NOON);
        for (client, same, other) in [("1.2.3.4", "1.2.3.4", "1.2.3.5"), ("2a00::1", "2a00::2", "2a00:0:0:1::1")] {
            assert_eq!(charge(client, "a"), Ok(()));
            assert_eq!(charge(same, "a"), Ok(()));
            assert_eq!(charge(same, "b"), Err(HALF_A_DAY));
            assert_eq!(charge(other, "b"), Ok(()));
        }
        let alice = UserId::parse("@alice:hs").unwrap();
        assert_eq!(quota.charge(LimitKey::Account(&alice), &["b"], NOON), Ok(()));
    }

    #[test]
    fn many_clients_use_bounded_memory_and_do_not_affect_accounts() {
        let quota = LookupQuota { max_callers: 3, ..LookupQuota::new(1) };
        let client = |number: u8| LimitKey::Client(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)));
        for number in 0..9 {
            assert_eq!(quota.charge(client(number), &["a"], NOON), Ok(()));
        }
        assert_eq!(quota.today.lock().callers.len(), 3);
        // The quota applies to earlier clients and to every account.
        let alice = UserId::parse("@alice:hs").unwrap();
        for key in [client(0), LimitKey::Account(&alice)] {
            assert_eq!(quota.charge(key, &["a"], NOON), Ok(()));
            assert_eq!(quota.charge(key, &["b"], NOON), Err(HALF_A_DAY));
        }
    }
}
