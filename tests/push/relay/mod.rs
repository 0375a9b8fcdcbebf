//! `/wp/…`: the relay, from a homeserver that sends Web Push to APNs and FCM.
//!
//! Invariant: the test is the homeserver: it signs and encrypts with keys of its own, and decrypts what reached the push
//! service.

mod authorization;
mod independent;
mod limits;
mod outcomes;
mod requests;
mod senders;
mod urls;
mod vectors;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::api::{Answer, Call};
use harness::apns;
use harness::application_server::ApplicationServer;
use harness::world::push::{ANDROID, IOS, Settings, World};
use serde_json::{Value, json};

/// The gateway's URL for homeservers, which no test needs to reach.
const PUBLIC_URL: &str = "https://push.example.net";

/// `[relay]` with one key.
const RELAY: &str = "[relay]\npublic_url = \"https://push.example.net\"\n\
                     seal_keys = [\"1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n";

/// The keys of an app with the relay and one attempt.
const ONCE: &str = "relay = true\nretry_waits = []\n";
/// The same with three quick attempts.
const THRICE: &str = "relay = true\nretry_waits = [\"1ms\", \"1ms\"]\n";

/// The encrypted example of RFC 8291, section 5.
const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3\
                    jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

/// A gateway with the relay, and a homeserver.
struct Relay {
    world: World,
    homeserver: ApplicationServer,
}

impl Relay {
    async fn start() -> Self {
        Self::with(ONCE, ONCE, RELAY).await
    }

    /// With these keys of the two apps, and these tables.
    async fn with(ios: &str, android: &str, tables: &str) -> Self {
        let world = World::with(Settings { ios, android, tables, ..Settings::default() }).await;
        Self { world, homeserver: ApplicationServer::new() }
    }

    /// Asks for a URL.
    async fn subscribe(&self, app_id: &str, body: Value) -> Answer {
        self.world.api.post(&format!("/wp/{app_id}"), body).send().await
    }

    /// The path of a new URL for a device, without the origin.
    async fn path(&self, device: &Value, chid: &str) -> String {
        let body = json!({ "token": device["pushkey"], "vapid": self.homeserver.key(), "chid": chid });
        let answer = self.subscribe(device["app_id"].as_str().expect("an app"), body).await;
        let url = answer.expect(201)["url"].as_str().expect("a URL").to_owned();
        assert_eq!(answer.header("location"), Some(url.as_str()));
        url.strip_prefix(PUBLIC_URL).expect("the public URL").to_owned()
    }

    /// A new iPhone, and the path of its URL.
    async fn iphone(&self) -> (Value, String) {
        let device = self.world.iphone(IOS);
        let path = self.path(&device, "acc1").await;
        (device, path)
    }

    /// A new Android phone, and the path of its URL.
    async fn phone(&self) -> (Value, String) {
        let device = self.world.phone(ANDROID);
        let path = self.path(&device, "").await;
        (device, path)
    }

    fn authorization(&self) -> String {
        self.homeserver.authorization(PUBLIC_URL)
    }

    /// A push without a body, and without `Content-Encoding`.
    fn wake(&self, path: &str) -> Call {
        self.bare(path).header("ttl", "60").header("authorization", &self.authorization())
    }

    /// A request without any field.
    fn bare(&self, path: &str) -> Call {
        self.world.api.request(hyper::Method::POST, path)
    }

    /// A push with `body`.
    fn push(&self, path: &str, body: impl Into<hyper::body::Bytes>) -> Call {
        self.wake(path).header("content-encoding", "aes128gcm").body(body)
    }

    /// The pushes that reached APNs for a device.
    fn pushes(&self, device: &Value) -> Vec<apns::Request> {
        self.world.apple.requests_for(pushkey(device))
    }

    /// The messages that reached FCM for a device.
    fn messages(&self, device: &Value) -> Vec<Value> {
        self.world.google.messages_for(pushkey(device))
    }

    /// How many requests reached any push service.
    fn upstream(&self) -> usize {
        self.world.apple.requests().len() + self.world.google.messages().len()
    }
}

fn pushkey(device: &Value) -> &str {
    device["pushkey"].as_str().expect("a pushkey")
}

/// The example of the RFC.
fn example() -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(BODY).expect("base64url")
}

/// A body of this length in the right form, which nothing decrypts. `seed` makes it different from others.
fn body(length: usize, seed: u8) -> Vec<u8> {
    let mut body = [&[seed; 16], &4096_u32.to_be_bytes()[..], &[65, 4]].concat();
    body.resize(length, 0x11);
    body
}

/// Checks the status of a push.
#[track_caller]
fn assert_status(answer: &Answer, status: u16, why: &str) {
    assert_eq!(answer.code(), status, "{why}:\n{answer}");
    match status {
        201 => assert!(answer.body.is_empty() && answer.header("content-length") == Some("0"), "{why}:\n{answer}"),
        _ => {
            let errcode = match status {
                400 | 415 => "M_INVALID_PARAM",
                401 => "M_UNAUTHORIZED",
                403 => "M_FORBIDDEN",
                404 | 410 => "M_NOT_FOUND",
                413 => "M_TOO_LARGE",
                429 => "M_LIMIT_EXCEEDED",
                _ => "M_UNKNOWN",
            };
            answer.refused(status, errcode);
        }
    }
}
