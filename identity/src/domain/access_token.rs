//! Access tokens of this server.
//!
//! Invariant: the token itself appears only when it is created and when a client presents it; the server stores its digest.

use std::fmt;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::random::Random;
use shared::secret::Secret;

/// 43 characters of an alphabet of 62 are a little more than 256 bits.
const LENGTH: usize = 43;

/// The precision of the stored last use. A write for each request would cost more than the request.
const USE_PRECISION: Duration = Duration::from_secs(24 * 60 * 60);

/// A token in clear text.
#[derive(Clone, Debug)]
pub struct AccessToken(Secret<String>);

impl AccessToken {
    pub fn draw(random: Random) -> Self {
        Self(Secret::new(random.base62(LENGTH)))
    }

    /// The token that a client presents; any text.
    pub fn shown(text: &str) -> Self {
        Self(Secret::new(text.to_owned()))
    }

    /// The text, for the response to its owner.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    pub fn digest(&self) -> TokenDigest {
        TokenDigest(Sha256::digest(self.expose()).into())
    }
}

/// The SHA-256 of a token. A token has 256 random bits, so the digest needs no salt and no slow hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(***)")
    }
}

/// Whether a token that was last used at `used_at` has expired.
pub fn is_idle(used_at: Timestamp, now: Timestamp, allowed: Duration) -> bool {
    now.since(used_at) > allowed
}

/// Whether the stored last use is old enough for an update.
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
    fn a_presented_token_has_the_digest_of_the_created_token_and_debug_output_hides_it() {
        let token = AccessToken::draw(Random);
        assert_eq!(token.expose().len(), 43);
        assert_eq!(AccessToken::shown(token.expose()).digest(), token.digest());
        assert_ne!(AccessToken::draw(Random).digest(), token.digest());
        assert!(!format!("{token:?} {:?}", token.digest()).contains(token.expose()));
    }

    #[test]
    fn a_token_expires_without_use_and_its_last_use_is_stored_once_a_day() {
        let used = Timestamp::from_millis(0);
        let day = Duration::from_secs(86_400);
        assert!(!is_idle(used, used.plus(day), day));
        assert!(is_idle(used, used.plus(day + Duration::from_millis(1)), day));
        assert!(!is_use_worth_noting(used, used.plus(day)));
        assert!(is_use_worth_noting(used, used.plus(day * 2)));
    }
}
