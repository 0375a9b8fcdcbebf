//! Digests of small values, under keys derived from the signing seeds: HMAC-SHA-256. A copy of the database alone does not
//! reveal the values, however few there may be.
//!
//! Invariant: a digest under a retired key is still found, so a key rotation forgets nothing.

use std::fmt;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use crate::signing::SigningKey;

/// Separates these keys from other keys derived from a seed.
const INFO: &[u8] = b"identity: digests at rest, 1";

/// The digest keys of all signing keys, the current key first.
pub struct DigestKeys(Vec<Key>);

impl DigestKeys {
    pub(super) fn of(keys: &[SigningKey]) -> Self {
        Self(keys.iter().map(derive).collect())
    }

    /// The digests of `text`, the one to store first.
    pub fn digests(&self, text: &str) -> Vec<[u8; 32]> {
        let digest = |key| {
            let tag = sign(key, text.as_bytes());
            // The tag of HMAC-SHA-256 has 32 octets.
            tag.as_ref().try_into().unwrap_or([0; 32])
        };
        self.0.iter().map(digest).collect()
    }
}

impl fmt::Debug for DigestKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKeys(***)")
    }
}

#[expect(clippy::expect_used, reason = "HKDF fails only for outputs of more than 255 digests; this one has one")]
fn derive(key: &SigningKey) -> Key {
    let extracted = Salt::none(HKDF_SHA256).extract(&*key.seed());
    let expanded = extracted.expand(&[INFO], HMAC_SHA256).expect("32 octets can be derived");
    Key::from(expanded)
}

#[cfg(test)]
mod tests {
    use super::DigestKeys;
    use crate::signing::SigningKey;

    fn digests(keys: &[(&str, u8)], text: &str) -> Vec<[u8; 32]> {
        let keys: Vec<_> = keys.iter().map(|&(id, seed)| SigningKey::from_seed(id, &[seed; 32]).unwrap()).collect();
        DigestKeys::of(&keys).digests(text)
    }

    #[test]
    fn a_rotation_keeps_the_digests_of_the_former_key() {
        let before = digests(&[("0", 1)], "x");
        let after = digests(&[("1", 2), ("0", 1)], "x");
        assert_eq!((before.len(), after.len()), (1, 2));
        assert_ne!(after[0], before[0]);
        assert_eq!(after[1], before[0]);
        assert_ne!(digests(&[("0", 1)], "y"), before);
        assert_ne!(before[0], [0; 32]);
    }
}
