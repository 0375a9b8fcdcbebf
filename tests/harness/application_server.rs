//! A homeserver that sends Web Push: VAPID (RFC 8292) and message encryption (RFC 8291, RFC 8188).
//!
//! Invariant: written from the specifications alone, without the code of the gateway.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::random::Random;

/// The record size that senders commonly write.
const RECORD_SIZE: u32 = 4096;

/// One that identifies itself with a key of its own.
#[derive(Debug)]
pub struct ApplicationServer {
    pair: EcdsaKeyPair,
}

impl Default for ApplicationServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApplicationServer {
    /// One with a new key.
    ///
    /// # Panics
    /// If the system has no randomness.
    pub fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("the system has randomness") }
    }

    /// Its public key: uncompressed, in base64url.
    pub fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.public())
    }

    /// Its public key, uncompressed.
    pub fn public(&self) -> Vec<u8> {
        self.pair.public_key().as_ref().to_vec()
    }

    /// A token with this header and these claims, as they are.
    ///
    /// # Panics
    /// If the library cannot sign.
    pub fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A token with the usual header and these claims.
    pub fn token_of(&self, claims: &Value) -> String {
        self.sign(r#"{"typ":"JWT","alg":"ES256"}"#, &claims.to_string())
    }

    /// A token for the push service with this origin, valid for 12 hours.
    pub fn token(&self, audience: &str) -> String {
        self.token_of(&json!({ "aud": audience, "exp": now() + 12 * 3600, "sub": "mailto:ops@hs.example" }))
    }

    /// `Authorization` with a token for this origin.
    pub fn authorization(&self, audience: &str) -> String {
        format!("vapid t={}, k={}", self.token(audience), self.key())
    }
}

/// The time in seconds since the Unix epoch.
pub fn now() -> i64 {
    Clock::system().now().as_millis() / 1000
}

/// Encrypts a message for the subscription with this public key and secret, both in base64url.
///
/// # Panics
/// If they are not in the right form.
pub fn encrypt(p256dh: &str, auth: &str, plaintext: &[u8]) -> Vec<u8> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let (receiver, secret) = (decode(p256dh), decode(auth));
    let private = PrivateKey::generate(&ECDH_P256).expect("the system has randomness");
    let public = private.compute_public_key().expect("a key that was made here").as_ref().to_vec();
    let peer = UnparsedPublicKey::new(&ECDH_P256, &receiver);
    let shared = agreement::agree(&private, peer, "no point of the curve", |shared| Ok(shared.to_vec()));
    let salt: [u8; 16] = Random.bytes();
    let prk = hmac_of(&secret, &[&shared.expect("a public key")]);
    let ikm = hmac_of(&prk, &[b"WebPush: info\0", &receiver, &public, &[1]]);
    let prk = hmac_of(&salt, &[&ikm]);
    let key = hmac_of(&prk, &[b"Content-Encoding: aes128gcm\0", &[1]]);
    let nonce = hmac_of(&prk, &[b"Content-Encoding: nonce\0", &[1]]);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key[..16]).expect("16 bytes"));
    let nonce = Nonce::try_assume_unique_for_key(&nonce[..12]).expect("12 bytes");
    let mut record = [plaintext, &[2]].concat();
    key.seal_in_place_append_tag(nonce, Aad::empty(), &mut record).expect("a short record");
    [&salt, &RECORD_SIZE.to_be_bytes()[..], &[65], &public, &record].concat()
}

fn hmac_of(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    context.sign().as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::encrypt;
    use crate::push_service::Receiver;

    #[test]
    fn a_receiver_decrypts_a_message() {
        let receiver = Receiver::new();
        let (p256dh, auth) = receiver.keys();
        let body = encrypt(&p256dh, &auth, b"When I grow up, I want to be a watermelon");
        assert_eq!(receiver.decrypt(&body).unwrap(), b"When I grow up, I want to be a watermelon");
        let other = Receiver::new();
        assert!(other.decrypt(&body).is_err());
    }
}
