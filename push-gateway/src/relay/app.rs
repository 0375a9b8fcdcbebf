//! The keys of the relay in the table of an app, and the notification that a push becomes with them.
//!
//! Invariant: topics of two application servers or of two accounts never replace each other's notifications.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::config::OneOrMany;

use super::headers::{PushFields, Urgency};
use super::seal::{Kind, Sealed};
use crate::notification::relayed::{Layout, Oversize, Relayed};
use crate::notification::{Notification, Priority};

/// The names of the keys.
pub(crate) const KEYS: &[&str] =
    &["relay", "relay_layout", "relay_oversize", "relay_topic", "default_urgency", "background_urgencies"];

/// The bytes of the hash in a collapse identifier; 32 characters.
const COLLAPSE_ID: usize = 24;

/// The keys of the relay.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppRelay {
    /// Whether the app has push resources.
    pub(crate) relay: bool,
    /// The members of the payload, for APNs.
    pub(crate) relay_layout: Layout,
    /// What becomes of a body that does not fit into a payload.
    pub(crate) relay_oversize: Oversize,
    /// What becomes of `Topic`; by default it collapses notifications at APNs alone.
    pub(crate) relay_topic: Option<Topics>,
    /// The urgency of a push that has none.
    pub(crate) default_urgency: Urgency,
    /// The urgencies that wake an iPhone without showing anything.
    pub(crate) background_urgencies: OneOrMany<Urgency>,
}

/// `relay_topic`: what becomes of `Topic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topics {
    /// Nothing.
    Ignore,
    /// A newer notification of the same topic replaces an older one.
    Collapse,
}

impl Default for AppRelay {
    fn default() -> Self {
        Self {
            relay: false,
            relay_layout: Layout::default(),
            relay_oversize: Oversize::default(),
            relay_topic: None,
            default_urgency: Urgency::High,
            background_urgencies: OneOrMany::default(),
        }
    }
}

impl AppRelay {
    /// The notification of a push with these header fields and this body.
    pub(crate) fn notification(&self, fields: &PushFields, sealed: Sealed, body: Bytes) -> Notification {
        let urgency = fields.urgency.unwrap_or(self.default_urgency);
        // Google keeps four keys for a device.
        let topics = self.relay_topic.unwrap_or(match sealed.kind {
            Kind::Apns => Topics::Collapse,
            Kind::Fcm => Topics::Ignore,
        });
        let topic = fields.topic.as_deref().filter(|_| topics == Topics::Collapse);
        let relayed = Relayed {
            body,
            ttl: sealed.kind.ttl(fields.ttl),
            is_background: self.background_urgencies.as_slice().contains(&urgency),
            collapse_id: topic.map(|topic| collapse_id(&sealed, topic)),
            layout: self.relay_layout,
            oversize: self.relay_oversize,
            chid: sealed.chid,
        };
        let priority = if urgency == Urgency::High { Priority::High } else { Priority::Low };
        Notification::of_relayed(relayed, priority)
    }
}

fn collapse_id(sealed: &Sealed, topic: &str) -> String {
    let mut hash = Sha256::new();
    for part in [b"wp1\0", &sealed.digest[..], sealed.chid.as_bytes(), b"\0", topic.as_bytes()] {
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(&hash.finalize()[..COLLAPSE_ID])
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::{AppRelay, Bytes, Kind, Notification, Priority, PushFields, Sealed, Urgency};

    fn notification(app: serde_json::Value, kind: Kind, urgency: Option<Urgency>, topic: Option<&str>) -> Notification {
        let app: AppRelay = serde_json::from_value(app).unwrap();
        let digest = URL_SAFE_NO_PAD.decode("VeKk3pT6dvOO_b9oq04hL8ZAmaeuxEl5QfrvLikWTL0").unwrap().try_into().unwrap();
        let sealed = Sealed { kind, digest, created: 0, chid: "acc1".to_owned(), device_token: Vec::new() };
        let fields = PushFields { ttl: 60, urgency, topic: topic.map(str::to_owned), is_encrypted: true };
        app.notification(&fields, sealed, Bytes::new())
    }

    #[test]
    fn only_a_high_urgency_has_a_high_priority_and_the_default_counts_for_none() {
        let high = |app, urgency| notification(app, Kind::Apns, urgency, None).priority == Priority::High;
        assert!(high(json!({}), None) && high(json!({}), Some(Urgency::High)));
        for urgency in [Urgency::Normal, Urgency::Low, Urgency::VeryLow] {
            assert!(!high(json!({}), Some(urgency)));
        }
        assert!(!high(json!({ "default_urgency": "normal" }), None));
        let background = |urgency| {
            let app = json!({ "background_urgencies": ["low", "very-low"] });
            notification(app, Kind::Apns, urgency, None).relayed.unwrap().is_background
        };
        assert!(background(Some(Urgency::Low)) && background(Some(Urgency::VeryLow)));
        assert!(!background(Some(Urgency::Normal)) && !background(None));
    }

    #[test]
    fn a_topic_collapses_within_its_account_at_apple_and_at_google_on_request() {
        let id = |app, kind| notification(app, kind, None, Some("room-topic_0123456789")).relayed.unwrap().collapse_id;
        let expected = Some("J7nHUGtxgTPTvBVfFARu-2oZUln-9gjV".to_owned());
        assert_eq!(id(json!({}), Kind::Apns), expected);
        assert_eq!(id(json!({}), Kind::Fcm), None);
        assert_eq!(id(json!({ "relay_topic": "collapse" }), Kind::Fcm), expected);
        assert_eq!(id(json!({ "relay_topic": "ignore" }), Kind::Apns), None);
        assert_eq!(notification(json!({}), Kind::Apns, None, None).relayed.unwrap().collapse_id, None);
    }

    #[test]
    fn the_keys_are_those_of_the_type() {
        for key in super::KEYS {
            let error = serde_json::from_value::<AppRelay>(json!({ (*key): {} })).unwrap_err().to_string();
            assert!(!error.contains("unknown field"), "{error}");
        }
    }
}
