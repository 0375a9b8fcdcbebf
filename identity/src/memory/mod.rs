//! What this process keeps in memory of the database: the index of lookup digests, and the access tokens in use.
//!
//! Invariant: memory answers only while `flows/follow_changes.rs` has read the changes of other processes lately.
//! Otherwise the caller reads the database, so a change is unknown here for at most [`MAX_AGE`].

mod digest_table;
pub mod lookup_index;
pub mod tokens;
mod users;

use std::time::{Duration, Instant};

use parking_lot::RwLock;
use shared::clock::Timestamp;
use tokio::sync::{Mutex, MutexGuard};

use self::lookup_index::LookupIndex;
use self::tokens::{CachedToken, TokenCache};
use crate::domain::access_token::TokenDigest;
use crate::domain::lookup_hash::{LookupDigest, LookupDigests};
use crate::store::associations::found;
use crate::store::{Store, StoreError};

/// How long memory answers after the last successful reading of the changes.
pub const MAX_AGE: Duration = Duration::from_secs(10);

/// What this process keeps in memory.
#[derive(Default)]
pub struct Memory {
    /// `None` until it is built, and if the operator does not want it.
    index: RwLock<Option<LookupIndex>>,
    tokens: TokenCache,
    /// When the last successful reading of the changes began. This clock is monotonic: a step of the system's clock must
    /// not make old content look current.
    followed_at: RwLock<Option<Instant>>,
    /// Held from a reading of the database until its result is in the index: two readings that end in another order than
    /// they began would leave the older result.
    applying: Mutex<()>,
}

/// The right to change the index.
pub struct Applying<'a> {
    memory: &'a Memory,
    _guard: MutexGuard<'a, ()>,
}

impl Memory {
    /// Calls `found` with the position of each digest that has a user at `now`, and the Matrix ID. False if the index
    /// cannot answer.
    pub fn find_users<'d>(
        &self,
        digests: impl IntoIterator<Item = &'d LookupDigest>,
        now: Timestamp,
        found: impl FnMut(usize, &str),
    ) -> bool {
        if !self.is_current() {
            return false;
        }
        match &*self.index.read() {
            Some(index) => index.find_all(digests, now, found),
            None => return false,
        }
        true
    }

    /// The token, if it was read from the database and has not changed since.
    pub fn find_token(&self, digest: &TokenDigest) -> Option<CachedToken> {
        self.is_current().then(|| self.tokens.find(digest)).flatten()
    }

    /// The tokens in memory.
    pub fn tokens(&self) -> &TokenCache {
        &self.tokens
    }

    /// Records that all changes committed before `began` are applied.
    pub fn mark_current(&self, began: Instant) {
        *self.followed_at.write() = Some(began);
    }

    /// The number of digests in the index and its memory in bytes; none if there is no index.
    pub fn index_size(&self) -> Option<(usize, usize)> {
        self.index.read().as_ref().map(|index| (index.len(), index.bytes()))
    }

    /// Waits for its turn to change the index.
    pub async fn apply(&self) -> Applying<'_> {
        Applying { memory: self, _guard: self.applying.lock().await }
    }

    /// Reads the associations of these digests again, after this process has changed one. An error delays that until the
    /// changes are read.
    pub async fn refresh(&self, store: &Store, digests: &LookupDigests) {
        let digests = digests.iter().map(|(digest, _)| digest).collect();
        if let Err(error) = self.apply().await.refresh(store, digests).await {
            tracing::debug!(%error, "reading of an association failed");
        }
    }

    fn is_current(&self) -> bool {
        self.followed_at.read().is_some_and(|followed_at| followed_at.elapsed() <= MAX_AGE)
    }
}

impl Applying<'_> {
    /// Replaces the index as a whole; `None` ends its use.
    pub fn publish(&self, index: Option<LookupIndex>) {
        // The previous one is dropped outside the lock.
        let previous = std::mem::replace(&mut *self.memory.index.write(), index);
        drop(previous);
    }

    /// Reads the associations of these digests again, if there is an index.
    ///
    /// # Errors
    /// [`StoreError`]; the index keeps what it has.
    pub async fn refresh(&self, store: &Store, digests: Vec<LookupDigest>) -> Result<(), StoreError> {
        if digests.is_empty() || self.memory.index.read().is_none() {
            return Ok(());
        }
        let read = store.read(async move |conn| {
            let found = found::list_by_digest(conn, &digests).await?;
            Ok::<_, StoreError>((digests, found))
        });
        let (digests, found) = read.await?;
        let mut index = self.memory.index.write();
        let is_replaced = index.as_mut().is_none_or(|index| index.replace(&digests, &found));
        if !is_replaced {
            *index = None;
        }
        Ok(())
    }
}
