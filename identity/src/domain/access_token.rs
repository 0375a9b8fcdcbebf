//! Access tokens of this server: what a client shows to be an account.
//!
//! Invariant: the token itself is seen twice, when it is made and when it is shown; everything between is its digest.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::random::Random;
use shared::secret::Secret;

/// 43 letters of 62 are a little more than 256 bits.
const LENGTH: usize = 43;

/// How exactly the last use is remembered: a write for each request would cost more than the request.
const USE_PRECISION: Duration = Duration::from_secs(24 * 60 * 60);

/// A token in clear.
#[derive(Clone, Debug)]
pub struct AccessToken(Secret<String>);

impl AccessToken {
    /// A new one.
    pub fn draw(random: Random) -> Self {
        Self(Secret::new(random.base62(LENGTH)))
    }

    /// The token that a client shows; any text may be one.
    pub fn shown(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }

    /// The text, for the reply to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is remembered of it.
    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.expose()).into())
    }
}

/// The SHA-256 of a token. With 256 random bits behind it, it needs no salt and no slowness.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// The 32 octets, for the row.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

/// Whether a token that was last used at `used_at` has been idle for too long.
pub fn is_idle(used_at: Timestamp, now: Timestamp, allowed: Duration) -> bool {
    now.since(used_at) > allowed
}

/// Whether the remembered last use is old enough to be written anew.
pub fn is_use_worth_noting(used_at: Timestamp, now: Timestamp) -> bool {
    now.since(used_at) > USE_PRECISION
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{AccessToken, is_idle, is_use_worth_noting};

    #[test]
    fn a_shown_token_has_the_digest_of_the_made_one_and_neither_prints_it() {
        let token = AccessToken::draw(Random);
        assert_eq!(token.expose().len(), 43);
        assert_eq!(AccessToken::shown(token.expose()).digest(), token.digest());
        assert_ne!(AccessToken::draw(Random).digest(), token.digest());
        assert!(!format!("{token:?} {:?}", token.digest()).contains(token.expose()));
    }

    #[test]
    fn a_token_is_idle_after_its_time_and_its_use_is_noted_daily() {
        let used = Timestamp::from_millis(0);
        let day = Duration::from_secs(86_400);
        assert!(!is_idle(used, used.plus(day), day));
        assert!(is_idle(used, used.plus(day + Duration::from_millis(1)), day));
        assert!(!is_use_worth_noting(used, used.plus(day)));
        assert!(is_use_worth_noting(used, used.plus(day * 2)));
    }
}
