//! `push-gateway generate-vapid-key`: makes the key with which the gateway identifies itself to Web Push services.
//!
//! Invariant: it reads and writes no file, and opens no connection.

use crate::providers::webpush::{InvalidKey, VapidKey};

/// A new key in the forms that a configuration and a web app take.
pub(crate) struct GeneratedKey {
    /// PKCS#8.
    pub(crate) private_pem: String,
    /// Base64url.
    pub(crate) public: String,
}

/// Makes a key.
///
/// # Errors
/// [`InvalidKey`] if the library cannot make one.
pub(crate) fn generate_vapid_key() -> Result<GeneratedKey, InvalidKey> {
    let key = VapidKey::generate()?;
    Ok(GeneratedKey { private_pem: key.pem()?, public: key.public_text().to_owned() })
}
