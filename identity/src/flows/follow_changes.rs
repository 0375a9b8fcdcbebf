//! Keeps in memory what the database has: builds the index of lookup digests, and follows the changes that this process
//! and others commit.
//!
//! Invariant: a change is applied before the number of its shard counts as read, and memory counts as current only after
//! all changes of a reading are applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::domain::access_token::TokenDigest;
use crate::domain::lookup_hash::LookupDigest;
use crate::memory::lookup_index::LookupIndex;
use crate::memory::{Applying, Memory};
use crate::state::State;
use crate::store::associations;
use crate::store::associations::found::{self, Found, Key};
use crate::store::changes::{self, Heads, Kind};
use crate::store::{Store, StoreError};

/// Associations in one page of a build.
const PAGE: i64 = 5_000;
/// Pages that may wait for the build.
const PAGES_AHEAD: usize = 4;
/// Digests that are read again with one statement.
const REFRESHED: usize = 5_000;

/// Follows the changes until the process ends. Returns at once if the operator wants nothing in memory.
pub async fn run(state: Arc<State>) {
    let Some(limit) = state.config.lookup.index_limit(&state.config.database.location) else { return };
    let mut follower = Follower::new(limit);
    let mut interval = tokio::time::interval(state.config.lookup.poll_interval.get());
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if let Err(error) = follower.follow(&state.store, &state.memory).await {
            // The readiness check and the requests report an outage.
            tracing::debug!(%error, "reading of the changes failed");
        }
    }
}

/// How far the changes were read.
struct Follower {
    /// The most memory of the index, in bytes.
    limit: usize,
    /// The last number of each shard that was applied; `None` before the first reading, and after changes were lost.
    read: Option<Heads>,
    build: Option<Build>,
    /// When the next build is due.
    due: Option<Instant>,
}

/// A build of the index.
struct Build {
    task: tokio::task::JoinHandle<Result<Option<LookupIndex>, StoreError>>,
    began: Instant,
    /// Changed since the build began, so that its pages may have older rows.
    changed: Vec<LookupDigest>,
}

impl Follower {
    fn new(limit: usize) -> Self {
        Self { limit, read: None, build: None, due: None }
    }

    /// Reads and applies what has changed.
    async fn follow(&mut self, store: &Store, memory: &Memory) -> Result<(), StoreError> {
        let applying = memory.apply().await;
        let began = Instant::now();
        let heads = store.read(async |conn| changes::heads(conn).await).await?;
        let complete = match &self.read {
            Some(_) => self.apply(store, memory, &applying, &heads).await?,
            None => false,
        };
        if !complete {
            if self.read.is_some() {
                tracing::warn!("changes were pruned before they were read; the index is built again");
            }
            memory.tokens().clear();
            applying.publish(None);
            self.read = Some(heads);
            self.build = None;
            self.due = Some(began);
        }
        self.build(store, &applying).await?;
        memory.mark_current(began);
        Ok(())
    }

    /// Applies the changes up to `heads` and later ones. False if some were pruned.
    async fn apply(
        &mut self,
        store: &Store,
        memory: &Memory,
        applying: &Applying<'_>,
        heads: &Heads,
    ) -> Result<bool, StoreError> {
        let Some(read) = &mut self.read else { return Ok(false) };
        for (shard, head) in heads {
            let (shard, position) = (*shard, read.entry(*shard).or_default());
            if *position > *head {
                // The database is another one, such as a restored backup.
                return Ok(false);
            }
            while *position < *head {
                let after = *position;
                let batch = store.read(async move |conn| changes::list(conn, shard, after).await).await?;
                let mut numbers = batch.iter().zip(after + 1..);
                if batch.is_empty() || numbers.any(|(change, expected)| change.number != expected) {
                    return Ok(false);
                }
                let mut by_kind: BTreeMap<Kind, Vec<[u8; 32]>> = BTreeMap::new();
                for change in &batch {
                    by_kind.entry(change.kind).or_default().extend(&change.digests);
                }
                for (kind, digests) in by_kind {
                    match kind {
                        Kind::Tokens => {
                            let digests: Vec<_> = digests.into_iter().map(TokenDigest::from_bytes).collect();
                            memory.tokens().remove(&digests);
                        }
                        Kind::Associations => {
                            let digests: Vec<_> = digests.into_iter().map(LookupDigest::from_bytes).collect();
                            for part in digests.chunks(REFRESHED) {
                                applying.refresh(store, part.to_vec()).await?;
                            }
                            if let Some(build) = &mut self.build {
                                build.changed.extend(digests);
                            }
                        }
                    }
                }
                *position += i64::try_from(batch.len()).unwrap_or(i64::MAX);
            }
        }
        Ok(true)
    }

    /// Begins a build that is due, and publishes one that has ended.
    async fn build(&mut self, store: &Store, applying: &Applying<'_>) -> Result<(), StoreError> {
        match self.build.take() {
            Some(build) if build.task.is_finished() => self.finish(store, applying, build).await?,
            Some(build) => self.build = Some(build),
            None if self.due.is_some_and(|due| due <= Instant::now()) => {
                let task = tokio::spawn(build_index(store.clone(), self.limit));
                self.due = None;
                self.build = Some(Build { task, began: Instant::now(), changed: Vec::new() });
            }
            None => {}
        }
        Ok(())
    }

    async fn finish(&mut self, store: &Store, applying: &Applying<'_>, build: Build) -> Result<(), StoreError> {
        // Lookups are answered from the database meanwhile.
        let retry = || Some(Instant::now() + Duration::from_secs(10));
        match build.task.await {
            Ok(Ok(Some(mut index))) => {
                for part in build.changed.chunks(REFRESHED) {
                    let digests = part.to_vec();
                    let found = store.read(async move |conn| found::list_by_digest(conn, &digests).await);
                    let Ok(found) = found.await.inspect_err(|_| self.due = retry()) else { return Ok(()) };
                    if !index.replace(part, &found) {
                        give_way(applying);
                        return Ok(());
                    }
                }
                let (digests, bytes) = (index.len(), index.bytes());
                applying.publish(Some(index));
                let (seconds, mib) = (build.began.elapsed().as_secs_f64(), bytes / (1024 * 1024));
                tracing::info!(digests, mib, seconds, "lookups are answered from memory");
            }
            Ok(Ok(None)) => give_way(applying),
            Ok(Err(error)) => {
                self.due = retry();
                tracing::warn!(%error, "the index was not built; the next attempt is in 10 seconds");
            }
            Err(_) => self.due = retry(),
        }
        Ok(())
    }
}

/// Leaves the lookups to the database, because the index has no room for all associations.
fn give_way(applying: &Applying<'_>) {
    applying.publish(None);
    tracing::warn!(
        "[lookup] index_memory: too small for the associations; lookups are answered from the database; raise it, or set \
         index = \"database\""
    );
}

/// Reads all associations, page by page, while the index is filled. `None` if it needs more than `limit` bytes.
async fn build_index(store: Store, limit: usize) -> Result<Option<LookupIndex>, StoreError> {
    let count = store.read(async |conn| associations::count(conn).await).await?;
    let (sender, mut pages) = mpsc::channel::<Vec<Found>>(PAGES_AHEAD);
    let filling = tokio::task::spawn_blocking(move || {
        let mut index = LookupIndex::with_capacity(usize::try_from(count).unwrap_or(0));
        while let Some(page) = pages.blocking_recv() {
            if !page.iter().all(|found| index.insert(found)) || index.bytes() > limit {
                return None;
            }
        }
        Some(index)
    });
    let mut after: Key = (String::new(), String::new());
    let mut read: i64 = 0;
    loop {
        let from = after.clone();
        let (last, page) = store.read(async move |conn| found::list_page(conn, &from, PAGE).await).await?;
        let Some(last) = last else { break };
        after = last;
        // The index has no more room.
        if sender.send(page).await.is_err() {
            break;
        }
        read += PAGE;
        if read % (200 * PAGE) == 0 {
            tracing::info!(read, of = count, "the index of lookups is being built");
        }
    }
    drop(sender);
    filling.await.map_err(|_| StoreError::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::time::Duration;

    use shared::clock::Timestamp;
    use tokio::sync::Notify;

    use super::{Follower, Memory, Store};
    use crate::domain::association::Association;
    use crate::domain::lookup_hash::{LookupDigest, LookupDigests, Pepper};
    use crate::store::associations::found;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{associations, changes};

    const DAY: Duration = Duration::from_secs(86_400);
    /// Typed addresses, some with further digests.
    const ADDRESSES: [&str; 6] =
        ["a@x.org", "Strauß@x.org", "STRAUSS@x.org", "me@müller.example", "me@xn--mller-kva.example", "b@x.org"];

    fn digests(typed: &str) -> LookupDigests {
        LookupDigests::of(&email(typed), &Pepper::parse("matrixrocks").unwrap())
    }

    async fn bind(store: &Store, association: Association, now: Timestamp) {
        let digests = digests(association.threepid.typed());
        store.write(async move |conn| associations::save(conn, &association, &digests, now).await).await.unwrap();
    }

    async fn unbind(store: &Store, typed: &str, mxid: &str) {
        let (threepid, mxid) = (email(typed), user(mxid));
        store.write(async move |conn| associations::delete(conn, &threepid, &mxid, START).await).await.unwrap();
    }

    fn in_memory(memory: &Memory, asked: &[LookupDigest], now: Timestamp) -> Option<HashMap<LookupDigest, String>> {
        let mut found = HashMap::new();
        let insert = |position: usize, mxid: &str| drop(found.insert(asked[position], mxid.to_owned()));
        memory.find_users(asked, now, insert).then_some(found)
    }

    async fn in_database(store: &Store, asked: &[LookupDigest], now: Timestamp) -> HashMap<LookupDigest, String> {
        let digests = asked.to_vec();
        let rows = store.read(async move |conn| found::list_by_digest(conn, &digests).await).await.unwrap();
        found::users_at(&rows, now).into_iter().map(|(digest, found)| (digest, found.mxid.clone())).collect()
    }

    /// A replica: what it has in memory, and how far it has read.
    struct Replica {
        memory: Memory,
        follower: Follower,
    }

    impl Default for Replica {
        fn default() -> Self {
            Self { memory: Memory::default(), follower: Follower::new(usize::MAX) }
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
                if self.memory.index_size().is_some() {
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
            let asked: Vec<LookupDigest> = ADDRESSES
                .iter()
                .flat_map(|typed| digests(typed).iter().map(|(digest, _)| digest).collect::<Vec<_>>())
                .collect();
            let mut replica = Replica::default();
            replica.build(&store).await;
            let mut now = START.plus(DAY);
            for step in 0..300 {
                let typed = ADDRESSES[usize::try_from(draw(6)).unwrap()];
                let mxid = ["@alice:hs", "@bob:hs"][usize::try_from(draw(2)).unwrap()];
                match draw(10) {
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
                let found = in_memory(&replica.memory, &asked, now).unwrap();
                assert_eq!(found, in_database(&store, &asked, now).await, "step {step}");
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
                        associations::save(conn, &late, &digests("a@x.org"), START).await?;
                        began.notify_one();
                        finish.notified().await;
                        Ok::<_, crate::store::StoreError>(())
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
            let asked: Vec<_> = ["a@x.org", "b@x.org", "c@x.org", "d@x.org"].map(|typed| digests(typed).h1).into();
            assert_eq!(in_memory(&replica.memory, &asked, START).unwrap().len(), 4);
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
            let asked: Vec<_> = (0..50).map(|number| digests(&format!("user{number}@x.org")).h1).collect();
            let found = in_memory(&replica.memory, &asked, START).unwrap();
            assert!(found.len() == 50 && found.values().all(|mxid| mxid == "@after:hs"));
        }
    }
}
