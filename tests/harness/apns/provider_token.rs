//! The key that a developer got from Apple, and Apple's judgement of the tokens signed with it (*Establishing a
//! token-based connection to APNs*).
//!
//! Invariant: a token is judged by its bytes: padding, a signature in DER, or another algorithm are refused.

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use rcgen::KeyPair;
use serde_json::Value;
use shared::clock::Timestamp;

use super::checks::Refusal;

/// How old a token may be.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// How long a token must be used before the next one.
const MIN_USE: Duration = Duration::from_secs(20 * 60);

/// A provider key with its names.
#[derive(Debug)]
pub(super) struct ProviderKey {
    pub(super) pem: String,
    pub(super) id: String,
    pub(super) team: String,
    public: Vec<u8>,
    /// The tokens that were taken, and since when.
    seen: HashMap<String, Timestamp>,
    last_change: Option<Timestamp>,
    /// Whether tokens may change as often as they like.
    pub(super) lenient: bool,
}

impl ProviderKey {
    pub(super) fn new(id: &str, team: &str) -> Self {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key.serialize_der());
        let public = pair.expect("a key on P-256").public_key().as_ref().to_vec();
        Self {
            pem: key.serialize_pem(),
            id: id.to_owned(),
            team: team.to_owned(),
            public,
            seen: HashMap::new(),
            last_change: None,
            lenient: false,
        }
    }

    /// Judges the `authorization` of a request at `now`.
    pub(super) fn check(&mut self, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
        let value = headers.get("authorization").ok_or((403, "MissingProviderToken"))?;
        let token = value.to_str().ok().and_then(|value| value.strip_prefix("bearer "));
        let token = token.ok_or((403, "InvalidProviderToken"))?;
        let issued = self.issued(token).ok_or((403, "InvalidProviderToken"))?;
        if now.since(issued) > MAX_AGE {
            return Err((403, "ExpiredProviderToken"));
        }
        if issued.since(now) > Duration::from_secs(60) {
            return Err((403, "InvalidProviderToken"));
        }
        if self.seen.contains_key(token) {
            return Ok(());
        }
        if !self.lenient && self.last_change.is_some_and(|last| now.since(last) < MIN_USE) {
            return Err((429, "TooManyProviderTokenUpdates"));
        }
        self.last_change = Some(now);
        self.seen.insert(token.to_owned(), now);
        Ok(())
    }

    /// How many different tokens were taken.
    pub(super) fn tokens(&self) -> usize {
        self.seen.len()
    }

    /// When a token was issued, if it is one of this key.
    fn issued(&self, token: &str) -> Option<Timestamp> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok().filter(|signature| signature.len() == 64)?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public).verify(signed.as_bytes(), &signature).ok()?;
        let read = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
        let (header, claims) = (read(header)?, read(claims)?);
        let right = header["alg"] == "ES256"
            && header["kid"] == self.id.as_str()
            && header.get("typ").is_none_or(|kind| kind == "JWT")
            && claims["iss"] == self.team.as_str();
        claims["iat"].as_i64().filter(|_| right)?.checked_mul(1000).map(Timestamp::from_millis)
    }
}
