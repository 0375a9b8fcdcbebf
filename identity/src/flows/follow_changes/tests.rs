//! What memory holds after the changes of this process and of others.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use harness::wait::wait_for;
use shared::clock::Timestamp;
use tokio::sync::Notify;

use super::{Follower, Memory, Store};
use crate::domain::association::Association;
use crate::domain::lookup_hash::{LookupDigest, LookupDigests, Pepper};
use crate::domain::pepper::{Peppers, Phase, PhasedPepper};
use crate::store::associations::{found, rehash};
use crate::store::testing::{START, email, stores, user};
use crate::store::{StoreError, associations, changes, peppers};

const DAY: Duration = Duration::from_secs(86_400);
/// Typed addresses, some with further digests.
const ADDRESSES: [&str; 6] =
    ["a@x.org", "Strauß@x.org", "STRAUSS@x.org", "me@müller.example", "me@xn--mller-kva.example", "b@x.org"];

async fn list_peppers(store: &Store) -> Peppers {
    store.read(async |conn| peppers::list(conn).await).await.unwrap()
}

async fn bind(store: &Store, association: Association, now: Timestamp) {
    store.write(async move |conn| associations::save(conn, &association, now).await).await.unwrap();
}

/// Takes the next step of a rotation.
async fn rotate(store: &Store, fresh: Pepper, now: Timestamp) {
    let rotated = store.write(async move |conn| {
        let Some(other) = peppers::list(conn).await?.iter().nth(1).cloned() else {
            return peppers::prepare(conn, &fresh, now).await;
        };
        match other.phase {
            Phase::Preparing => {
                let addresses = rehash::list_addresses(conn, &Default::default(), 1000).await?;
                let of = |threepid| {
                    let digests = LookupDigests::of(&threepid, &other.pepper);
                    (threepid, digests)
                };
                let rows: Vec<_> = addresses.into_iter().map(of).collect();
                rehash::save_digests(conn, other.slot, &rows).await?;
                peppers::save_phase(conn, other.number, other.phase, Phase::Accepted, now).await
            }
            Phase::Accepted => peppers::switch(conn, other.number, other.number - 1, now).await,
            Phase::Current | Phase::Former => {
                peppers::save_phase(conn, other.number, other.phase, Phase::Ending, now).await
            }
            Phase::Ending => peppers::delete(conn, other.number).await,
        }
    });
    assert!(rotated.await.unwrap());
}

async fn unbind(store: &Store, typed: &str, mxid: &str) {
    let (threepid, mxid) = (email(typed), user(mxid));
    store.write(async move |conn| associations::delete(conn, &threepid, &mxid, START).await).await.unwrap();
}

/// The user of each address under one pepper, by the position of the address and of its digest.
type Users = HashMap<usize, String>;

fn asked(addresses: &[&str], pepper: &PhasedPepper) -> Vec<LookupDigest> {
    let digests = addresses.iter().map(|typed| LookupDigests::of(&email(typed), &pepper.pepper));
    digests.flat_map(|digests| digests.iter().map(|(digest, _)| digest).collect::<Vec<_>>()).collect()
}

fn in_memory(memory: &Memory, pepper: &PhasedPepper, addresses: &[&str], now: Timestamp) -> Option<Users> {
    let mut found = HashMap::new();
    let insert = |position: usize, mxid: &str| drop(found.insert(position, mxid.to_owned()));
    memory.find_users(pepper, &asked(addresses, pepper), now, insert).then_some(found)
}

async fn in_database(store: &Store, pepper: &PhasedPepper, addresses: &[&str], now: Timestamp) -> Users {
    let (slot, digests) = (pepper.slot, asked(addresses, pepper));
    let read = store.read(async move |conn| {
        let rows = found::list_by_digest(conn, slot, &digests).await?;
        Ok::<_, StoreError>((digests, rows))
    });
    let (digests, rows) = read.await.unwrap();
    let users = found::users_at(&rows, now);
    let found = digests.iter().enumerate().filter_map(|(at, digest)| Some((at, users.get(digest)?.mxid.clone())));
    found.collect()
}

/// A replica: what it has in memory, and how far it has read.
struct Replica {
    memory: Memory,
    follower: Follower,
}

impl Default for Replica {
    fn default() -> Self {
        Self { memory: Memory::default(), follower: Follower::new(usize::MAX, DAY) }
    }
}

impl Replica {
    async fn follow(&mut self, store: &Store) {
        self.follower.follow(store, &self.memory).await.unwrap();
    }

    /// Follows until lookups are answered from memory.
    async fn build(&mut self, store: &Store) {
        for _ in 0..1000 {
            self.follow(store).await;
            let peppers = self.memory.peppers().unwrap();
            if peppers.iter().filter(|pepper| pepper.is_accepted()).all(|pepper| self.memory.has_index(pepper)) {
                return;
            }
            // Between two polls of a condition.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("no index was built");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_as_the_database_does_under_random_changes() {
    for store in stores().await {
        let mut seed: u64 = 42;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let mut replica = Replica::default();
        replica.build(&store).await;
        let mut now = START.plus(DAY);
        for step in 0..400 {
            let typed = ADDRESSES[usize::try_from(draw(6)).unwrap()];
            let mxid = ["@alice:hs", "@bob:hs"][usize::try_from(draw(2)).unwrap()];
            match draw(12) {
                10.. => rotate(&store, Pepper::parse(&format!("pepper{step}")).unwrap(), now).await,
                0..5 => {
                    let validity = Duration::from_secs(draw(20));
                    let mut association = Association::new(email(typed), user(mxid), now, validity);
                    if draw(3) == 0 {
                        association.not_before = now.plus(Duration::from_secs(draw(10)));
                    }
                    bind(&store, association, now).await;
                }
                5..7 => unbind(&store, typed, mxid).await,
                7 => now = now.plus(Duration::from_secs(draw(10))),
                8 => now = now.minus(Duration::from_secs(draw(10))),
                // The process starts again, or was paused until its changes were pruned.
                _ if draw(2) == 0 => replica = Replica::default(),
                _ => {
                    let end = now.plus(DAY);
                    store.write(async move |conn| changes::delete_old(conn, end).await).await.unwrap();
                }
            }
            replica.build(&store).await;
            let peppers = list_peppers(&store).await;
            let expected = in_database(&store, peppers.current(), &ADDRESSES, now).await;
            for pepper in peppers.iter().filter(|pepper| pepper.is_accepted()) {
                assert_eq!(in_database(&store, pepper, &ADDRESSES, now).await, expected, "step {step}, {pepper:?}");
                let found = in_memory(&replica.memory, pepper, &ADDRESSES, now).unwrap();
                assert_eq!(found, expected, "step {step}, {pepper:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_current_pepper_has_the_memory_that_suffices_for_one() {
    for store in stores().await {
        bind(&store, Association::new(email("a@x.org"), user("@alice:hs"), START, DAY), START).await;
        let mut replica = Replica::default();
        replica.build(&store).await;
        let (_, one) = replica.memory.index_size();
        replica = Replica { memory: Memory::default(), follower: Follower::new(one * 3 / 2, DAY) };
        replica.build(&store).await;
        for (number, phase) in [(1, Phase::Preparing), (1, Phase::Accepted), (2, Phase::Former), (2, Phase::Ending)] {
            rotate(&store, Pepper::parse("another").unwrap(), START).await;
            let peppers = list_peppers(&store).await;
            assert_eq!((peppers.current().number, peppers.iter().nth(1).unwrap().phase), (number, phase));
            wait_for("the index of the current pepper", Duration::from_secs(20), async || {
                replica.follow(&store).await;
                replica.memory.has_index(peppers.current()).then_some(())
            })
            .await;
            assert!(replica.memory.index_size().1 <= one * 3 / 2);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_commits_late_is_not_lost() {
    for store in stores().await {
        let mut replica = Replica::default();
        replica.build(&store).await;
        let (began, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let late = Association::new(email("a@x.org"), user("@late:hs"), START, DAY);
        let task = {
            let (store, began, finish) = (store.clone(), began.clone(), finish.clone());
            tokio::spawn(async move {
                let work = store.write(async move |conn| {
                    associations::save(conn, &late, START).await?;
                    began.notify_one();
                    finish.notified().await;
                    Ok::<_, StoreError>(())
                });
                work.await.unwrap();
            })
        };
        began.notified().await;
        // Others commit meanwhile where the database has more than one writer, and the replica reads.
        let others: Vec<_> = ["b@x.org", "c@x.org", "d@x.org"]
            .into_iter()
            .map(|typed| {
                let (store, other) = (store.clone(), Association::new(email(typed), user("@other:hs"), START, DAY));
                tokio::spawn(async move { bind(&store, other, START).await })
            })
            .collect();
        // SQLite lets none of them commit, so there is no condition to wait for that holds on every database.
        tokio::time::sleep(Duration::from_millis(200)).await;
        for _ in 0..3 {
            replica.follow(&store).await;
        }
        finish.notify_one();
        task.await.unwrap();
        for other in others {
            other.await.unwrap();
        }
        replica.follow(&store).await;
        let (peppers, asked) = (list_peppers(&store).await, ["a@x.org", "b@x.org", "c@x.org", "d@x.org"]);
        assert_eq!(in_memory(&replica.memory, peppers.current(), &asked, START).unwrap().len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_during_a_build_are_in_the_index() {
    for store in stores().await {
        for number in 0..50 {
            let typed = format!("user{number}@x.org");
            bind(&store, Association::new(email(&typed), user("@before:hs"), START, DAY), START).await;
        }
        let mut replica = Replica::default();
        // The build has begun and may have read any of the rows.
        replica.follow(&store).await;
        for number in 0..50 {
            let typed = format!("user{number}@x.org");
            bind(&store, Association::new(email(&typed), user("@after:hs"), START, DAY), START).await;
        }
        replica.build(&store).await;
        let (peppers, asked) = (list_peppers(&store).await, (0..50).map(|number| format!("user{number}@x.org")));
        let asked: Vec<String> = asked.collect();
        let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
        let found = in_memory(&replica.memory, peppers.current(), &asked, START).unwrap();
        assert!(found.len() == 50 && found.values().all(|mxid| mxid == "@after:hs"));
    }
}
