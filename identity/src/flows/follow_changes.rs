//! Keeps in memory what the database has: builds the indexes of lookup digests, and follows the changes that this process
//! and others commit.
//!
//! Invariant: a change is applied before the number of its shard counts as read, and memory counts as current only after
//! all changes of a reading are applied.

mod build_index;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::build_index::build_index;
use crate::config::rules::Lookup;
use crate::domain::access_token::TokenDigest;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::pepper::{Peppers, Slot};
use crate::memory::lookup_index::LookupIndex;
use crate::memory::{Applying, Memory};
use crate::store::associations::found;
use crate::store::changes::{self, Heads, Kind};
use crate::store::{Store, StoreError, peppers};

/// Digests that are read again with one statement.
const REFRESHED: usize = 5_000;
/// How long the database may take to say what is to be followed. Longer than it takes when many requests wait for it: to
/// answer lookups from it then would make that worse.
const PATIENCE: Duration = Duration::from_secs(3);
/// The time from a build that failed to the next one.
const RETRY: Duration = Duration::from_secs(10);
/// The time from the end of a connection that listens to the next one.
const HEAR_AGAIN: Duration = Duration::from_secs(1);
/// The time from a build that had no room to the next one.
const RETRY_WITHOUT_ROOM: Duration = Duration::from_secs(3600);

/// Follows the changes until the process ends.
pub async fn run(store: Store, memory: Arc<Memory>, settings: Lookup) {
    let (limit, poll_interval) = (settings.index_limit(), settings.poll_interval.get());
    let mut follower = Follower::new(limit.unwrap_or(0), PATIENCE);
    let mut interval = tokio::time::interval(poll_interval);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    tokio::spawn(hear(store.clone(), memory.clone()));
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            () = memory.wake.notified() => {}
        }
        if let Err(error) = follower.follow(&store, &memory).await {
            memory.suspend();
            interval.reset();
            interval.tick().await;
            // The readiness check and the requests report an outage.
            tracing::debug!(%error, "reading of the changes failed");
        }
    }
}

/// Suspends what is in memory as soon as another process has changed something, where the database announces that.
async fn hear(store: Store, memory: Arc<Memory>) {
    loop {
        match store.hear_changes(|| memory.suspend()).await {
            Ok(false) => return,
            // What is announced until the next attempt is not heard.
            Ok(true) => memory.suspend(),
            Err(error) => tracing::debug!(%error, "the database does not announce changes"),
        }
        tokio::time::sleep(HEAR_AGAIN).await;
    }
}

/// How far the changes were read.
struct Follower {
    /// The most memory of all indexes, in bytes; zero for none.
    limit: usize,
    /// How long the database may take to say what is to be followed.
    patience: Duration,
    /// The last number of each shard that was applied; `None` before the first reading, and after changes were lost.
    read: Option<Heads>,
    build: Option<Build>,
    /// No build begins before this time.
    next_build: Instant,
    /// The last build had no room.
    has_no_room: bool,
}

/// A build of the index of the digests under one pepper.
struct Build {
    task: tokio::task::JoinHandle<Result<Option<LookupIndex>, StoreError>>,
    pepper: i64,
    slot: Slot,
    began: Instant,
    /// Changed since the build began, so that its pages may have older rows.
    changed: Vec<LookupDigest>,
}

impl Follower {
    fn new(limit: usize, patience: Duration) -> Self {
        Self { limit, patience, read: None, build: None, next_build: Instant::now(), has_no_room: false }
    }

    /// Reads and applies what has changed.
    async fn follow(&mut self, store: &Store, memory: &Memory) -> Result<(), StoreError> {
        let applying = memory.apply().await;
        let began = Instant::now();
        let (peppers, heads) = self.read_heads(store, memory).await?;
        let complete = match &self.read {
            Some(_) => self.apply(store, memory, &applying, &heads).await?,
            None => false,
        };
        if !complete {
            if self.read.is_some() {
                tracing::warn!("changes were pruned before they were read; the index is built again");
            }
            memory.tokens().clear();
            _ = applying.retain(|_| false);
            self.read = Some(heads);
            self.build = None;
            self.next_build = began;
        }
        let is_accepted = |number| peppers.iter().any(|pepper| pepper.number == number && pepper.is_accepted());
        let mut has_dropped = applying.retain(is_accepted);
        if self.has_no_room && !memory.has_index(peppers.current()) {
            // The current pepper has precedence: most clients use it.
            has_dropped |= applying.retain(|_| false);
        }
        if has_dropped {
            self.next_build = began;
        }
        if self.limit > 0 {
            self.build(store, memory, &applying, &peppers).await?;
        }
        memory.mark_current(began, Arc::new(peppers));
        Ok(())
    }

    /// Reads the peppers and what is to be followed. A database that answers slowly or not at all, for example behind a
    /// network that fails silently, suspends memory at once.
    async fn read_heads(&self, store: &Store, memory: &Memory) -> Result<(Peppers, Heads), StoreError> {
        let mut read = pin!(
            store.read(async |conn| Ok::<_, StoreError>((peppers::list(conn).await?, changes::heads(conn).await?)))
        );
        match tokio::time::timeout(self.patience, read.as_mut()).await {
            Ok(result) => result,
            Err(_) => {
                memory.suspend();
                read.await
            }
        }
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
                                applying.refresh(store, part).await?;
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
    async fn build(
        &mut self,
        store: &Store,
        memory: &Memory,
        applying: &Applying<'_>,
        peppers: &Peppers,
    ) -> Result<(), StoreError> {
        match self.build.take() {
            Some(build) if build.task.is_finished() => return self.finish(store, applying, build).await,
            Some(build) => self.build = Some(build),
            None => {}
        }
        let wanted = peppers.iter().find(|pepper| pepper.is_accepted() && !memory.has_index(pepper));
        if let Some(pepper) = wanted
            && self.build.is_none()
            && self.next_build <= Instant::now()
        {
            self.has_no_room = false;
            let (_, used) = memory.index_size();
            let building = build_index(store.clone(), pepper.slot, self.limit.saturating_sub(used));
            let wake = Arc::clone(&memory.wake);
            let task = tokio::spawn(async move {
                let built = building.await;
                wake.notify_one();
                built
            });
            let (pepper, slot) = (pepper.number, pepper.slot);
            self.build = Some(Build { task, pepper, slot, began: Instant::now(), changed: Vec::new() });
        }
        Ok(())
    }

    async fn finish(&mut self, store: &Store, applying: &Applying<'_>, build: Build) -> Result<(), StoreError> {
        // Lookups are answered from the database meanwhile.
        self.next_build = Instant::now() + RETRY;
        let Build { task, pepper, slot, began, changed } = build;
        let mut index = match task.await.map_err(|_| StoreError::Interrupted).flatten() {
            Ok(Some(index)) => index,
            Ok(None) => {
                self.give_way();
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, "the index was not built; the next attempt is in 10 seconds");
                return Ok(());
            }
        };
        for part in changed.chunks(REFRESHED) {
            let digests = part.to_vec();
            let found = store.read(async move |conn| found::list_by_digest(conn, slot, &digests).await).await?;
            if !index.replace(part, &found) {
                self.give_way();
                return Ok(());
            }
        }
        let (digests, mib) = (index.len(), index.bytes() / (1024 * 1024));
        applying.publish(pepper, slot, index);
        self.next_build = Instant::now();
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(digests, mib, seconds, "lookups are answered from memory");
        Ok(())
    }

    /// Leaves the lookups to the database, because the index has no room for all associations.
    fn give_way(&mut self) {
        self.next_build = Instant::now() + RETRY_WITHOUT_ROOM;
        self.has_no_room = true;
        tracing::warn!(
            "[lookup] index_memory: too small for the associations, or for two peppers during a rotation; lookups are \
             answered from the database; raise it, or set index = \"database\""
        );
    }
}

#[cfg(test)]
mod tests;
