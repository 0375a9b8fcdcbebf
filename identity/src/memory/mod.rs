//! What this process keeps in memory of the database: the index of lookup digests, and the access tokens in use.
//!
//! Invariant: memory answers only while `flows/follow_changes.rs` has read the changes of other processes lately.
//! Otherwise the caller reads the database, so a change is unknown here for at most [`MAX_AGE`].

mod digest_table;
pub mod lookup_index;
pub mod tokens;
mod users;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use parking_lot::RwLock;
use shared::clock::Timestamp;
use tokio::sync::{Mutex, MutexGuard, Notify};

use self::lookup_index::LookupIndex;
use self::tokens::{CachedToken, TokenCache};
use crate::domain::access_token::TokenDigest;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::pepper::{Peppers, PhasedPepper, Slot};
use crate::store::associations::found;
use crate::store::{Store, StoreError, WriteError, peppers};

/// How long memory answers after the last successful reading of the changes.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// What this process keeps in memory.
#[derive(Default)]
pub struct Memory {
    /// The indexes that are complete; none if the operator does not want them.
    indexes: RwLock<Vec<PepperIndex>>,
    tokens: TokenCache,
    /// The last reading of the changes, and the peppers at its time.
    followed: ArcSwapOption<Followed>,
    /// When another process was last heard to change something: an earlier reading of the changes does not have it.
    suspended_at: RwLock<Option<Instant>>,
    /// Wakes the reader of the changes.
    pub wake: Arc<Notify>,
    /// Held from a reading of the database until its result is in the index: two readings that end in another order than
    /// they began would leave the older result.
    applying: Mutex<()>,
}

/// The index of the digests under one pepper.
struct PepperIndex {
    /// The number of the pepper.
    pepper: i64,
    slot: Slot,
    index: LookupIndex,
}

/// A successful reading of the changes.
struct Followed {
    /// When it began. This clock is monotonic: a step of the system's clock must not make old content look current.
    at: Instant,
    peppers: Arc<Peppers>,
}

/// The right to change the indexes.
pub struct Applying<'a> {
    memory: &'a Memory,
    _guard: MutexGuard<'a, ()>,
}

impl Memory {
    /// Calls `found` with the position of each digest under `pepper` that has a user at `now`, and the Matrix ID. False if
    /// no index can answer.
    pub fn find_users(
        &self,
        pepper: &PhasedPepper,
        digests: &[LookupDigest],
        now: Timestamp,
        found: impl FnMut(usize, &str),
    ) -> bool {
        if !self.is_current() {
            return false;
        }
        match self.indexes.read().iter().find(|index| index.pepper == pepper.number) {
            Some(index) => index.index.find_all(digests, now, found),
            None => return false,
        }
        true
    }

    /// The peppers, if they were read lately.
    pub fn peppers(&self) -> Option<Arc<Peppers>> {
        let followed = self.followed.load();
        let followed = followed.as_ref().filter(|followed| followed.at.elapsed() <= MAX_AGE);
        followed.map(|followed| Arc::clone(&followed.peppers))
    }

    /// The peppers: as they were read lately, otherwise from the database.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn peppers_or_read(&self, store: &Store) -> Result<Arc<Peppers>, StoreError> {
        match self.peppers() {
            Some(peppers) => Ok(peppers),
            None => Ok(Arc::new(store.read(async |conn| peppers::list(conn).await).await?)),
        }
    }

    /// The token, if it was read from the database and has not changed since.
    pub fn find_token(&self, digest: &TokenDigest) -> Option<CachedToken> {
        self.is_current().then(|| self.tokens.find(digest)).flatten()
    }

    /// The tokens in memory.
    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// Records that all changes committed before `began` are applied, and the peppers since then.
    pub fn mark_current(&self, began: Instant, peppers: Arc<Peppers>) {
        let suspended_at = self.suspended_at.read();
        if suspended_at.is_none_or(|suspended_at| suspended_at < began) {
            self.followed.store(Some(Arc::new(Followed { at: began, peppers })));
        }
    }

    /// Suspends what is in memory if a write of this process failed in a way that leaves open whether it was committed.
    pub fn suspend_after<E: WriteError>(&self, error: &E) {
        if error.store_error().is_some_and(StoreError::is_outage) {
            self.suspend();
        }
    }

    /// Leaves everything to the database until the changes are read again.
    pub fn suspend(&self) {
        let mut suspended_at = self.suspended_at.write();
        *suspended_at = Some(Instant::now());
        self.followed.store(None);
        self.wake.notify_one();
    }

    /// The time since the last successful reading of the changes began; none if everything is left to the database.
    pub fn changes_age(&self) -> Option<Duration> {
        self.followed.load().as_ref().map(|followed| followed.at.elapsed())
    }

    /// The number of digests in the indexes and their memory in bytes.
    pub fn index_size(&self) -> (usize, usize) {
        let indexes = self.indexes.read();
        let sum = |size: fn(&LookupIndex) -> usize| indexes.iter().map(|index| size(&index.index)).sum();
        (sum(LookupIndex::len), sum(LookupIndex::bytes))
    }

    /// Whether there is an index of the digests under this pepper.
    pub fn has_index(&self, pepper: &PhasedPepper) -> bool {
        self.indexes.read().iter().any(|index| index.pepper == pepper.number)
    }

    /// Waits for its turn to change the indexes.
    pub async fn apply(&self) -> Applying<'_> {
        Applying { memory: self, _guard: self.applying.lock().await }
    }

    /// Reads the associations of these digests again, after this process has changed one, and announces the change. After
    /// an error the database answers until the changes are read.
    pub async fn refresh(&self, store: &Store, digests: &[LookupDigest]) {
        store.announce_changes().await;
        if let Err(error) = self.apply().await.refresh(store, digests).await {
            self.suspend();
            tracing::debug!(%error, "reading of an association failed");
        }
    }

    fn is_current(&self) -> bool {
        self.followed.load().as_ref().is_some_and(|followed| followed.at.elapsed() <= MAX_AGE)
    }
}

impl Applying<'_> {
    /// Adds the index of the digests under a pepper.
    pub fn publish(&self, pepper: i64, slot: Slot, index: LookupIndex) {
        self.memory.indexes.write().push(PepperIndex { pepper, slot, index });
    }

    /// Keeps the indexes of these peppers alone. Whether it dropped one.
    pub fn retain(&self, is_kept: impl Fn(i64) -> bool) -> bool {
        let mut indexes = self.memory.indexes.write();
        let dropped: Vec<PepperIndex> = indexes.extract_if(.., |index| !is_kept(index.pepper)).collect();
        // A large index takes a while to drop; lookups must not wait for that.
        drop(indexes);
        !dropped.is_empty()
    }

    /// Reads the associations of these digests again, for every index.
    ///
    /// # Errors
    /// [`StoreError`]; the indexes keep what they have.
    pub async fn refresh(&self, store: &Store, digests: &[LookupDigest]) -> Result<(), StoreError> {
        // A digest under one pepper finds nothing under another.
        let slots: Vec<Slot> = self.memory.indexes.read().iter().map(|index| index.slot).collect();
        if digests.is_empty() {
            return Ok(());
        }
        for slot in slots {
            let asked = digests.to_vec();
            let found = store.read(async move |conn| found::list_by_digest(conn, slot, &asked).await).await?;
            let mut indexes = self.memory.indexes.write();
            let index = indexes.iter_mut().find(|index| index.slot == slot);
            let is_replaced = index.is_none_or(|index| index.index.replace(digests, &found));
            if !is_replaced {
                indexes.retain(|index| index.slot != slot);
            }
        }
        Ok(())
    }
}
