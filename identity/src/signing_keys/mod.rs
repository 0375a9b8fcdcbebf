//! The server's long-term keys: the current key signs, the retired keys stay valid, and all of them open sealed data.
//!
//! Invariant: a revoked key neither signs nor is valid, and no seed leaves this folder.

mod digests;
mod key_file;
mod rotation;
mod sealing;

use std::path::Path;

use serde_json::{Map, Value};
use shared::random::Random;
use zeroize::Zeroizing;

use crate::domain::recorded_key::RecordedKey;
use crate::signing::{InvalidKey, SigningError, SigningKey, decode_key};

pub use digests::DigestKeys;
pub use key_file::KeyFileError;
pub use rotation::rotate;
pub use sealing::{SealError, SealingKey};

/// Why the signing keys cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    #[error(transparent)]
    File(#[from] KeyFileError),
    #[error("[keys] revoked: the signing key {0} is in the list; put a new key on the first line of the key file")]
    SignerRevoked(String),
}

/// The keys of the key file, and the server names under which they sign.
#[derive(Debug)]
pub struct SigningKeys {
    /// The current key, then the retired keys, without revoked ones.
    keys: Vec<SigningKey>,
    sign_as: Vec<String>,
    sealing: SealingKey,
    digests: DigestKeys,
}

impl SigningKeys {
    /// Reads the keys at `path`, a file of lines `ed25519 <id> <unpadded base64 seed>`: the first key signs, the others are
    /// retired. A missing file is created with a new key `version`, for its owner alone; processes that start together share
    /// it.
    ///
    /// `revoked` has key ids (`ed25519:<id>`), `sign_as` the server names to sign under.
    ///
    /// # Errors
    /// [`SigningKeysError`] with the path and the line, never with a part of a seed.
    pub fn load(
        path: &Path,
        version: &str,
        revoked: &[String],
        sign_as: Vec<String>,
        random: Random,
    ) -> Result<Self, SigningKeysError> {
        Self::of(key_file::read_or_create(path, version, random)?, revoked, sign_as)
    }

    /// As [`SigningKeys::load`], from an existing file.
    ///
    /// # Errors
    /// [`SigningKeysError`], also for a missing file.
    pub fn read(path: &Path, revoked: &[String], sign_as: Vec<String>) -> Result<Self, SigningKeysError> {
        Self::of(key_file::read(path)?, revoked, sign_as)
    }

    fn of(mut keys: Vec<SigningKey>, revoked: &[String], sign_as: Vec<String>) -> Result<Self, SigningKeysError> {
        // A revoked key still opens the data that it sealed.
        let (sealing, digests) = (SealingKey::of(&keys), DigestKeys::of(&keys));
        if let Some(signer) = keys.first().filter(|signer| revoked.iter().any(|id| id == signer.id())) {
            return Err(SigningKeysError::SignerRevoked(signer.id().to_owned()));
        }
        keys.retain(|key| !revoked.iter().any(|id| id == key.id()));
        Ok(Self { keys, sign_as, sealing, digests })
    }

    /// Adds a signature of the current key to `object` for every server name.
    ///
    /// # Errors
    /// [`SigningError`] if `object` cannot be signed.
    pub fn sign(&self, object: &mut Map<String, Value>) -> Result<(), SigningError> {
        self.sign_as.iter().try_for_each(|name| self.current().sign(name, object))
    }

    pub fn current(&self) -> &SigningKey {
        // `of` guarantees that the first key exists and is not revoked.
        &self.keys[0]
    }

    /// The public halves of all keys, as the database records them.
    pub fn public_halves(&self) -> Vec<RecordedKey> {
        let keys = self.keys.iter().enumerate();
        keys.map(|(index, key)| RecordedKey {
            id: key.id().to_owned(),
            public: key.public().as_bytes().to_vec(),
            is_current: index == 0,
        })
        .collect()
    }

    /// The public key under the id `ed25519:<id>`, current or retired, in standard unpadded base64.
    pub fn public_key(&self, key_id: &str) -> Option<String> {
        self.keys.iter().find(|key| key.id() == key_id).map(|key| key.public().encode())
    }

    /// Whether a query's `public_key` is the current or a retired key. Text that cannot be decoded is not.
    pub fn is_valid(&self, public_key: &str) -> bool {
        decode_queried_key(public_key)
            .is_some_and(|bytes| self.keys.iter().any(|key| *key.public().as_bytes() == bytes))
    }

    pub fn sealing(&self) -> &SealingKey {
        &self.sealing
    }

    pub fn digests(&self) -> &DigestKeys {
        &self.digests
    }
}

/// A new line for the key file, without its line break.
///
/// # Errors
/// [`InvalidKey`] if `id` has other characters than `a-z`, `A-Z`, `0-9`, `_`.
pub fn new_line(id: &str, random: Random) -> Result<Zeroizing<String>, InvalidKey> {
    SigningKey::from_seed(id, &random.bytes()).map(|_| key_file::new_line(id, random))
}

/// Decodes a query's public key: either base64 alphabet, padded or not, with a space for a `+` that was not percent-encoded.
pub fn decode_queried_key(text: &str) -> Option<[u8; 32]> {
    decode_key(&text.replace(' ', "+")).map(|bytes| *bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Map, Value, json};
    use shared::random::Random;

    use super::{SigningKeys, SigningKeysError};
    use crate::signing::PublicKey;

    const TWO_KEYS: &str = "# the second is retired\n\ned25519 b_2 tQOpPxbsuKiwNk/2d/9BtdQVWOmwYlqiFLiB+h1Er30\n\
                            ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n";
    const CURRENT: &str = "4GWqEa2UxrXOd8CC94DXvdXQm5bAa14eMwxhC+vkrSg";
    const RETIRED: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

    fn load(text: &str, revoked: &[&str], sign_as: &[&str]) -> Result<SigningKeys, SigningKeysError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("signing.key");
        fs::write(&path, text).unwrap();
        let owned = |texts: &[&str]| -> Vec<String> { texts.iter().copied().map(str::to_owned).collect() };
        SigningKeys::load(&path, "0", &owned(revoked), owned(sign_as), Random)
    }

    #[test]
    fn the_first_key_signs_for_every_name_and_the_others_are_retired() {
        let keys = load(TWO_KEYS, &[], &["id.example.org", "old.example.org"]).unwrap();
        let mut signed: Map<String, Value> = serde_json::from_value(json!({"mxid": "@bob:hs.example"})).unwrap();
        keys.sign(&mut signed).unwrap();
        let current = PublicKey::decode(CURRENT).unwrap();
        for name in ["id.example.org", "old.example.org"] {
            assert_eq!(current.verify(name, "ed25519:b_2", &signed), Ok(()));
        }
        assert_eq!(keys.public_key("ed25519:b_2").as_deref(), Some(CURRENT));
        assert_eq!(keys.public_key("ed25519:0").as_deref(), Some(RETIRED));
        for unknown in ["0", "ed25519:1", "", "ed25519:", "curve25519:0"] {
            assert_eq!(keys.public_key(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_public_key_is_valid_in_every_base64_spelling() {
        let keys = load(TWO_KEYS, &[], &[]).unwrap();
        let padded = format!("{CURRENT}=");
        let (url_safe, from_form) = (CURRENT.replace('+', "-"), CURRENT.replace('+', " "));
        for text in [CURRENT, RETIRED, &padded, &url_safe, &from_form] {
            assert!(keys.is_valid(text), "{text}");
        }
        let other = "A".repeat(43);
        for text in ["", "x", "%", "é", &CURRENT[..42], &other] {
            assert!(!keys.is_valid(text), "{text}");
        }
    }

    #[test]
    fn a_revoked_key_is_neither_served_nor_valid_and_cannot_sign() {
        let keys = load(TWO_KEYS, &["ed25519:0", "ed25519:long_gone"], &[]).unwrap();
        assert!(!keys.is_valid(RETIRED) && keys.is_valid(CURRENT));
        assert_eq!(keys.public_key("ed25519:0"), None);
        assert!(matches!(load(TWO_KEYS, &["ed25519:b_2"], &[]), Err(SigningKeysError::SignerRevoked(_))));
    }

    #[test]
    fn sealed_data_opens_after_its_key_is_retired_or_revoked() {
        let old = load("ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", &[], &[]).unwrap();
        let sealed = old.sealing().seal(b"token", b"row 5", Random).unwrap();
        for revoked in [&[][..], &["ed25519:0"]] {
            let new = load(TWO_KEYS, revoked, &[]).unwrap();
            assert_eq!(new.sealing().open(&sealed, b"row 5").unwrap().as_slice(), b"token");
        }
    }

    #[test]
    fn debug_output_shows_ids_and_hides_seeds() {
        let shown = format!("{:?}", load(TWO_KEYS, &[], &[]).unwrap());
        assert!(shown.contains("ed25519:b_2") && !shown.contains("tQOp") && !shown.contains("YJDB"), "{shown}");
    }
}
