//! Provider tokens: signed with the developer's key, they authenticate each request to APNs.
//!
//! Invariant: all apps with one key share one token at a time, and no token is replaced before it is 20 minutes old: APNs
//! refuses providers that change theirs more often.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::secret::Secret;

/// A token is used for this long; APNs accepts it for 60 minutes.
const RENEW_AFTER: Duration = Duration::from_secs(50 * 60);
/// The minimum age of a token before it is replaced.
const MIN_AGE: Duration = Duration::from_secs(20 * 60);

/// A token that is this much younger than now was made before the clock was set back: APNs would refuse it.
const CLOCK_SLACK: Duration = Duration::from_secs(5 * 60);

/// The provider tokens of a process, by team and key. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct ProviderTokenCache(Arc<Mutex<HashMap<TokenName, Arc<ProviderToken>>>>);

/// Team, key ID, and a digest of the key, which separates a replaced key from its successor.
type TokenName = (String, String, [u8; 32]);

/// The key cannot sign tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a provider key as Apple hands it out: an EC key on P-256 in PKCS#8 (-----BEGIN PRIVATE KEY-----)")]
pub(crate) struct InvalidKey;

/// The token of one key.
pub(in super::super) struct ProviderToken {
    header: Header,
    team_id: String,
    key: EncodingKey,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Authorization>,
    /// No new token before this time.
    frozen_until: Option<Timestamp>,
}

/// A token as the value of the header field.
#[derive(Clone)]
pub(in super::super) struct Authorization {
    pub(in super::super) value: HeaderValue,
    issued: Timestamp,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
}

impl ProviderTokenCache {
    /// The token of the key `pem`; apps with the same key share it.
    pub(in super::super) fn find(
        &self,
        team_id: &str,
        key_id: &str,
        pem: &Secret<String>,
    ) -> Result<Arc<ProviderToken>, InvalidKey> {
        let name = (team_id.to_owned(), key_id.to_owned(), Sha256::digest(pem.expose()).into());
        let mut tokens = self.0.lock();
        if let Some(token) = tokens.get(&name) {
            return Ok(Arc::clone(token));
        }
        let token = Arc::new(ProviderToken::new(team_id, key_id, pem)?);
        // A new token removes the unused ones.
        tokens.retain(|_, token| Arc::strong_count(token) > 1);
        tokens.insert(name, Arc::clone(&token));
        Ok(token)
    }
}

impl ProviderToken {
    fn new(team_id: &str, key_id: &str, pem: &Secret<String>) -> Result<Self, InvalidKey> {
        let header = Header { kid: Some(key_id.to_owned()), ..Header::new(Algorithm::ES256) };
        let key = EncodingKey::from_ec_pem(pem.expose().as_bytes()).map_err(|_| InvalidKey)?;
        let token = Self { header, team_id: team_id.to_owned(), key, state: Mutex::default() };
        // Only a signature shows whether the key can sign.
        token.sign(Timestamp::from_millis(0)).ok_or(InvalidKey)?;
        Ok(token)
    }

    /// The token to use at `now`, and whether it is new. Signing is fast: concurrent callers wait for the new token.
    pub(in super::super) fn at(&self, now: Timestamp) -> Option<(Authorization, bool)> {
        let mut state = self.state.lock();
        match &state.current {
            Some(current) if current.is_younger_than(RENEW_AFTER, now) || state.is_frozen(now) => {
                Some((current.clone(), false))
            }
            _ => self.renew(&mut state, now),
        }
    }

    /// Another token than `refused`, which APNs reports as expired; `None` if it is too young for that.
    pub(in super::super) fn instead_of(
        &self,
        refused: &Authorization,
        now: Timestamp,
    ) -> Option<(Authorization, bool)> {
        let mut state = self.state.lock();
        match &state.current {
            // Another delivery renewed it already.
            Some(current) if current.value != refused.value => Some((current.clone(), false)),
            Some(current) if current.is_younger_than(MIN_AGE, now) || state.is_frozen(now) => None,
            _ => self.renew(&mut state, now),
        }
    }

    /// Keeps the token for the next 20 minutes: APNs reports too many new ones.
    pub(in super::super) fn freeze(&self, now: Timestamp) {
        self.state.lock().frozen_until = Some(now.plus(MIN_AGE));
    }

    fn renew(&self, state: &mut State, now: Timestamp) -> Option<(Authorization, bool)> {
        let authorization = Authorization { value: self.sign(now)?, issued: now };
        state.current = Some(authorization.clone());
        Some((authorization, true))
    }

    fn sign(&self, now: Timestamp) -> Option<HeaderValue> {
        let claims = Claims { iss: &self.team_id, iat: now.as_millis() / 1000 };
        let token = jsonwebtoken::encode(&self.header, &claims, &self.key).ok()?;
        let mut value = HeaderValue::try_from(format!("bearer {token}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Authorization {
    fn is_younger_than(&self, age: Duration, now: Timestamp) -> bool {
        now.since(self.issued) < age && self.issued <= now.plus(CLOCK_SLACK)
    }
}

impl State {
    fn is_frozen(&self, now: Timestamp) -> bool {
        // A longer rest is from before the clock was set back.
        self.frozen_until.is_some_and(|until| now < until && until.since(now) <= MIN_AGE)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, ParsedPublicKey};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};
    use shared::clock::{Clock, Timestamp};
    use shared::secret::Secret;

    use super::{Authorization, InvalidKey, ProviderTokenCache};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_999);

    fn key() -> rcgen::KeyPair {
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap()
    }

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(60 * minutes)
    }

    fn text(authorization: &Authorization) -> &str {
        authorization.value.to_str().unwrap()
    }

    #[test]
    fn a_token_has_the_header_the_claims_and_the_signature_that_apns_expects() {
        let key = key();
        let token =
            ProviderTokenCache::default().find("TEAM123456", "KEY1234567", &Secret::new(key.serialize_pem())).unwrap();
        let (authorization, _) = token.at(START).unwrap();
        assert!(authorization.value.is_sensitive());
        let jwt = text(&authorization).strip_prefix("bearer ").unwrap();
        let parts: Vec<Vec<u8>> = jwt.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        let [header, claims, signature] = parts.as_slice() else { panic!("{jwt}") };
        let read = |part: &[u8]| serde_json::from_slice::<Value>(part).unwrap();
        assert_eq!(read(header), json!({"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}));
        assert_eq!(read(claims), json!({"iss": "TEAM123456", "iat": 1_750_000_000}));
        assert_eq!(signature.len(), 64);
        let signed = &jwt[..jwt.rfind('.').unwrap()];
        let signing = aws_lc_rs::signature::EcdsaKeyPair::from_pkcs8(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &key.serialize_der(),
        )
        .unwrap();
        let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, signing.public_key().as_ref()).unwrap();
        public.verify_sig(signed.as_bytes(), signature).unwrap();
    }

    #[test]
    fn a_token_is_shared_and_renewed_at_fifty_minutes() {
        let (cache, pem, clock) =
            (ProviderTokenCache::default(), Secret::new(key().serialize_pem()), Clock::manual(START));
        let (one, other) = (cache.find("T", "K", &pem).unwrap(), cache.find("T", "K", &pem).unwrap());
        let (first, new) = one.at(clock.now()).unwrap();
        assert!(new);
        clock.advance(minutes(50) - Duration::from_millis(1));
        let (same, new) = other.at(clock.now()).unwrap();
        assert_eq!((text(&same), new), (text(&first), false));
        clock.advance(Duration::from_millis(1));
        let (second, new) = other.at(clock.now()).unwrap();
        assert!(new);
        assert_ne!(text(&second), text(&first));
        assert_eq!(text(&one.at(clock.now()).unwrap().0), text(&second));
        let another = cache.find("T", "K2", &pem).unwrap();
        assert_ne!(text(&another.at(clock.now()).unwrap().0), text(&second));
    }

    #[test]
    fn a_refused_token_is_replaced_once_and_only_if_it_is_old_enough() {
        let (cache, clock) = (ProviderTokenCache::default(), Clock::manual(START));
        let token = cache.find("T", "K", &Secret::new(key().serialize_pem())).unwrap();
        let (first, _) = token.at(clock.now()).unwrap();
        clock.advance(minutes(20) - Duration::from_millis(1));
        assert!(token.instead_of(&first, clock.now()).is_none());
        clock.advance(Duration::from_millis(1));
        let (second, new) = token.instead_of(&first, clock.now()).unwrap();
        assert!(new);
        let (late, new) = token.instead_of(&first, clock.now()).unwrap();
        assert_eq!((text(&late), new), (text(&second), false));
        assert!(token.instead_of(&second, clock.now()).is_none());
    }

    #[test]
    fn after_too_many_tokens_the_current_one_stays_for_twenty_minutes() {
        let (cache, clock) = (ProviderTokenCache::default(), Clock::manual(START));
        let token = cache.find("T", "K", &Secret::new(key().serialize_pem())).unwrap();
        let (first, _) = token.at(clock.now()).unwrap();
        clock.advance(minutes(45));
        token.freeze(clock.now());
        clock.advance(minutes(20) - Duration::from_millis(1));
        assert_eq!(text(&token.at(clock.now()).unwrap().0), text(&first));
        assert!(token.instead_of(&first, clock.now()).is_none());
        clock.advance(Duration::from_millis(1));
        assert_ne!(text(&token.at(clock.now()).unwrap().0), text(&first));
    }

    #[test]
    fn a_token_from_before_the_clock_was_set_back_is_replaced() {
        let token = ProviderTokenCache::default().find("T", "K", &Secret::new(key().serialize_pem())).unwrap();
        let (first, _) = token.at(START.plus(minutes(60))).unwrap();
        let (same, new) = token.at(START.plus(minutes(55))).unwrap();
        assert_eq!((text(&same), new), (text(&first), false));
        token.freeze(START.plus(minutes(60)));
        let (right, new) = token.at(START).unwrap();
        assert!(new);
        assert_ne!(text(&right), text(&first));
        assert!(!token.at(START.plus(minutes(1))).unwrap().1);
    }

    #[test]
    fn only_an_ec_key_on_p256_is_accepted() {
        let other_curve = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for pem in
            ["", "nonsense", &other_curve, &ed25519, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
        {
            let found = ProviderTokenCache::default().find("T", "K", &Secret::new(pem.to_owned()));
            assert_eq!(found.err(), Some(InvalidKey), "{pem}");
        }
    }
}
