//! The access tokens in use, as the database has them.
//!
//! Invariant: a token that was deleted while it was being read does not enter the cache.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use shared::clock::Timestamp;

use crate::domain::access_token::TokenDigest;
use crate::domain::mxid::UserId;
use crate::domain::terms::Terms;

/// Tokens in memory, about 10 MB. One more empties the cache; the tokens in use return at once.
const CAPACITY: usize = 50_000;

/// A token of an account.
#[derive(Clone)]
pub struct CachedToken {
    pub mxid: UserId,
    /// When it was last used, to about a day.
    pub used_at: Timestamp,
    /// The terms of which the account has accepted enough.
    pub accepted: Option<Arc<Terms>>,
}

/// The state of the cache before a token was read from the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Generation(u64);

/// The tokens in memory.
#[derive(Default)]
pub struct TokenCache(RwLock<Cache>);

#[derive(Default)]
struct Cache {
    known: HashMap<TokenDigest, CachedToken>,
    /// Grows with every removal.
    generation: u64,
}

impl TokenCache {
    /// The state before a reading of the database.
    pub fn generation(&self) -> Generation {
        Generation(self.0.read().generation)
    }

    /// Keeps a token that was read from the database after `before`, unless a token was removed meanwhile.
    pub fn insert(&self, before: Generation, digest: TokenDigest, token: CachedToken) {
        let mut cache = self.0.write();
        if cache.generation != before.0 {
            return;
        }
        if cache.known.len() >= CAPACITY {
            cache.known.clear();
        }
        cache.known.insert(digest, token);
    }

    /// Forgets tokens that have changed in the database.
    pub fn remove(&self, digests: &[TokenDigest]) {
        let mut cache = self.0.write();
        cache.generation += 1;
        for digest in digests {
            cache.known.remove(digest);
        }
    }

    /// Forgets all tokens.
    pub fn clear(&self) {
        let mut cache = self.0.write();
        cache.generation += 1;
        cache.known.clear();
    }

    pub(super) fn find(&self, digest: &TokenDigest) -> Option<CachedToken> {
        self.0.read().known.get(digest).cloned()
    }
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;

    use super::{CachedToken, TokenCache};
    use crate::domain::access_token::AccessToken;
    use crate::domain::mxid::UserId;

    fn known() -> CachedToken {
        CachedToken { mxid: UserId::parse("@a:hs").unwrap(), used_at: Timestamp::from_millis(0), accepted: None }
    }

    #[test]
    fn a_token_that_is_deleted_while_it_is_read_is_not_kept() {
        let (cache, digest) = (TokenCache::default(), AccessToken::shown("t").digest());
        let before = cache.generation();
        cache.remove(&[digest]);
        cache.insert(before, digest, known());
        assert!(cache.find(&digest).is_none());

        cache.insert(cache.generation(), digest, known());
        assert!(cache.find(&digest).is_some());
        cache.remove(&[digest]);
        assert!(cache.find(&digest).is_none());
        cache.insert(cache.generation(), digest, known());
        cache.clear();
        assert!(cache.find(&digest).is_none());
    }
}
