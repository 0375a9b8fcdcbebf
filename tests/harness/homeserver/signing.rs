//! A homeserver's signing key and what it signs.
//!
//! Invariant: written on its own, without the services' code for the same thing, so that one checks the other.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use ruma_common::CanonicalJsonValue;
use serde_json::{Value, json};
use shared::random::Random;

/// An ed25519 key with its id.
#[derive(Clone, Debug)]
pub struct Key {
    id: String,
    key: SigningKey,
}

impl Key {
    /// A new key with this id, `ed25519:…`.
    pub fn new(id: &str) -> Self {
        Self::from_seed(id, Random.bytes())
    }

    /// The key that comes from `seed`.
    pub fn from_seed(id: &str, seed: [u8; 32]) -> Self {
        Self { id: id.to_owned(), key: SigningKey::from_bytes(&seed) }
    }

    /// The id, `ed25519:…`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The public key in unpadded base64.
    pub fn public(&self) -> String {
        STANDARD_NO_PAD.encode(self.key.verifying_key().as_bytes())
    }

    /// The signature over `object` without its `signatures` and `unsigned`, in unpadded base64.
    ///
    /// # Panics
    /// If `object` has no canonical form: floats, integers beyond 2^53.
    pub fn signature(&self, object: &Value) -> String {
        self.text_signature(&canonical(&signed_part(object)))
    }

    /// The signature over `text` as it is, in unpadded base64: for what has no canonical form and is signed all the
    /// same.
    pub fn text_signature(&self, text: &str) -> String {
        STANDARD_NO_PAD.encode(self.key.sign(text.as_bytes()).to_bytes())
    }

    /// Adds this key's signature to `object`, under `name`.
    ///
    /// # Panics
    /// As [`Key::signature`], and if `object` is none.
    pub fn sign(&self, name: &str, object: &mut Value) {
        let signature = self.signature(object);
        assert!(object.is_object(), "only an object can be signed");
        object["signatures"][name][&self.id] = json!(signature);
    }
}

/// Whether `signature` is that of `public_key` (both base64, of either alphabet) over `object`.
pub(super) fn is_signed(object: &Value, signature: &str, public_key: &str) -> bool {
    let bytes = |text: &str| STANDARD_NO_PAD.decode(text.replace('-', "+").replace('_', "/")).ok();
    let key = bytes(public_key).and_then(|bytes| VerifyingKey::from_bytes(&bytes.try_into().ok()?).ok());
    let signature = bytes(signature).and_then(|bytes| Signature::from_slice(&bytes).ok());
    let (Some(key), Some(signature)) = (key, signature) else { return false };
    key.verify(canonical(&signed_part(object)).as_bytes(), &signature).is_ok()
}

/// An object without what a signature does not cover.
fn signed_part(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("signatures");
        fields.remove("unsigned");
    }
    object
}

/// The canonical JSON of a value (specification, appendices, Canonical JSON).
///
/// # Panics
/// If it has none: floats, integers beyond 2^53.
pub fn canonical(value: &Value) -> String {
    CanonicalJsonValue::try_from(value.clone()).expect("a value with a canonical form").to_string()
}
