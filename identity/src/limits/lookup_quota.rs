//! The daily lookup quota: distinct entries of an account, or of a client address for the legacy API; and their sum
//! over the accounts of a homeserver, or over an IPv6 /48.
//!
//! Invariant: a repeated lookup of the same contacts is free; only new entries count. Each process counts by itself: a
//! database write for every lookup would cost many times the lookup.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;
use shared::config::Globs;

use super::{LARGE_FACTOR, LimitKey, SITE_FACTOR, is_large, subject};
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
    /// Entries of all accounts of one homeserver and day; 0 disables this quota.
    per_homeserver: usize,
    /// `[limits] large_homeservers`.
    large: Globs,
    max_callers: usize,
    hasher: RandomState,
    today: Mutex<Today>,
}

#[derive(Debug, Default)]
struct Today {
    day: UtcDay,
    callers: HashMap<[u8; 32], Seen>,
    /// The entries of each group of callers.
    groups: HashMap<[u8; 32], usize>,
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
    /// Allows `quota` entries of one account or client and day, and `per_homeserver` of all accounts of one homeserver;
    /// 0 disables either quota. The homeservers in `large` get more.
    pub fn new(quota: usize, per_homeserver: usize, large: Globs) -> Self {
        let hasher = RandomState::new();
        Self { quota, per_homeserver, large, max_callers: MAX_CALLERS, hasher, today: Mutex::default() }
    }

    /// Counts the entries of one request by `key`.
    ///
    /// # Errors
    /// The time until the next day if they exceed the quota; none of them is counted then.
    pub fn charge(&self, key: LimitKey<'_>, entries: &[&str], now: Timestamp) -> Result<(), Duration> {
        let group = self.group(key);
        if self.quota == 0 && group.is_none() || entries.is_empty() {
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
        let group_used = group.map_or(0, |(group, _)| today.groups.get(&group).copied().unwrap_or(0));
        let seen = today.callers.entry(caller).or_default();
        let used = seen.entries.len() + seen.untracked;
        let exceeds = |new: usize| {
            let own = self.quota > 0 && used + new > self.quota;
            own || group.is_some_and(|(_, quota)| group_used + new > quota)
        };
        // A request that fits even if every entry is new needs no search for new ones.
        if exceeds(hashes.len()) {
            let new: HashSet<u64> = hashes.iter().copied().filter(|hash| !seen.entries.contains(hash)).collect();
            if exceeds(new.len()) {
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
        let (tracked, counted) = (seen.entries.len() - before, seen.entries.len() + seen.untracked - used);
        today.entries += tracked;
        if let Some((group, _)) = group {
            *today.groups.entry(group).or_default() += counted;
        }
        Ok(())
    }

    /// The group of the caller, and its quota; none if it has no quota.
    fn group(&self, key: LimitKey<'_>) -> Option<([u8; 32], usize)> {
        let times = |quota: usize, factor: u32| quota.saturating_mul(usize::try_from(factor).unwrap_or(usize::MAX));
        let (key, quota) = match key {
            LimitKey::Account(mxid) if is_large(mxid.server_name(), &self.large) => {
                (LimitKey::LargeHomeserver(mxid.server_name()), times(self.per_homeserver, LARGE_FACTOR))
            }
            LimitKey::Account(mxid) => (LimitKey::Homeserver(mxid.server_name()), self.per_homeserver),
            LimitKey::Client(IpAddr::V6(address)) => (LimitKey::ClientSite(address), times(self.quota, SITE_FACTOR)),
            _ => return None,
        };
        (quota > 0).then(|| (subject("daily_quota_of_group", key), quota))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::config::Globs;

    use super::{LimitKey, LookupQuota};
    use crate::domain::mxid::UserId;

    const NOON: Timestamp = Timestamp::from_millis(43_200_000);
    const HALF_A_DAY: Duration = Duration::from_secs(43_200);

    /// A quota of one caller alone.
    fn of(quota: usize) -> LookupQuota {
        LookupQuota::new(quota, 0, Globs::default())
    }

    #[test]
    fn the_accounts_of_one_owners_homeservers_share_a_quota() {
        let quota = LookupQuota::new(3, 5, Globs::from(["big.example"]));
        let charge = |mxid: &str, entries: &[&str]| {
            let mxid = UserId::parse(mxid).unwrap();
            quota.charge(LimitKey::Account(&mxid), entries, NOON)
        };
        assert_eq!(charge("@a:hs.example", &["1", "2", "3"]), Ok(()));
        // What an account has asked before is free, and a refused request counts nothing.
        assert_eq!(charge("@a:hs.example", &["1", "2"]), Ok(()));
        assert_eq!(charge("@b:x.hs.example", &["1", "2", "3"]), Err(HALF_A_DAY));
        assert_eq!(charge("@b:x.hs.example", &["1", "2"]), Ok(()));
        assert_eq!(charge("@c:hs.example:8448", &["1"]), Err(HALF_A_DAY));
        assert_eq!(charge("@a:hs.example", &["1", "2", "3"]), Ok(()));
        assert_eq!(charge("@c:other.example", &["1", "2", "3"]), Ok(()));
        for n in 0..100 {
            assert_eq!(charge(&format!("@u{n}:big.example"), &["1", "2", "3"]), Ok(()), "{n}");
        }
        let without_own = LookupQuota::new(0, 2, Globs::default());
        let a = UserId::parse("@a:hs").unwrap();
        assert_eq!(without_own.charge(LimitKey::Account(&a), &["1", "2"], NOON), Ok(()));
        assert_eq!(without_own.charge(LimitKey::Account(&a), &["3"], NOON), Err(HALF_A_DAY));
    }

    #[test]
    fn the_networks_of_one_site_share_four_times_the_quota() {
        let quota = of(1);
        let charge = |n: u16| {
            let client = IpAddr::V6(std::net::Ipv6Addr::new(0x2a00, 1, 2, n, 0, 0, 0, 1));
            quota.charge(LimitKey::Client(client), &["a"], NOON)
        };
        let answers: Vec<_> = (0..6).map(|n| charge(n).is_ok()).collect();
        assert_eq!(answers, [true, true, true, true, false, false]);
    }

    #[test]
    fn only_new_entries_count_and_each_day_starts_at_zero() {
        let quota = of(3);
        let (alice, bob) = (UserId::parse("@alice:hs").unwrap(), UserId::parse("@bob:hs").unwrap());
        let (alice, bob) = (LimitKey::Account(&alice), LimitKey::Account(&bob));
        assert_eq!(quota.charge(alice, &["a", "b"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["c", "d"], NOON), Err(HALF_A_DAY));
        assert_eq!(quota.charge(alice, &["a", "b", "c"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["a", "a", "b", "c", "c"], NOON), Ok(()));
        assert_eq!(quota.charge(bob, &["x", "y", "z"], NOON), Ok(()));
        assert_eq!(quota.charge(alice, &["d"], NOON), Err(HALF_A_DAY));
        assert_eq!(quota.charge(alice, &["d"], NOON.plus(HALF_A_DAY)), Ok(()));
        assert_eq!(of(0).charge(alice, &["1", "2", "3", "4"], NOON), Ok(()));
    }

    #[test]
    fn clients_are_counted_by_address_and_separately_from_accounts() {
        let quota = of(1);
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
        let quota = LookupQuota { max_callers: 3, ..of(1) };
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
