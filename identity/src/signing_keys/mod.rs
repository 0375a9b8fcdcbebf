//! The server's long-term keys: the one that signs, those that once did, and what they seal.
//!
//! Invariant: a revoked key neither signs nor counts as valid, and no seed leaves this folder.

mod key_file;
mod rotation;
mod sealing;

use std::path::Path;

use serde_json::{Map, Value};
use shared::random::Random;
use zeroize::Zeroizing;

use crate::signing::{InvalidKey, SigningError, SigningKey, decode_key};

pub use key_file::KeyFileError;
pub use rotation::rotate;
pub use sealing::{SealError, SealingKey};

/// Why there are no keys to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeysError {
    /// The key file cannot be read, made or understood.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// The first key of the file is in the list of revoked ones.
    #[error("the signing key {0} is revoked: put a new key on the first line of the key file")]
    SignerRevoked(String),
    /// An entry of the list of revoked keys is not of the form `ed25519:<id>`.
    #[error("revoked key \"{0}\" is not of the form ed25519:<id>")]
    RevokedForm(String),
}

/// The keys of the key file, and the server names under which they sign.
#[derive(Debug)]
pub struct SigningKeys {
    /// The current key, then the retired ones; none of them revoked.
    keys: Vec<SigningKey>,
    sign_as: Vec<String>,
    sealing: SealingKey,
}

impl SigningKeys {
    /// Reads the keys at `path`, a file of lines `ed25519 <id> <unpadded base64 seed>`: the first signs, the others
    /// are retired. If there is no file, one is made with a new key `0`, readable by its owner alone; processes that
    /// start together end up with the same.
    ///
    /// `revoked` holds key ids (`ed25519:<id>`), `sign_as` the server names to sign under.
    ///
    /// # Errors
    /// [`SigningKeysError`], with the path and the line, never a part of a seed.
    pub fn load(
        path: &Path,
        revoked: &[String],
        sign_as: Vec<String>,
        random: Random,
    ) -> Result<Self, SigningKeysError> {
        Self::of(key_file::read_or_make(path, random)?, revoked, sign_as)
    }

    /// As [`SigningKeys::load`], from a file that is there.
    ///
    /// # Errors
    /// [`SigningKeysError`], also if there is no file.
    pub fn read(path: &Path, revoked: &[String], sign_as: Vec<String>) -> Result<Self, SigningKeysError> {
        Self::of(key_file::read(path)?, revoked, sign_as)
    }

    fn of(mut keys: Vec<SigningKey>, revoked: &[String], sign_as: Vec<String>) -> Result<Self, SigningKeysError> {
        if let Some(wrong) = revoked.iter().find(|id| !id.starts_with("ed25519:")) {
            return Err(SigningKeysError::RevokedForm(wrong.clone()));
        }
        // What a key sealed before it was revoked must still open.
        let sealing = SealingKey::of(&keys);
        if let Some(signer) = keys.first().filter(|signer| revoked.iter().any(|id| id == signer.id())) {
            return Err(SigningKeysError::SignerRevoked(signer.id().to_owned()));
        }
        keys.retain(|key| !revoked.iter().any(|id| id == key.id()));
        Ok(Self { keys, sign_as, sealing })
    }

    /// Adds the current key's signature to `object`, under every server name.
    ///
    /// # Errors
    /// [`SigningError`] if `object` cannot be signed.
    pub fn sign(&self, object: &mut Map<String, Value>) -> Result<(), SigningError> {
        self.sign_as.iter().try_for_each(|name| self.current().sign(name, object))
    }

    /// The key that signs.
    pub fn current(&self) -> &SigningKey {
        // The key file has at least one key, and its first is not revoked: `load` makes sure of both.
        &self.keys[0]
    }

    /// The public key under the id `ed25519:<id>`, current or retired, in standard unpadded base64.
    pub fn public_key(&self, key_id: &str) -> Option<String> {
        self.keys.iter().find(|key| key.id() == key_id).map(|key| key.public().encode())
    }

    /// Whether `public_key` of a query is one of ours, current or retired and not revoked. What cannot be decoded is
    /// not.
    pub fn is_valid(&self, public_key: &str) -> bool {
        decode_queried_key(public_key)
            .is_some_and(|bytes| self.keys.iter().any(|key| *key.public().as_bytes() == bytes))
    }

    /// Seals what must not lie in clear in the database.
    pub fn sealing(&self) -> &SealingKey {
        &self.sealing
    }
}

/// A new line for the key file, without its line break.
///
/// # Errors
/// [`InvalidKey`] if `id` has other characters than `a-z`, `A-Z`, `0-9`, `_`.
pub fn new_line(id: &str, random: Random) -> Result<Zeroizing<String>, InvalidKey> {
    SigningKey::from_seed(id, &random.bytes()).map(|_| key_file::new_line(id, random))
}

/// The octets of a public key in a query: either base64 alphabet, padded or not, and a space for a `+` that was not
/// percent-encoded.
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
        SigningKeys::load(&path, &owned(revoked), owned(sign_as), Random)
    }

    #[test]
    fn the_first_key_signs_under_every_name_and_the_others_are_retired() {
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
    fn a_public_key_is_recognised_however_it_is_written() {
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
    fn a_revoked_key_is_served_and_valid_no_more_and_cannot_be_the_signer() {
        let keys = load(TWO_KEYS, &["ed25519:0", "ed25519:long_gone"], &[]).unwrap();
        assert!(!keys.is_valid(RETIRED) && keys.is_valid(CURRENT));
        assert_eq!(keys.public_key("ed25519:0"), None);
        assert!(matches!(load(TWO_KEYS, &["ed25519:b_2"], &[]), Err(SigningKeysError::SignerRevoked(_))));
        assert!(matches!(load(TWO_KEYS, &["0"], &[]), Err(SigningKeysError::RevokedForm(_))));
    }

    #[test]
    fn what_a_key_sealed_opens_after_it_is_retired_and_after_it_is_revoked() {
        let old = load("ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1", &[], &[]).unwrap();
        let sealed = old.sealing().seal(b"token", b"row 5", Random).unwrap();
        for revoked in [&[][..], &["ed25519:0"]] {
            let new = load(TWO_KEYS, revoked, &[]).unwrap();
            assert_eq!(new.sealing().open(&sealed, b"row 5").unwrap().as_slice(), b"token");
        }
    }

    #[test]
    fn debug_output_shows_ids_and_no_seed() {
        let shown = format!("{:?}", load(TWO_KEYS, &[], &[]).unwrap());
        assert!(shown.contains("ed25519:b_2") && !shown.contains("tQOp") && !shown.contains("YJDB"), "{shown}");
    }
}
