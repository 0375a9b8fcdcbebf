//! VAPID (RFC 8292): the key that identifies the gateway to push services, and a token for each of their origins.
//!
//! Invariant: a token names one origin, and is valid for at most 12 hours and at least 6.

mod key;

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

pub(crate) use self::key::{InvalidKey, VapidKey};
use super::base64::encode;

/// How long a token is valid. Push services accept at most 24 hours: a clock that is wrong by less than 12 is harmless.
const LIFETIME: Duration = Duration::from_secs(12 * 60 * 60);
/// The most origins with a token.
const MAX_ORIGINS: usize = 1000;

/// `{"typ":"JWT","alg":"ES256"}`
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9";

/// The key of an app, with its tokens.
pub(super) struct Vapid {
    key: VapidKey,
    contact: Option<String>,
    tokens: Mutex<HashMap<String, (Timestamp, HeaderValue)>>,
    clock: Clock,
}

impl Vapid {
    pub(super) fn new(key: VapidKey, contact: Option<String>, clock: Clock) -> Self {
        Self { key, contact, tokens: Mutex::default(), clock }
    }

    /// The value of `Authorization` for requests to `origin`. `None` if the key cannot sign.
    pub(super) fn authorization(&self, origin: &str) -> Option<HeaderValue> {
        let now = self.clock.now();
        let is_fresh = |made: Timestamp| made <= now && now.since(made) < LIFETIME / 2;
        let mut tokens = self.tokens.lock();
        if let Some((_, value)) = tokens.get(origin).filter(|(made, _)| is_fresh(*made)) {
            return Some(value.clone());
        }
        if tokens.len() >= MAX_ORIGINS {
            tokens.retain(|_, (made, _)| is_fresh(*made));
            // Users choose endpoints, so there may be any number of origins.
            if tokens.len() >= MAX_ORIGINS {
                tokens.clear();
            }
        }
        let expiry = now.plus(LIFETIME).as_millis() / 1000;
        let token = token(&self.key, origin, expiry, self.contact.as_deref())?;
        let mut value = HeaderValue::try_from(format!("vapid t={token}, k={}", self.key.public_text())).ok()?;
        value.set_sensitive(true);
        tokens.insert(origin.to_owned(), (now, value.clone()));
        Some(value)
    }

    /// The public key in base64url, as browsers take it.
    pub(super) fn public_key(&self) -> &str {
        self.key.public_text()
    }
}

/// The token for `origin` until `expiry`, in seconds.
fn token(key: &VapidKey, origin: &str, expiry: i64, contact: Option<&str>) -> Option<String> {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let contact = contact.map(|contact| format!(",\"sub\":{}", text(contact))).unwrap_or_default();
    let claims = format!("{{\"aud\":{},\"exp\":{expiry}{contact}}}", text(origin));
    let signed = format!("{HEADER}.{}", encode(claims.as_bytes()));
    let signature = key.sign(signed.as_bytes())?;
    Some(format!("{signed}.{}", encode(&signature)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
    use shared::clock::{Clock, Timestamp};

    use super::super::base64::decode;
    use super::{HEADER, MAX_ORIGINS, Vapid, VapidKey, token};

    /// RFC 8292 §2.4.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM\
                         1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpi\
                         UfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA";
    const PUBLIC: &str = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";

    /// Whether `token` is signed by the key with this public key.
    fn verifies(token: &str, public: &str) -> bool {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(public).unwrap());
        key.verify(signed.as_bytes(), &decode(signature).unwrap()).is_ok()
    }

    #[test]
    fn the_example_of_the_specification_has_the_same_header_and_claims() {
        assert!(verifies(TOKEN, PUBLIC));
        let key = VapidKey::generate().unwrap();
        let made = token(&key, "https://push.example.net", 1_453_523_768, Some("mailto:push@example.com")).unwrap();
        let without_signature = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
        assert_eq!(without_signature(&made), without_signature(TOKEN));
        assert!(made.starts_with(HEADER) && made.len() == TOKEN.len());
        assert!(verifies(&made, key.public_text()) && !verifies(&made, PUBLIC));
    }

    #[test]
    fn a_token_is_kept_for_its_origin_until_half_of_its_life() {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        let vapid = Vapid::new(VapidKey::generate().unwrap(), Some("mailto:a@example.com".to_owned()), clock.clone());
        let header = |origin: &str| vapid.authorization(origin).unwrap();
        let first = header("https://a.example");
        assert_eq!(header("https://a.example"), first);
        assert_ne!(header("https://b.example"), first);
        clock.advance(Duration::from_secs(6 * 3600 - 1));
        assert_eq!(header("https://a.example"), first);
        clock.advance(Duration::from_secs(1));
        let second = header("https://a.example");
        let claims = second.to_str().unwrap().split(['=', ',', '.']).nth(2).unwrap().to_owned();
        let claims: serde_json::Value = serde_json::from_slice(&decode(&claims).unwrap()).unwrap();
        assert_eq!(claims["exp"], 1_750_000_000 + 18 * 3600);
        assert_eq!(
            (claims["aud"].as_str(), claims["sub"].as_str()),
            (Some("https://a.example"), Some("mailto:a@example.com"))
        );
        for number in 0..2 * MAX_ORIGINS {
            header(&format!("https://{number}.example"));
        }
        assert!(vapid.tokens.lock().len() <= MAX_ORIGINS);
    }
}
