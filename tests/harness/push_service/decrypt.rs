//! The receiver's side of message encryption (RFC 8291, RFC 8188).
//!
//! Invariant: written from the specification alone, without the code of the gateway.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsBigEndian, EcPrivateKeyBin};
use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use shared::random::Random;

/// The keys of an app that subscribed.
#[derive(Debug)]
pub struct Receiver {
    private: PrivateKey,
    secret: [u8; 16],
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}

impl Receiver {
    /// One with new keys.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn new() -> Self {
        Self { private: PrivateKey::generate(&ECDH_P256).expect("the system has randomness"), secret: Random.bytes() }
    }

    /// The public key and the secret, in base64url.
    pub fn keys(&self) -> (String, String) {
        (URL_SAFE_NO_PAD.encode(self.public()), URL_SAFE_NO_PAD.encode(self.secret))
    }

    /// The private key.
    ///
    /// # Panics
    /// Never: the key was made here.
    pub fn private_key(&self) -> Vec<u8> {
        let bytes: EcPrivateKeyBin<'_> = self.private.as_be_bytes().expect("a key that was made here");
        bytes.as_ref().to_vec()
    }

    fn public(&self) -> Vec<u8> {
        self.private.compute_public_key().expect("a key that was made here").as_ref().to_vec()
    }

    /// The plaintext of a body.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decrypt(&self, body: &[u8]) -> Result<Vec<u8>, &'static str> {
        let (salt, rest) = body.split_at_checked(16).ok_or("no salt")?;
        let (size, rest) = rest.split_at_checked(4).ok_or("no record size")?;
        let (length, rest) = rest.split_first().ok_or("no key length")?;
        let (sender, record) = rest.split_at_checked(usize::from(*length)).ok_or("no sender's key")?;
        let size = u32::from_be_bytes(size.try_into().map_err(|_| "no record size")?);
        if u32::try_from(record.len()).map_err(|_| "too long")? > size {
            return Err("more than one record");
        }
        let public = self.public();
        let peer = UnparsedPublicKey::new(&ECDH_P256, sender);
        let shared =
            agreement::agree(&self.private, peer, "the sender's key is no point", |shared| Ok(shared.to_vec()))?;
        let prk = hmac_of(&self.secret, &[&shared]);
        let ikm = hmac_of(&prk, &[b"WebPush: info\0", &public, sender, &[1]]);
        let prk = hmac_of(salt, &[&ikm]);
        let key = hmac_of(&prk, &[b"Content-Encoding: aes128gcm\0", &[1]]);
        let nonce: [u8; 12] =
            hmac_of(&prk, &[b"Content-Encoding: nonce\0", &[1]])[..12].try_into().map_err(|_| "nonce")?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).map_err(|_| "key")?);
        let mut record = record.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = key.open_in_place(nonce, Aad::empty(), &mut record).map_err(|_| "the record does not open")?;
        // The delimiter of the last record, then padding.
        let end = plain.iter().rposition(|byte| *byte != 0).ok_or("no delimiter")?;
        if plain[end] != 2 {
            return Err("not the last record");
        }
        Ok(plain[..end].to_vec())
    }
}

fn hmac_of(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}
