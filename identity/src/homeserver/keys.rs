//! `GET /_matrix/key/v2/server`: the keys with which a homeserver signs, in a cache.
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server>
//!
//! Invariant: a key is valid only if the reply that contains it is signed with it, in the name of the requested server,
//! and only until the `valid_until_ts` of that reply.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, StatusCode};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::{Map, Value};
use shared::clock::{Clock, Timestamp};

use super::client::{ContactError, FederationRequest, HomeserverClient, Purpose, count_error};
use crate::canonical_json;
use crate::domain::server_name::ServerName;
use crate::signing::{NOT_SIGNED, PublicKey};

const MAX_REPLY: usize = 64 * 1024;
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The minimum time between two requests for a key that the last reply lacked.
const REFETCH: Duration = Duration::from_secs(10);
/// The maximum number of servers in the cache.
const MAX_SERVERS: u64 = 10_000;
/// The maximum number of keys of one server. A reply may contain hundreds, and each costs a verification.
const MAX_KEYS: usize = 32;
/// A server with more keys counts as several servers, which limits the memory.
const USUAL_KEYS: usize = 4;
const MAX_KEY_ID: usize = 255;
/// How long the result of a request stays shared after the last waiting caller disconnects.
const SHARED: Duration = Duration::from_secs(1);

/// The keys of all homeservers, fetched when they are needed.
pub struct ServerKeys {
    client: HomeserverClient,
    clock: Clock,
    known: Cache<ServerName, Keyring>,
    /// Requests in flight, so that callers for the same server wait for one reply.
    asked: Cache<ServerName, Result<Keyring, KeysError>>,
}

/// The keys of one homeserver, each under its whole id (`ed25519:<version>`). Clones share them.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Arc<HashMap<String, PublicKey>>,
    until: Timestamp,
    /// When the keys were last requested although some were in the cache.
    asked_again: Option<Timestamp>,
}

/// Why a homeserver's keys are not available. The caller never causes this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No reply arrived.
    #[error(transparent)]
    Contact(#[from] ContactError),
    /// It sent an unusable reply.
    #[error("contact with homeserver failed: {server} sent no usable keys: {flaw}")]
    Reply {
        /// The requested server.
        server: ServerName,
        /// The reason.
        flaw: Flaw,
    },
}

/// Why a reply is unusable; every text continues "no usable keys: …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Another status than 200.
    #[error("the reply has status {0}")]
    Status(u16),
    /// The body is not a JSON object.
    #[error("the reply is not a JSON object")]
    NotJson,
    /// `server_name` is missing or another server.
    #[error("its `server_name` is another server")]
    ServerName,
    /// `valid_until_ts` is not an integer, or in the past.
    #[error("valid_until_ts is missing or in the past")]
    ValidUntil,
    /// None of its keys has signed it.
    #[error("no key has signed the reply")]
    Unsigned,
}

impl ServerKeys {
    /// Fetches keys through `client`.
    pub fn new(client: HomeserverClient, clock: Clock) -> Self {
        let weigh = |_: &ServerName, keyring: &Keyring| {
            u32::try_from(keyring.keys.len().div_ceil(USUAL_KEYS)).unwrap_or(u32::MAX).max(1)
        };
        let lru = |capacity| Cache::builder().max_capacity(capacity).eviction_policy(EvictionPolicy::lru());
        let asked = Cache::builder().max_capacity(MAX_SERVERS).time_to_live(SHARED).build();
        Self { client, clock, known: lru(MAX_SERVERS).weigher(weigh).build(), asked }
    }

    /// The keys of `server`. Fetches them if the cache has none, or lacks one of the ids `wanted`; the latter at most
    /// once in ten seconds.
    ///
    /// # Errors
    /// [`KeysError`] if the request failed and the cache has none of `wanted`.
    pub async fn find(&self, server: &ServerName, wanted: &[&str]) -> Result<Keyring, KeysError> {
        let known = self.valid(server).await;
        if let Some(keyring) = &known
            && self.is_enough(keyring, wanted)
        {
            return Ok(keyring.clone());
        }
        let asked = self.asked.get_with_by_ref(server, self.ask(server)).await;
        self.asked.invalidate(server).await;
        match (asked, known) {
            (Err(_), Some(known)) if wanted.iter().any(|id| known.find(id).is_some()) => Ok(known),
            (asked, _) => asked,
        }
    }

    /// Whether [`ServerKeys::find`] would return without a request to `server`.
    pub async fn is_known(&self, server: &ServerName, wanted: &[&str]) -> bool {
        self.valid(server).await.is_some_and(|keyring| self.is_enough(&keyring, wanted))
    }

    fn is_enough(&self, keyring: &Keyring, wanted: &[&str]) -> bool {
        wanted.iter().all(|id| keyring.find(id).is_some()) || !keyring.may_be_asked_again(self.clock.now())
    }

    async fn valid(&self, server: &ServerName) -> Option<Keyring> {
        self.known.get(server).await.filter(|keyring| keyring.until > self.clock.now())
    }

    async fn ask(&self, server: &ServerName) -> Result<Keyring, KeysError> {
        let earlier = self.valid(server).await;
        if let Some(keyring) = earlier.as_ref().filter(|keyring| !keyring.may_be_asked_again(self.clock.now())) {
            // Another request stored the keys first.
            return Ok(keyring.clone());
        }
        let fetched = self.fetch(server).await;
        let asked_again = earlier.is_some().then(|| self.clock.now());
        // A reply without new keys changes only the time of the last request.
        if let Some(keyring) = fetched.as_ref().ok().or(earlier.as_ref()) {
            self.known.insert(server.clone(), Keyring { asked_again, ..keyring.clone() }).await;
        }
        fetched
    }

    async fn fetch(&self, server: &ServerName) -> Result<Keyring, KeysError> {
        let request = FederationRequest {
            purpose: Purpose::Keys,
            method: Method::GET,
            server,
            path_and_query: "/_matrix/key/v2/server",
            body: None,
            max_reply: MAX_REPLY,
        };
        let reply = self.client.send(request).await?;
        read(reply.status, &reply.body, server, self.clock.now()).map_err(|flaw| {
            tracing::info!(%server, purpose = Purpose::Keys.label(), "homeserver's reply is unusable: {flaw}");
            count_error(Purpose::Keys, "reply");
            KeysError::Reply { server: server.clone(), flaw }
        })
    }
}

impl Keyring {
    /// The key with this id.
    pub fn find(&self, id: &str) -> Option<&PublicKey> {
        self.keys.get(id)
    }

    /// A clock that was set back does not block requests.
    fn may_be_asked_again(&self, now: Timestamp) -> bool {
        self.asked_again.is_none_or(|at| now < at || now.since(at) >= REFETCH)
    }
}

fn read(status: StatusCode, body: &[u8], server: &ServerName, now: Timestamp) -> Result<Keyring, Flaw> {
    if status != StatusCode::OK {
        return Err(Flaw::Status(status.as_u16()));
    }
    let Ok(Value::Object(reply)) = serde_json::from_slice(body) else { return Err(Flaw::NotJson) };
    let name = reply.get("server_name").and_then(Value::as_str).ok_or(Flaw::ServerName)?;
    if ServerName::parse(name).as_ref() != Ok(server) {
        return Err(Flaw::ServerName);
    }
    // Only an integer is accepted.
    let valid_until = match reply.get("valid_until_ts") {
        Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX)),
        _ => None,
    };
    let valid_until = valid_until.map(Timestamp::from_millis).filter(|&until| until > now).ok_or(Flaw::ValidUntil)?;
    let keys = self_signed_keys(&reply, name);
    if keys.is_empty() {
        return Err(Flaw::Unsigned);
    }
    Ok(Keyring { keys: Arc::new(keys), until: valid_until.min(now.plus(LONGEST_LIFE)), asked_again: None })
}

/// The keys of `verify_keys` that have signed the reply. Those of `old_verify_keys` no longer sign.
fn self_signed_keys(reply: &Map<String, Value>, signer: &str) -> HashMap<String, PublicKey> {
    // A `valid_until_ts` beyond the range of canonical JSON is harmless: it is limited below.
    let Ok(text) = canonical_json::object_to_string_with_any_integer(reply, &NOT_SIGNED) else {
        return HashMap::new();
    };
    let signatures = reply.get("signatures").and_then(|all| all.get(signer));
    let keys = reply.get("verify_keys").and_then(Value::as_object).into_iter().flatten();
    keys.filter(|(id, _)| id.starts_with("ed25519:") && id.len() <= MAX_KEY_ID)
        .take(MAX_KEYS)
        .filter_map(|(id, entry)| {
            let key = PublicKey::decode(entry.get("key")?.as_str()?).ok()?;
            key.verify_text(signatures?.get(id)?.as_str()?, &text).ok()?;
            Some((id.clone(), key))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use serde_json::{Value, json};
    use shared::clock::Timestamp;

    use super::{Flaw, LONGEST_LIFE, MAX_KEYS, read};
    use crate::domain::server_name::ServerName;
    use crate::signing::SigningKey;

    const NOW: i64 = 1_750_000_000_000;

    fn key(version: &str, seed: u8) -> SigningKey {
        SigningKey::from_seed(version, &[seed; 32]).unwrap()
    }

    /// A reply with these keys, before it is signed.
    fn reply(keys: &[&SigningKey]) -> Value {
        let keys: serde_json::Map<_, _> =
            keys.iter().map(|key| (key.id().to_owned(), json!({"key": key.public().encode()}))).collect();
        json!({"server_name": "hs.example", "verify_keys": keys, "old_verify_keys": {}, "valid_until_ts": NOW + 1})
    }

    fn signed(mut reply: Value, signer: &str, keys: &[&SigningKey]) -> String {
        keys.iter().for_each(|key| key.sign(signer, reply.as_object_mut().unwrap()).unwrap());
        reply.to_string()
    }

    /// The ids of the keys that count, and how long.
    fn verdict(body: &str) -> Result<(Vec<String>, i64), Flaw> {
        let server = ServerName::parse("hs.example").unwrap();
        let ring = read(StatusCode::OK, body.as_bytes(), &server, Timestamp::from_millis(NOW))?;
        let mut ids: Vec<String> = ring.keys.keys().cloned().collect();
        ids.sort();
        Ok((ids, ring.until.as_millis() - NOW))
    }

    #[test]
    fn only_keys_that_signed_the_reply_count() {
        let (a, b) = (key("a", 1), key("b", 2));
        let ids = |body: &str| verdict(body).map(|(ids, _)| ids);
        assert_eq!(ids(&signed(reply(&[&a]), "hs.example", &[&a])), Ok(vec!["ed25519:a".into()]));
        assert_eq!(ids(&signed(reply(&[&a, &b]), "hs.example", &[&a])), Ok(vec!["ed25519:a".into()]));
        let both = Ok(vec!["ed25519:a".into(), "ed25519:b".into()]);
        assert_eq!(ids(&signed(reply(&[&a, &b]), "hs.example", &[&a, &b])), both);

        let impostor = key("a", 3);
        let mut padded = reply(&[&a]);
        padded["verify_keys"]["ed25519:a"]["key"] = json!(format!("{}=", a.public().encode()));
        assert_eq!(ids(&signed(padded, "hs.example", &[&a])), Ok(vec!["ed25519:a".into()]));
        let mut old = reply(&[]);
        old["old_verify_keys"] = json!({"ed25519:a": {"key": a.public().encode(), "expired_ts": NOW + 5}});
        let mut other_algorithm = reply(&[]);
        other_algorithm["verify_keys"] = json!({"a": {"key": a.public().encode()}});
        let mut changed: Value = serde_json::from_str(&signed(reply(&[&a]), "hs.example", &[&a])).unwrap();
        changed["valid_until_ts"] = json!(NOW + 2);
        for unsigned in [
            reply(&[&a]).to_string(),
            reply(&[]).to_string(),
            signed(reply(&[&a]), "other.example", &[&a]),
            signed(reply(&[&a]), "hs.example", &[&b]),
            signed(reply(&[&a]), "hs.example", &[&impostor]),
            signed(old, "hs.example", &[&a]),
            signed(other_algorithm, "hs.example", &[&a]),
            changed.to_string(),
            signed(json!({"server_name": "hs.example", "valid_until_ts": NOW + 1}), "hs.example", &[&a]),
        ] {
            assert_eq!(ids(&unsigned), Err(Flaw::Unsigned), "{unsigned}");
        }
        for shape in [json!([]), json!("x"), json!({"ed25519:a": "x"}), json!({"ed25519:a": {"key": 5}})] {
            let mut odd = reply(&[]);
            odd["verify_keys"] = shape;
            assert_eq!(ids(&signed(odd, "hs.example", &[&a])), Err(Flaw::Unsigned));
        }
    }

    #[test]
    fn the_reply_must_be_of_the_server_that_was_asked() {
        let a = key("a", 1);
        for (name, is_right) in [
            (json!("hs.example"), true),
            (json!("HS.Example"), true),
            (json!("other.example"), false),
            (json!("hs.example:8448"), false),
            (json!(""), false),
            (json!(5), false),
            (Value::Null, false),
        ] {
            let mut document = reply(&[&a]);
            document["server_name"] = name.clone();
            let signer = name.as_str().unwrap_or("hs.example");
            let expected = if is_right { Ok(()) } else { Err(Flaw::ServerName) };
            assert_eq!(verdict(&signed(document, signer, &[&a])).map(drop), expected, "{name}");
        }
    }

    #[test]
    fn keys_are_kept_as_long_as_they_are_valid_but_no_more_than_a_week() {
        let a = key("a", 1);
        let week = i64::try_from(LONGEST_LIFE.as_millis()).unwrap();
        for (until, life) in [
            (json!(NOW + 1), Ok(1)),
            (json!(NOW + week), Ok(week)),
            (json!(NOW + week + 1), Ok(week)),
            (json!((1_i64 << 53) - 1), Ok(week)),
            (json!(NOW), Err(Flaw::ValidUntil)),
            (json!(NOW - 1), Err(Flaw::ValidUntil)),
            (json!(0), Err(Flaw::ValidUntil)),
            (json!(-1), Err(Flaw::ValidUntil)),
            (json!((NOW + 1).to_string()), Err(Flaw::ValidUntil)),
            (json!(true), Err(Flaw::ValidUntil)),
            (Value::Null, Err(Flaw::ValidUntil)),
        ] {
            let mut document = reply(&[&a]);
            document["valid_until_ts"] = until.clone();
            assert_eq!(verdict(&signed(document, "hs.example", &[&a])).map(|(_, life)| life), life, "{until}");
        }
        let float = signed(reply(&[&a]), "hs.example", &[&a]).replace(&format!("{}", NOW + 1), "1750000000001.0");
        assert_eq!(verdict(&float).map(drop), Err(Flaw::ValidUntil));
    }

    #[test]
    fn the_number_of_keys_has_a_bound() {
        let many: Vec<SigningKey> = (0..100).map(|n| key(&format!("k{n:03}"), n)).collect();
        let many: Vec<&SigningKey> = many.iter().collect();
        assert_eq!(verdict(&signed(reply(&many), "hs.example", &many)).unwrap().0.len(), MAX_KEYS);
        let long = key(&"k".repeat(300), 1);
        assert_eq!(verdict(&signed(reply(&[&long]), "hs.example", &[&long])).map(drop), Err(Flaw::Unsigned));
    }

    #[test]
    fn what_is_no_object_or_no_success_holds_no_keys() {
        for body in ["", "[]", "null", "5", "<html>", "{", "{}x"] {
            assert_eq!(verdict(body).map(drop), Err(Flaw::NotJson), "{body}");
        }
        let a = key("a", 1);
        let body = signed(reply(&[&a]), "hs.example", &[&a]);
        let server = ServerName::parse("hs.example").unwrap();
        for status in [201, 204, 302, 404, 500] {
            let flaw =
                read(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &server, Timestamp::from_millis(NOW));
            assert_eq!(flaw.map(drop), Err(Flaw::Status(status)));
        }
    }
}
