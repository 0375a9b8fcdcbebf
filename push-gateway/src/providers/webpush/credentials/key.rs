//! The private key of VAPID: read, made, and used.
//!
//! Invariant: no error and no debug output contains a part of it.

use std::fmt;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::PrivateKeyDer;
use shared::pem::private_key;
use shared::text_file::unquoted;

use super::super::base64::{decode, encode};

/// A key pair on P-256.
pub(crate) struct VapidKey {
    pair: EcdsaKeyPair,
    public: String,
}

/// The text is not such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an EC key on P-256: PEM (PKCS#8 or SEC1), or 32 bytes in base64url; push-gateway generate-vapid-key prints one"
)]
pub(crate) struct InvalidKey;

impl VapidKey {
    /// Reads PEM, or the 32 bytes of the key in base64url.
    ///
    /// # Errors
    /// [`InvalidKey`].
    pub(crate) fn parse(text: &str) -> Result<Self, InvalidKey> {
        let text = unquoted(text);
        if let Some(raw) = decode(text).filter(|raw| raw.len() == 32) {
            let private = PrivateKey::from_private_key(&ECDH_P256, &raw).map_err(|_| InvalidKey)?;
            let public = private.compute_public_key().map_err(|_| InvalidKey)?;
            let pair =
                EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, &raw, public.as_ref());
            return Ok(Self::of(pair.map_err(|_| InvalidKey)?));
        }
        let der = private_key(text.as_bytes()).map_err(|_| InvalidKey)?;
        let pair = match &der {
            PrivateKeyDer::Pkcs8(der) => {
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der())
            }
            PrivateKeyDer::Sec1(der) => {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_sec1_der())
            }
            _ => return Err(InvalidKey),
        };
        Ok(Self::of(pair.map_err(|_| InvalidKey)?))
    }

    /// A new key.
    ///
    /// # Errors
    /// [`InvalidKey`] if the random source of the library fails.
    pub(crate) fn generate() -> Result<Self, InvalidKey> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::of).map_err(|_| InvalidKey)
    }

    /// The private key as PEM (PKCS#8).
    ///
    /// # Errors
    /// [`InvalidKey`] if the library cannot encode it.
    pub(crate) fn pem(&self) -> Result<String, InvalidKey> {
        let der = self.pair.to_pkcs8v1().map_err(|_| InvalidKey)?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = (0..text.len()).step_by(64).map(|from| &text[from..text.len().min(from + 64)]).collect();
        Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
    }

    /// The public key in base64url, 87 characters.
    pub(crate) fn public_text(&self) -> &str {
        &self.public
    }

    /// The signature: r and s, 32 bytes each.
    pub(super) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.pair.sign(&SystemRandom::new(), message).ok().map(|signature| signature.as_ref().to_vec())
    }

    fn of(pair: EcdsaKeyPair) -> Self {
        let public = encode(pair.public_key().as_ref());
        Self { pair, public }
    }
}

impl fmt::Debug for VapidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VapidKey")
    }
}

#[cfg(test)]
mod tests {
    use super::VapidKey;

    #[test]
    fn a_key_is_read_in_each_form_that_tools_write() {
        // RFC 8291 appendix A: the sender's key.
        let raw = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
        let public = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        let key = VapidKey::parse(raw).unwrap();
        assert_eq!(key.public_text(), public);
        let pkcs8 = key.pem().unwrap();
        assert_eq!(VapidKey::parse(&pkcs8).unwrap().public_text(), public);
        // openssl ecparam -name prime256v1 -genkey -noout
        let sec1 = "-----BEGIN EC PRIVATE KEY-----\n\
                    MHcCAQEEIMn1j4mBPp+Ohy5x9CqmThdXySVNzGK3LdwBC7QEPqEcoAoGCCqGSM49\n\
                    AwEHoUQDQgAE/jP0qw3qcZFNtVgj9ztUlI9BMG2SBzLbuaWaUyhkgiAOWXp7e8Jg\n\
                    uhwieZhYCZLpOXMALzASooro8Gu7eOXsDw==\n\
                    -----END EC PRIVATE KEY-----\n";
        assert_eq!(VapidKey::parse(sec1).unwrap().public_text(), public);
        for wrong in ["", "abc", &raw[..40], "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"] {
            assert!(VapidKey::parse(wrong).is_err(), "{wrong}");
        }
    }
}
