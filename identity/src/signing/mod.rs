//! Signed JSON (specification, appendix "Signing JSON"): ed25519 keys, signing and verifying objects.
//!
//! Invariant: a seed is zeroized on drop and never printed; ed25519 is the only algorithm.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, Signer};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::canonical_json::{self, NotCanonical};

/// Top-level members that signatures do not cover.
pub const NOT_SIGNED: [&str; 2] = ["signatures", "unsigned"];

/// Standard base64 with optional padding. Trailing bits in the last character are ignored, because the seed in the
/// specification has some.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An invalid key or key id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not base64, or not 32 octets.
    #[error("the key is not base64 of 32 bytes")]
    NotThirtyTwoBytes,
    /// 32 octets that are not a point on the curve.
    #[error("the bytes are not an ed25519 public key")]
    NotOnTheCurve,
    /// The part of a key id after `ed25519:` does not match `[a-zA-Z0-9_]+`.
    #[error("a key id is one or more of the characters a-z, A-Z, 0-9, _")]
    Id,
}

/// Why an object cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The object has no canonical form.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// `signatures`, or the signer's member in it, is not an object.
    #[error("signatures is not an object of objects")]
    Signatures,
}

/// Why a signature does not verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The object has no canonical form, so no valid signature exists.
    #[error(transparent)]
    NotCanonical(#[from] NotCanonical),
    /// There is no signature by this signer with this key, or it is not base64 of 64 octets.
    #[error("the signature is missing")]
    Missing,
    /// The signature covers another text or was made with another key.
    #[error("the signature is invalid")]
    Wrong,
}

/// A private key with its id.
pub struct SigningKey {
    id: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Derives the key from `seed`; `version` is the part of its id after `ed25519:`.
    ///
    /// # Errors
    /// [`InvalidKey::Id`] if `version` does not match `[a-zA-Z0-9_]+`.
    pub fn from_seed(version: &str, seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let right = !version.is_empty() && version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !right {
            return Err(InvalidKey::Id);
        }
        Ok(Self { id: format!("ed25519:{version}"), key: ed25519_dalek::SigningKey::from_bytes(seed) })
    }

    /// The complete id, `ed25519:<version>`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The part of the id after `ed25519:`.
    pub fn version(&self) -> &str {
        self.id.split_once(':').map_or("", |(_, version)| version)
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    /// The seed, for a key file or the key's owner.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.key.to_bytes())
    }

    /// Adds a signature by `signer` to `object` and keeps the existing ones. It does not cover `signatures` and
    /// `unsigned`.
    ///
    /// # Errors
    /// [`SigningError`]; `object` is then unchanged.
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
    /// Decodes a key from base64, in either alphabet, with or without padding.
    ///
    /// # Errors
    /// [`InvalidKey`] unless it is 32 octets that are a point on the curve.
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

    /// Verifies the signature by `signer` in `object` under `key_id` (`ed25519:<version>`).
    ///
    /// # Errors
    /// [`VerifyError`]; it never contains a part of `object`.
    #[cfg(test)]
    pub fn verify(&self, signer: &str, key_id: &str, object: &Map<String, Value>) -> Result<(), VerifyError> {
        let signature = object.get("signatures").and_then(|all| all.get(signer)?.get(key_id)?.as_str());
        self.verify_with(signature.ok_or(VerifyError::Missing)?, object)
    }

    /// Verifies `signature` (base64) over `object` without `signatures` and `unsigned`.
    ///
    /// # Errors
    /// Those of [`PublicKey::verify`].
    #[cfg(test)]
    pub fn verify_with(&self, signature: &str, object: &Map<String, Value>) -> Result<(), VerifyError> {
        self.verify_text(signature, &canonical_json::object_to_string(object, &NOT_SIGNED)?)
    }

    /// Verifies `signature` (base64) over `text`, a canonical form.
    ///
    /// # Errors
    /// [`VerifyError::Missing`] if `signature` is not base64 of 64 octets, [`VerifyError::Wrong`].
    pub fn verify_text(&self, signature: &str, text: &str) -> Result<(), VerifyError> {
        let bytes = decode_base64(signature).ok_or(VerifyError::Missing)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| VerifyError::Missing)?;
        // Strict: rejects keys of small order, which accept a signature over any text.
        self.0.verify_strict(text.as_bytes(), &signature).map_err(|_| VerifyError::Wrong)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.encode())
    }
}

/// Decodes base64 in either alphabet, with or without padding.
pub fn decode_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let standard = Zeroizing::new(text.replace('-', "+").replace('_', "/"));
    LENIENT.decode(standard.as_bytes()).ok().map(Zeroizing::new)
}

/// Decodes the 32 octets of a public key or a seed like [`decode_base64`].
pub fn decode_key(text: &str) -> Option<Zeroizing<[u8; 32]>> {
    decode_base64(text)?.as_slice().try_into().ok().map(Zeroizing::new)
}

/// Encodes a seed in standard base64 without padding.
pub fn encode_seed(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD_NO_PAD.encode(seed))
}

/// Encodes a seed for a link, in URL-safe base64 without padding.
pub fn encode_seed_url_safe(seed: &[u8; 32]) -> Zeroizing<String> {
    Zeroizing::new(URL_SAFE_NO_PAD.encode(seed))
}

#[cfg(test)]
mod tests;
