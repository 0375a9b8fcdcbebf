//! Seals small secrets in the database (validation tokens, queued mails): AES-256-GCM with a key derived from a signing
//! seed.
//!
//! Invariant: a sealed value opens only with its associated data, so it cannot be moved to another row. A retired key never
//! seals.
//!
//! Format: one octet with the length of the key id, the key id, a nonce of 12 octets, the ciphertext with its tag.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use shared::random::Random;
use zeroize::Zeroizing;

use crate::signing::SigningKey;

/// Separates these keys from other keys derived from a seed.
const INFO: &[u8] = b"identity: sealing at rest, 1";

/// Sealing or opening failed. The error does not show the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("a value could not be sealed")]
    Sealing,
    #[error("a sealed value needs a key that is not in the key file")]
    UnknownKey,
    #[error("a sealed value was changed or belongs to another row")]
    Damaged,
}

/// The sealing keys of all signing keys. The current key seals, every key opens.
pub struct SealingKey {
    /// Key id and key, the current key first.
    keys: Vec<(String, LessSafeKey)>,
}

impl SealingKey {
    /// Derives a key from the seed of each of `keys`, of which the first is current.
    pub(super) fn of(keys: &[SigningKey]) -> Self {
        Self { keys: keys.iter().map(|key| (key.version().to_owned(), derive(key))).collect() }
    }

    /// Seals `plaintext`. It opens only with the same `associated_data`, which names its row.
    ///
    /// # Errors
    /// [`SealError::Sealing`] if the cipher fails, which no plaintext of ordinary size causes.
    pub fn seal(&self, plaintext: &[u8], associated_data: &[u8], random: Random) -> Result<Vec<u8>, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::Sealing)?;
        let nonce: [u8; NONCE_LEN] = random.bytes();
        let mut sealed = vec![u8::try_from(id.len()).map_err(|_| SealError::Sealing)?];
        sealed.extend_from_slice(id.as_bytes());
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plaintext);
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated_data),
                &mut sealed[start..],
            )
            .map_err(|_| SealError::Sealing)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// Opens a value that [`SealingKey::seal`] sealed with the same `associated_data`, also before a key rotation.
    ///
    /// # Errors
    /// [`SealError::UnknownKey`] if its key is not in the key file, [`SealError::Damaged`] if the value was changed.
    pub fn open(&self, sealed: &[u8], associated_data: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (&length, rest) = sealed.split_first().ok_or(SealError::Damaged)?;
        let (id, rest) = rest.split_at_checked(length.into()).ok_or(SealError::Damaged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Damaged)?;
        let (_, key) = self.keys.iter().find(|(own, _)| own.as_bytes() == id).ok_or(SealError::UnknownKey)?;
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(associated_data), &mut buffer)
            .map_err(|_| SealError::Damaged)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(***)")
    }
}

#[expect(clippy::expect_used, reason = "HKDF fails only for outputs of more than 255 digests; this one has one")]
fn derive(key: &SigningKey) -> LessSafeKey {
    // A seed is uniformly random, so the extraction needs no salt (RFC 5869, 3.1).
    let extracted = Salt::none(HKDF_SHA256).extract(&*key.seed());
    let expanded = extracted.expand(&[INFO], &AES_256_GCM).expect("32 octets can be derived");
    LessSafeKey::new(UnboundKey::from(expanded))
}

#[cfg(test)]
mod tests {
    use shared::random::Random;

    use super::{SealError, SealingKey};
    use crate::signing::SigningKey;

    fn sealing(keys: &[(&str, u8)]) -> SealingKey {
        let keys: Vec<_> = keys.iter().map(|&(id, seed)| SigningKey::from_seed(id, &[seed; 32]).unwrap()).collect();
        SealingKey::of(&keys)
    }

    #[test]
    fn a_sealed_value_opens_with_its_own_associated_data_alone() {
        let key = sealing(&[("0", 1)]);
        for plaintext in [&b""[..], b"123456", &[0xff; 100_000]] {
            let sealed = key.seal(plaintext, b"sid 1", Random).unwrap();
            assert_eq!(key.open(&sealed, b"sid 1").unwrap().as_slice(), plaintext);
            assert_eq!(key.open(&sealed, b"sid 2"), Err(SealError::Damaged));
        }
    }

    #[test]
    fn equal_values_seal_differently_and_hide_the_plaintext() {
        let key = sealing(&[("0", 1)]);
        let (first, second) =
            (key.seal(b"secret-token", b"", Random).unwrap(), key.seal(b"secret-token", b"", Random).unwrap());
        assert_ne!(first, second);
        assert!(!first.windows(6).any(|window| window == b"secret"));
    }

    #[test]
    fn every_change_and_truncation_is_detected() {
        let key = sealing(&[("a_1", 1)]);
        let sealed = key.seal(b"token", b"x", Random).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(key.open(&changed, b"x").is_err(), "octet {index}");
            assert!(key.open(&sealed[..index], b"x").is_err(), "cut at {index}");
        }
    }

    #[test]
    fn the_current_key_seals_and_retired_keys_open() {
        let (old, both, new) = (sealing(&[("0", 1)]), sealing(&[("1", 2), ("0", 1)]), sealing(&[("1", 2)]));
        let before = old.seal(b"token", b"x", Random).unwrap();
        assert_eq!(both.open(&before, b"x").unwrap().as_slice(), b"token");
        assert_eq!(new.open(&before, b"x"), Err(SealError::UnknownKey));
        let after = both.seal(b"token", b"x", Random).unwrap();
        assert_eq!(new.open(&after, b"x").unwrap().as_slice(), b"token");
        assert_eq!(old.open(&after, b"x"), Err(SealError::UnknownKey));
        assert_eq!(sealing(&[("0", 3)]).open(&before, b"x"), Err(SealError::Damaged), "the same id, another seed");
    }
}
