//! Signed JSON (specification, appendix "Signing JSON"): ed25519 keys, signing an object, verifying it.
//!
//! Invariant: a seed is wiped when its key is dropped and never printed; there is no algorithm but ed25519.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, Signer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::canonical_json::{self, NotCanonical};

/// What a signature does not cover.
pub const NOT_SIGNED: [&str; 2] = ["signatures", "unsigned"];

/// Standard base64 as others write it: padded or not. The bits that are left over in the last character are not
/// looked at, because the specification's own seed has some.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A text that is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not base64, or not 32 octets.
    #[error("the key is not base64 of 32 bytes")]
    NotThirtyTwoBytes,
    /// 32 octets that are no point of the curve.
    #[error("the bytes are no ed25519 public key")]
    NotOnTheCurve,
    /// The part of a key id after `ed25519:` is empty or has other characters than `[a-zA-Z0-9_]`.
    #[error("a key id is one or more of the characters a-z, A-Z, 0-9, _")]
    Id,
}

/// An object that cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// It has no canonical form.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// Its `signatures`, or those of the signer in it, are not an object.
    #[error("signatures is not an object of objects")]
    Signatures,
}

/// An object that is not signed as required.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It has no canonical form, so nothing can have been signed.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// The signer has not signed it with this key, or the signature is no base64 of 64 octets.
    #[error("there is no such signature")]
    Missing,
    /// The signature is of something else or by someone else.
    #[error("the signature does not fit")]
    Wrong,
}

/// A private key and its id.
pub struct SigningKey {
    id: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// The key that grows from `seed`; `version` is the part of its id after `ed25519:`.
    ///
    /// # Errors
    /// [`InvalidKey::Id`] if `version` is not `[a-zA-Z0-9_]+`.
    pub fn from_seed(version: &str, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let right = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !right {
            return Err(InvalidKey::Id);
        }
        Ok(Self { id: format!("ed25519:{version}"), key: ed25519_dalek::SigningKey::from_bytes(seed) })
    }

    /// The whole id, `ed25519:<version>`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part of the id after `ed25519:`.
    pub fn version(&self) -> &str {
        self.id.split_once(':').map_or("", |(_, version)| version)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The seed, to be written to a key file or handed to its owner.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Adds the signature of `signer` to `object`, next to those that are there. `signatures` and `unsigned` are not
    /// covered by it.
    ///
    /// # Errors
    /// [`SigningError`]; `object` is then as it was.
    pub fn sign(&self, signer: &str, object: &mut Map<String, Value>) -> Result<(), SigningError> {
        let text = canonical_json::object_to_string(object, &NOT_SIGNED)?;
        let signature = Value::String(STANDARD_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes()));
        match object.get("signatures") {
            None => {}
            Some(Value::Object(all)) if matches!(all.get(signer), None | Some(Value::Object(_))) => {}
            Some(_) => return Err(SigningError::Signatures),
        }
        let all = object.entry("signatures").or_insert_with(|| Value::Object(Map::new()));
        let own = &mut all[signer];
        own[self.id.as_str()] = signature;
        Ok(())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads a key in unpadded base64; either alphabet and padding are taken too.
    ///
    /// # Errors
    /// [`InvalidKey`] unless it is 32 octets that lie on the curve.
    pub fn decode(text: &str) -> Result<Self, InvalidKey> {
        let bytes = decode_key(text).ok_or(InvalidKey::NotThirtyTwoBytes)?;
        ed25519_dalek::VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| InvalidKey::NotOnTheCurve)
    }

    /// The key in standard unpadded base64.
    pub fn encode(&self) -> String {
        STANDARD_NO_PAD.encode(self.0.as_bytes())
    }

    /// The key in URL-safe unpadded base64.
    pub fn encode_url_safe(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.as_bytes())
    }

    /// The 32 octets.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether `object` carries the signature of `signer` with this key under the id `key_id` (`ed25519:<version>`).
    ///
    /// # Errors
    /// [`VerifyError`] says what is wrong, never with a part of `object` in it.
    pub fn verify(&self, signer: &str, key_id: &str, object: &Map<String, Value>) -> Result<(), VerifyError> {
        let signature = object.get("signatures").and_then(|all| all.get(signer)?.get(key_id)?.as_str());
        self.verify_with(signature.ok_or(VerifyError::Missing)?, object)
    }

    /// Whether `signature` (base64) is this key's over `object` less `signatures` and `unsigned`.
    ///
    /// # Errors
    /// As for [`PublicKey::verify`].
    pub fn verify_with(&self, signature: &str, object: &Map<String, Value>) -> Result<(), VerifyError> {
        self.verify_text(signature, &canonical_json::object_to_string(object, &NOT_SIGNED)?)
    }

    /// Whether `signature` (base64) is this key's over `text`, a canonical form that the caller has made.
    ///
    /// # Errors
    /// [`VerifyError::Missing`] if `signature` is no base64 of 64 octets, [`VerifyError::Wrong`].
    pub fn verify_text(&self, signature: &str, text: &str) -> Result<(), VerifyError> {
        let bytes = decode_base64(signature).ok_or(VerifyError::Missing)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| VerifyError::Missing)?;
        // Strict: a key of small order, which would accept a signature over anything, is refused.
        self.0.verify_strict(text.as_bytes(), &signature).map_err(|_| VerifyError::Wrong)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.encode())
    }
}

/// The octets of `text`, which may use either base64 alphabet, with or without padding.
pub fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let standard = Zeroizing::new(text.replace('-', "+").replace('_', "/"));
    LENIENT.decode(standard.as_bytes()).ok().map(Zeroizing::new)
}

/// The 32 octets of a public key or a seed, read as [`decode_base64`] does.
pub fn decode_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    decode_base64(text)?.as_slice().try_into().ok().map(Zeroizing::new)
}

/// A seed as it is written: standard base64 without padding.
pub fn encode_seed(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD_NO_PAD.encode(seed))
}

/// A seed in a link: URL-safe base64 without padding.
pub fn encode_seed_url_safe(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(seed))
}

#[cfg(test)]
mod tests;
