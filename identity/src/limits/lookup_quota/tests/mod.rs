//! Rules of the quotas in one process. Each test runs on all databases.

mod attacks;
mod restarts;
mod shared_store;

use std::ops::Range;
use std::time::Duration;

use harness::wait::wait_for;
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::config::Globs;
use shared::random::Random;

use super::{Capacity, LimitKey, LookupQuota, QuotaError, delete_past};
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::store::testing::{execute, stores, user};
use crate::store::{Store, StoreError, lookup_days, lookup_fingerprints, lookup_leases};

const NOON: Timestamp = Timestamp::from_millis(43_200_000);
const HALF_A_DAY: Duration = Duration::from_secs(43_200);

/// One process with its quotas.
struct Process {
    store: Store,
    quota: LookupQuota,
}

impl Process {
    fn start(store: &Store, quota: usize, per_homeserver: usize) -> Self {
        let large = Globs::from(["big.example"]);
        Self { store: store.clone(), quota: LookupQuota::new(quota, per_homeserver, large, Random) }
    }

    /// The result of a request for the addresses with these numbers.
    async fn ask(&self, key: LimitKey<'_>, numbers: Range<u32>, now: Timestamp) -> Result<(), QuotaError> {
        let digests: Vec<_> = numbers.map(digest).collect();
        self.quota.charge(&self.store, key, &digests, now).await
    }

    /// Whether the request is allowed; its error is then the time until midnight.
    async fn allows_at(&self, key: LimitKey<'_>, numbers: Range<u32>, now: Timestamp) -> bool {
        match self.ask(key, numbers, now).await {
            Ok(()) => true,
            Err(QuotaError::Exceeded(wait)) => {
                let rest = 86_400_000 - now.as_millis().rem_euclid(86_400_000);
                assert_eq!(i64::try_from(wait.as_millis()), Ok(rest));
                false
            }
            Err(QuotaError::Store(error)) => panic!("{error}"),
        }
    }

    async fn allows(&self, mxid: &str, numbers: Range<u32>) -> bool {
        self.allows_at(LimitKey::Account(&user(mxid)), numbers, NOON).await
    }

    /// Ends as a process that is stopped.
    async fn stop(self) {
        self.quota.close(&self.store).await;
    }
}

fn digest(number: u32) -> LookupDigest {
    LookupDigest::from_bytes(Sha256::digest(number.to_le_bytes()).into())
}

fn client(address: &str) -> LimitKey<'static> {
    LimitKey::Client(address.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_addresses_count_and_each_day_starts_at_zero() {
    for store in stores().await {
        let process = Process::start(&store, 3, 0);
        assert!(process.allows("@alice:hs", 0..2).await);
        // A refused request counts nothing.
        assert!(!process.allows("@alice:hs", 2..4).await);
        assert!(process.allows("@alice:hs", 0..3).await);
        let repeated = [0, 0, 1, 2, 2].map(digest);
        let alice = user("@alice:hs");
        process.quota.charge(&store, LimitKey::Account(&alice), &repeated, NOON).await.unwrap();
        assert!(process.allows("@bob:hs", 10..13).await);
        assert!(!process.allows("@alice:hs", 3..4).await);
        assert!(process.allows_at(LimitKey::Account(&alice), 3..6, NOON.plus(HALF_A_DAY)).await);
        // An address that is repeated within the request that needs a lease counts once.
        let repeated = [7, 7, 8, 8, 9, 9].map(digest);
        let carol = user("@carol:hs");
        process.quota.charge(&store, LimitKey::Account(&carol), &repeated, NOON).await.unwrap();
        assert!(!process.allows("@carol:hs", 6..7).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_one_owners_homeservers_share_a_quota() {
    for store in stores().await {
        let process = Process::start(&store, 3, 5);
        assert!(process.allows("@a:hs.example", 1..4).await);
        assert!(process.allows("@a:hs.example", 1..3).await);
        assert!(!process.allows("@b:x.hs.example", 1..4).await);
        assert!(process.allows("@b:x.hs.example", 1..3).await);
        assert!(!process.allows("@c:hs.example:8448", 1..2).await);
        assert!(process.allows("@a:hs.example", 1..4).await);
        assert!(process.allows("@c:other.example", 1..4).await);
        for n in 0..20 {
            assert!(process.allows(&format!("@u{n}:big.example"), 1..4).await, "{n}");
        }
        let without_own = Process::start(&store, 0, 2);
        assert!(without_own.allows("@a:third.example", 1..3).await);
        assert!(!without_own.allows("@a:third.example", 3..4).await);
        assert!(without_own.allows("@a:third.example", 1..3).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_count_by_address_apart_from_accounts_and_a_site_has_four_times_as_much() {
    for store in stores().await {
        let process = Process::start(&store, 1, 0);
        for (one, same, other) in [("1.2.3.4", "1.2.3.4", "1.2.3.5"), ("2a00::1", "2a00::2", "2a00:0:0:1::1")] {
            for (address, numbers, is_allowed) in
                [(one, 0..1, true), (same, 0..1, true), (same, 1..2, false), (other, 1..2, true)]
            {
                assert_eq!(process.allows_at(client(address), numbers, NOON).await, is_allowed, "{address}");
            }
        }
        assert!(process.allows("@alice:hs", 1..2).await);
        let mut answers = Vec::new();
        for n in 0..6 {
            answers.push(process.allows_at(client(&format!("2a00:1:2:{n}::1")), 0..1, NOON).await);
        }
        assert_eq!(answers, [true, true, true, true, false, false]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_within_a_lease_and_one_that_repeats_another_need_no_database() {
    for store in stores().await {
        let process = Process::start(&store, 1_000, 0);
        assert!(process.allows("@alice:hs", 0..3).await);
        execute(&store, "drop table lookup_leases").await;
        assert!(process.allows("@alice:hs", 0..10).await, "a lease has ten addresses");
        let alice = user("@alice:hs");
        let error = process.ask(LimitKey::Account(&alice), 5..11, NOON).await;
        assert!(matches!(error, Err(QuotaError::Store(_))), "{error:?}");
        // The failure counted nothing and lost nothing.
        assert!(process.allows("@alice:hs", 0..10).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_of_zero_uses_no_database() {
    for store in stores().await {
        for table in ["drop table lookup_leases", "drop table lookup_fingerprints", "drop table lookup_days"] {
            execute(&store, table).await;
        }
        let process = Process::start(&store, 0, 0);
        assert!(process.allows("@alice:hs", 0..1_000).await);
        assert!(process.allows_at(client("2a00::1"), 0..1_000, NOON).await);
        let process = Process::start(&store, 1, 1);
        assert!(process.allows("@alice:hs", 0..0).await, "an empty request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_writes_once_for_a_thousand_addresses() {
    for store in stores().await {
        let process = Process::start(&store, 100_000, 1_000_000);
        for number in 0..5_000 {
            assert!(process.allows("@alice:hs", number..number + 1).await);
        }
        let rows = store.read(async |conn| {
            let own = super::subject("daily_quota", LimitKey::Account(&user("@alice:hs")));
            lookup_leases::find(conn, 0, &own).await
        });
        let rows = rows.await.unwrap();
        assert_eq!((rows.leased, rows.parts), (5_000, 5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_is_halved_and_the_quotas_hold() {
    for store in stores().await {
        let mut process = Process::start(&store, 2, 0);
        process.quota.capacity = Capacity { fingerprints: 5, callers: 3 };
        for round in 0..3 {
            for n in 0..9 {
                let mxid = format!("@u{n}:hs");
                assert!(process.allows(&mxid, n..n + 2).await, "{round} {n}");
                assert!(!process.allows(&mxid, n + 2..n + 3).await, "{round} {n}");
            }
        }
        let callers: usize = process.quota.days.lock().iter().map(|day| day.kept().callers.len()).sum();
        assert!(callers <= 3, "{callers}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_memory_gives_back_what_its_callers_have_left() {
    for store in stores().await {
        let mut process = Process::start(&store, 1_000, 10_000);
        process.quota.capacity = Capacity { fingerprints: 20, callers: 100 };
        for account in 0..9 {
            assert!(process.allows(&format!("@u{account}:hs"), account * 10..account * 10 + 7).await);
        }
        let known: usize = process.quota.days.lock().iter().map(|day| day.kept().callers.len()).sum();
        assert!((1..=3).contains(&known), "{known}");
        // What is still in memory has its lease.
        let leased = async || {
            let leases = store.read(async |conn| {
                let mut leased = 0;
                for account in 0..9 {
                    let mxid = user(&format!("@u{account}:hs"));
                    let own = super::subject("daily_quota", LimitKey::Account(&mxid));
                    leased += lookup_leases::find(conn, 0, &own).await?.leased;
                }
                Ok::<_, StoreError>(leased)
            });
            leases.await.unwrap()
        };
        let expected = i64::try_from(9 * 7 + known * 3).unwrap();
        wait_for("the leases to come back", Duration::from_secs(20), async || {
            (leased().await == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn days_before_yesterday_are_deleted() {
    for store in stores().await {
        let process = Process::start(&store, 3, 30);
        let day = |n: u64| NOON.plus(Duration::from_secs(n * 86_400));
        let alice = user("@alice:hs");
        for n in 0..3 {
            assert!(process.allows_at(LimitKey::Account(&alice), 0..3, day(n)).await);
        }
        let deleted = store.write(async move |conn| delete_past(conn, day(2)).await).await.unwrap();
        assert_eq!(deleted, 3, "one part and two subjects");
        let kept = store.read(async |conn| {
            let own = super::subject("daily_quota", LimitKey::Account(&user("@alice:hs")));
            let mut kept = Vec::new();
            for day in 0..3 {
                let leased = lookup_leases::find(conn, day, &own).await?.leased;
                kept.push((leased, lookup_fingerprints::list(conn, day, &own, 0).await?.len()));
            }
            Ok::<_, StoreError>(kept)
        });
        assert_eq!(kept.await.unwrap(), [(0, 0), (3, 3), (3, 3)]);
        let keys = store.write(async |conn| {
            let first = lookup_days::find_or_insert(conn, 0, &[0; 16]).await?;
            Ok::<_, StoreError>((first, lookup_days::find_or_insert(conn, 1, &[0; 16]).await?))
        });
        let (first, second) = keys.await.unwrap();
        assert!(first == [0; 16] && second != [0; 16], "the key of the first day is deleted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metric_shows_the_homeservers_that_use_most_and_ends_with_the_day() {
    for store in stores().await {
        let process = Process::start(&store, 0, 1_000);
        let values = async |now| {
            let mut values = process.quota.gauges.values(&store, 1_000, now).await.unwrap();
            values.sort();
            values
        };
        for (mxid, number) in [("@a:x.one.example", 300), ("@b:two.example", 500), ("@c:big.example", 400)] {
            assert!(process.allows(mxid, 0..number).await);
        }
        assert!(process.allows("@d:one.example", 0..100).await && process.allows("@e:small.example", 0..9).await);
        let of = |rows: [(&str, i64); 3]| rows.map(|(name, leased)| (name.to_owned(), leased));
        let today = of([("big.example (large)", 400), ("one.example", 400), ("two.example", 500)]);
        assert_eq!(values(NOON).await, today);
        let tomorrow = of([("big.example (large)", 0), ("one.example", 0), ("two.example", 0)]);
        assert_eq!(values(NOON.plus(HALF_A_DAY)).await, tomorrow);
    }
}
