//! A subscription to Web Push, from a pushkey and its `data`: the endpoint and the keys of the receiver.
//!
//! Invariant: the keys of a [`Subscription`] can encrypt: the public key is a point on P-256, the secret has 16 bytes.

use std::borrow::Cow;

use aws_lc_rs::agreement::{ECDH_P256, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::base64::{decode, encode};

/// The bytes of an uncompressed public key.
const PUBLIC_KEY: usize = 65;
/// The first byte of an uncompressed public key.
const UNCOMPRESSED: u8 = 0x04;
/// The bytes of the authentication secret (RFC 8291 §3.2).
const SECRET: usize = 16;

/// Where and for whom to encrypt.
#[derive(Debug)]
pub(super) struct Subscription<'a> {
    pub(super) endpoint: Cow<'a, str>,
    /// `None` for an endpoint of UnifiedPush that takes plain text.
    pub(super) keys: Option<Keys>,
}

/// The keys of a receiver.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The public key; as bytes it is uncompressed.
    pub(super) public: ParsedPublicKey,
    /// The authentication secret.
    pub(super) secret: [u8; SECRET],
}

/// A subscription that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InvalidSubscription;

#[derive(Deserialize)]
struct Json {
    endpoint: String,
    keys: JsonKeys,
}

#[derive(Deserialize)]
struct JsonKeys {
    p256dh: String,
    auth: String,
}

/// Whether `pushkey` has the form of a receiver's public key.
pub(crate) fn is_public_key(pushkey: &str) -> bool {
    // 65 bytes take 87 characters, 88 with padding.
    (87..=88).contains(&pushkey.len()) && public_key(pushkey).is_some()
}

impl<'a> Subscription<'a> {
    /// The subscription of a browser: `pushkey` is its public key or the whole subscription as JSON.
    pub(super) fn of_browser(pushkey: &str, data: &'a Map<String, Value>) -> Result<Self, InvalidSubscription> {
        if pushkey.starts_with('{') {
            let Json { endpoint, keys } = serde_json::from_str(pushkey).map_err(|_| InvalidSubscription)?;
            let keys = Keys::parse(&keys.p256dh, &keys.auth)?;
            return Ok(Self { endpoint: Cow::Owned(endpoint), keys: Some(keys) });
        }
        let text = |name: &str| data.get(name).and_then(Value::as_str).ok_or(InvalidSubscription);
        let keys = Keys::parse(pushkey, text("auth")?)?;
        Ok(Self { endpoint: Cow::Borrowed(text("endpoint")?), keys: Some(keys) })
    }

    /// An endpoint of UnifiedPush; the keys are in `data`, if it has any.
    pub(super) fn of_endpoint(pushkey: &'a str, data: &Map<String, Value>) -> Result<Self, InvalidSubscription> {
        let keys = data.get("keys").and_then(Value::as_object);
        let member = |name: &str| {
            let given = data.get(name).or_else(|| keys?.get(name)).filter(|value| !value.is_null());
            given.map(|value| value.as_str().ok_or(InvalidSubscription)).transpose()
        };
        let keys = match (member("p256dh")?, member("auth")?) {
            (None, None) => None,
            (Some(public), Some(secret)) => Some(Keys::parse(public, secret)?),
            // One of them alone is a mistake: the receiver expects encryption.
            (Some(_), None) | (None, Some(_)) => return Err(InvalidSubscription),
        };
        Ok(Self { endpoint: Cow::Borrowed(pushkey), keys })
    }

    /// The receiver in one spelling, beside the canonical endpoint.
    pub(super) fn receiver(&self) -> String {
        self.keys.as_ref().map(|keys| encode(digest(&SHA256, keys.public.as_ref()).as_ref())).unwrap_or_default()
    }
}

impl Keys {
    pub(super) fn parse(public: &str, secret: &str) -> Result<Self, InvalidSubscription> {
        let public = public_key(public).ok_or(InvalidSubscription)?;
        // Checks that the point is on the curve.
        let public = ParsedPublicKey::try_from(UnparsedPublicKey::new(&ECDH_P256, public));
        let public = public.map_err(|_| InvalidSubscription)?;
        let secret = decode(secret).and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidSubscription)?;
        Ok(Self { public, secret })
    }
}

fn public_key(text: &str) -> Option<[u8; PUBLIC_KEY]> {
    let bytes: [u8; PUBLIC_KEY] = decode(text)?.try_into().ok()?;
    (bytes[0] == UNCOMPRESSED).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::{Keys, Subscription, is_public_key};

    const PUBLIC: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    fn data(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn both_forms_of_a_browser_lead_to_the_same_keys() {
        let parts = |keys: &Keys| (keys.public.as_ref().to_vec(), keys.secret);
        let keys = parts(&Keys::parse(PUBLIC, SECRET).unwrap());
        let padded = format!("{}=", PUBLIC.replace('-', "+").replace('_', "/"));
        let given = data(&json!({ "endpoint": "https://push.example.net/x", "auth": format!("{SECRET}==") }));
        for pushkey in [PUBLIC, &padded] {
            assert!(is_public_key(pushkey));
            let found = Subscription::of_browser(pushkey, &given).unwrap();
            assert_eq!(found.keys.as_ref().map(parts).as_ref(), Some(&keys));
            assert_eq!(found.endpoint, "https://push.example.net/x");
        }
        let whole = json!({ "endpoint": "https://push.example.net/x", "keys": { "p256dh": PUBLIC, "auth": SECRET } });
        let none = Map::new();
        let found = Subscription::of_browser(&whole.to_string(), &none).unwrap();
        assert_eq!((found.keys.as_ref().map(parts), &*found.endpoint), (Some(keys), "https://push.example.net/x"));
    }

    #[test]
    fn keys_that_cannot_encrypt_are_invalid() {
        let zeros = "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let ones = "BAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        for (public, secret) in [
            (&PUBLIC[..86], SECRET),
            (zeros, SECRET),
            (ones, SECRET),
            ("", SECRET),
            (PUBLIC, "AA"),
            (PUBLIC, "BTBZMqHH6r4Tts7J_aSIggAA"),
            (PUBLIC, "!"),
        ] {
            assert!(Keys::parse(public, secret).is_err(), "{public} {secret}");
        }
    }

    #[test]
    fn an_endpoint_has_both_keys_or_none() {
        let keys_of = |value: Value| {
            let data = data(&value);
            Subscription::of_endpoint("https://ntfy.example/up", &data).map(|found| found.keys.is_some())
        };
        assert_eq!(keys_of(json!({})), Ok(false));
        assert_eq!(keys_of(json!({ "p256dh": PUBLIC, "auth": SECRET })), Ok(true));
        assert_eq!(keys_of(json!({ "keys": { "p256dh": PUBLIC, "auth": SECRET } })), Ok(true));
        for half in [json!({ "p256dh": PUBLIC }), json!({ "auth": SECRET }), json!({ "p256dh": 5, "auth": SECRET })] {
            assert!(keys_of(half.clone()).is_err(), "{half}");
        }
    }
}
