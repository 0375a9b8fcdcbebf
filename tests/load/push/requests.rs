//! The homeservers' requests: a message in a room, for one or several devices, as Synapse writes it.
//!
//! Invariant: no event and no pushkey is sent twice, so that no cache and no limit responds in place of the push
//! service. The relay's push resources recur, less often than a limit permits.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::providers::Provider;
use crate::connection;

/// The number of hexadecimal digits of the numbers in events and pushkeys.
const DIGITS: usize = 16;

/// The placeholder of a number; its character occurs nowhere else in a request.
const PLACE: &str = "@@@@@@@@@@@@@@@@";

/// The browser's public key of RFC 8291, Appendix A.
pub(super) const RECEIVER: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

/// The browser's secret.
pub(super) const RECEIVER_SECRET: &str = "BTBZMqHH6r4Tts7J_aSIgg";

/// The bytes of an encrypted message: as many as a text message takes.
const RELAYED: usize = 600;

/// What is before the path of a push resource.
const RELAY_METHOD: &str = "POST ";

/// Requests of one form, each with its own numbers.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    bytes: Vec<u8>,
    /// The positions of the event's number, then of the pushkeys' numbers.
    places: Vec<usize>,
    next: Arc<AtomicU64>,
    /// The paths of push resources of one length, which the requests take in turn; empty for one path.
    paths: Arc<Vec<String>>,
}

impl Requests {
    /// Requests for `devices` devices of the app `app_id` at the push service `address`, with numbers from `next`.
    pub(super) fn new(
        provider: Provider,
        app_id: &str,
        address: SocketAddr,
        devices: usize,
        next: Arc<AtomicU64>,
    ) -> Self {
        // Sixty-four hexadecimal digits, a registration token, a browser's key, a URL.
        let pushkey = match provider {
            Provider::Apns => format!("{PLACE}{}", "c0ffee00".repeat(6)),
            Provider::Fcm => format!("{PLACE}2Wm1Q3:APA91b{}", "HPRgkF3JUikC4ENAHEeMrd41Zxv3hVZjC9KtT8".repeat(3)),
            Provider::WebPush => RECEIVER.to_owned(),
            Provider::UnifiedPush => format!("https://{address}/up{PLACE}?up=1"),
            Provider::Huawei => format!("IQAAAACy0{PLACE}{}", "AgAXJdfXYp2Wm1Q3HPRgkF3JUikC4ENA".repeat(3)),
            Provider::Relay => unreachable!("its requests have no pushkeys"),
        };
        let mut data = json!({ "default_payload": { "aps": { "mutable-content": 1 }, "cs": "Xz4fK2mT9qLw" } });
        if provider == Provider::WebPush {
            data["endpoint"] = json!(format!("https://{address}/push/{PLACE}"));
            data["auth"] = json!(RECEIVER_SECRET);
        }
        let device = json!({
            "app_id": app_id, "pushkey": pushkey, "pushkey_ts": 1_735_689_600, "data": data,
            "tweaks": { "sound": "default" },
        });
        let body = json!({ "notification": {
            "id": "$0000000000000000x7mN2kQ9vR4tY8wZ1aB5cD6eF3g",
            "event_id": format!("${PLACE}x7mN2kQ9vR4tY8wZ1aB5cD6eF3g"),
            "room_id": "!PqRsTuVwXyZaBcDeFg:hs.example", "type": "m.room.message",
            "sender": "@alice:hs.example", "sender_display_name": "Alice Liddell", "room_name": "Mission Control",
            "prio": "high", "counts": { "unread": 3 },
            "content": {
                "msgtype": "m.text", "body": "I'm floating in a most peculiar way, and the stars look very different",
                "m.mentions": {},
            },
            "devices": vec![device; devices],
        }});
        let bytes = connection::request("POST", "/_matrix/push/v1/notify", None, &body.to_string());
        let places = places(&bytes);
        Self { bytes, places, next, paths: Arc::default() }
    }

    /// Encrypted messages of a homeserver that sends Web Push, to push resources with these paths.
    ///
    /// # Panics
    /// Without any path.
    pub(super) fn relayed(authorization: &str, paths: Arc<Vec<String>>, next: Arc<AtomicU64>) -> Self {
        // Salt, record size, the size of the key and its first byte; nothing decrypts the rest.
        let mut body = [PLACE.as_bytes(), &4096_u32.to_be_bytes(), &[65, 4]].concat();
        body.resize(RELAYED, 0x11);
        let path = paths.first().expect("a push resource");
        let head = format!(
            "{RELAY_METHOD}{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nTTL: 3600\r\n\
             Urgency: high\r\nContent-Encoding: aes128gcm\r\nContent-Length: {RELAYED}\r\n\r\n"
        );
        let bytes = [head.as_bytes(), &body].concat();
        Self { places: places(&bytes), bytes, next, paths }
    }

    /// A request that differs from all earlier ones.
    pub(super) fn next(&mut self) -> &[u8] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if !self.paths.is_empty() {
            let path = &self.paths[usize::try_from(number).unwrap_or_default() % self.paths.len()];
            self.bytes[RELAY_METHOD.len()..RELAY_METHOD.len() + path.len()].copy_from_slice(path.as_bytes());
        }
        let number = format!("{number:0DIGITS$x}");
        for (i, place) in self.places.iter().enumerate() {
            let digits = &mut self.bytes[*place..place + DIGITS];
            digits.copy_from_slice(number.as_bytes());
            // Devices of one request differ by their first digits.
            digits[..3].copy_from_slice(format!("{i:03x}").as_bytes());
        }
        &self.bytes
    }
}

fn places(bytes: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    while let Some(found) =
        bytes[places.last().map_or(0, |last| last + DIGITS)..].windows(DIGITS).position(|w| w == PLACE.as_bytes())
    {
        places.push(places.last().map_or(0, |last| last + DIGITS) + found);
    }
    places
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use serde_json::Value;

    use super::{Provider, Requests};

    fn body(request: &[u8]) -> Value {
        let start = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        serde_json::from_slice(&request[start..]).unwrap()
    }

    #[test]
    fn no_event_and_no_pushkey_comes_twice() {
        let numbers = Arc::default();
        let (mut seen, mut events) = (HashSet::new(), HashSet::new());
        let address = "127.0.0.1:1".parse().unwrap();
        let one = Requests::new(Provider::Apns, "ios", address, 10, Arc::clone(&numbers));
        for mut requests in [one.clone(), one] {
            for _ in 0..20 {
                let body = body(requests.next());
                let notification = &body["notification"];
                assert!(events.insert(notification["event_id"].to_string()));
                for device in notification["devices"].as_array().unwrap() {
                    let pushkey = device["pushkey"].as_str().unwrap().to_owned();
                    assert!(pushkey.len() == 64 && pushkey.bytes().all(|c| c.is_ascii_hexdigit()), "{pushkey}");
                    assert!(seen.insert(pushkey));
                }
            }
        }
        assert_eq!((events.len(), seen.len()), (40, 400));
    }

    #[test]
    fn relayed_messages_differ_and_take_the_push_resources_in_turn() {
        let paths = Arc::new(vec!["/wp/ios/a".to_owned(), "/wp/ios/b".to_owned()]);
        let mut requests = Requests::relayed("vapid t=x, k=y", paths, Arc::default());
        let seen: HashSet<_> = (0..4).map(|_| requests.next().to_vec()).collect();
        assert_eq!(seen.len(), 4);
        let to = |head: &str| seen.iter().filter(|request| request.starts_with(head.as_bytes())).count();
        assert_eq!((to("POST /wp/ios/a "), to("POST /wp/ios/b ")), (2, 2));
    }
}
