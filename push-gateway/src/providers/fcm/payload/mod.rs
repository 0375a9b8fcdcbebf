//! The message for FCM: `data`, the operator's options, and the target (*projects.messages*).
//!
//! Invariant: only the gateway sets `data`, the target and `android.priority`; the operator's options cannot change them.

mod relayed;

use std::borrow::Cow;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::settings::{Collapse, Settings, Target};
use crate::notification::call::Occasion;
use crate::notification::relayed::Carried;
use crate::notification::{Counts, Device, Kind, Notification, Priority};
use crate::providers::flat_data::{Data, Form, Measure};
use crate::providers::outcome::Reason;

/// The limit for all keys and values of `data`, in bytes (*About FCM messages*: 4096 for the payload).
const BUDGET: usize = 4096;

/// How long FCM stores a nudge, in seconds.
const NUDGE_TTL: u64 = 60 * 60;

/// The limit of APNs for a payload, in bytes: a larger `aps` is undeliverable.
const MAX_APS: usize = 4096;

/// The parts that all messages of an app have in common.
#[derive(Debug)]
pub(super) struct MessageTemplate {
    options: Map<String, Value>,
    form: Form,
    target: Target,
    ttl: Option<u64>,
    collapse: Collapse,
    budget: usize,
}

/// A message, ready to be sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    /// Whether a part of `default_payload` was left out because FCM would refuse the message for it.
    pub(super) has_ignored_defaults: bool,
    /// Whether something was dropped or cut to make it fit.
    pub(super) is_shortened: bool,
}

impl MessageTemplate {
    pub(super) fn new(settings: &Settings) -> Self {
        // `notification` shares the limit with `data`.
        let shown = settings.fcm_options.get("notification").map_or(0, |shown| shown.to_string().len());
        Self {
            options: settings.fcm_options.clone(),
            form: Form { layout: settings.data_layout, flatten: settings.flatten, measure: Measure::KeysAndValues },
            target: settings.target,
            ttl: settings.ttl.map(|ttl| ttl.get().as_secs()),
            collapse: settings.collapse,
            budget: BUDGET.saturating_sub(shown),
        }
    }

    /// The message about `notification` for `device`.
    ///
    /// # Errors
    /// The reason why nothing is sent.
    pub(super) fn message(
        &self,
        notification: &Notification,
        device: &Device,
        occasion: Occasion,
    ) -> Result<Message, Reason> {
        if let Some(relayed) = &notification.relayed {
            let (body, carried) = self.relayed(relayed, notification.priority, &device.pushkey, true)?;
            return Ok(Message { body, has_ignored_defaults: false, is_shortened: carried == Carried::Length });
        }
        if occasion == Occasion::Nudge {
            let data = Data::nudge(device, self.form, self.budget);
            return Ok(Message {
                has_ignored_defaults: data.has_ignored_defaults,
                is_shortened: data.is_shortened,
                body: self.body(notification, device, occasion, &data, None),
            });
        }
        let has_counts = notification.counts_for(device).is_some();
        match notification.kind {
            Kind::Badge if device.counts_disabled => return Err("badge_disabled"),
            Kind::Full if notification.event_id.is_none() && notification.room_id.is_none() && !has_counts => {
                return Err("nothing_to_send");
            }
            Kind::Encrypted | Kind::Full | Kind::Ids | Kind::Badge | Kind::Relayed => {}
        }
        let data = Data::new(notification, device, self.form, self.budget, &[]).map_err(|_| "too_large")?;
        let (aps, has_bad_aps) = usable_aps(notification, device);
        Ok(Message {
            has_ignored_defaults: data.has_ignored_defaults || has_bad_aps,
            is_shortened: data.is_shortened,
            body: self.body(notification, device, occasion, &data, aps),
        })
    }

    /// Whether a later message replaces this one.
    pub(super) fn is_collapsible(&self, notification: &Notification, occasion: Occasion) -> bool {
        notification.kind == Kind::Badge
            || notification.relayed.as_ref().is_some_and(|relayed| relayed.collapse_id.is_some())
            || notification.call_collapse_id(occasion).is_some()
            || self.collapse == Collapse::Room && notification.room_id.is_some()
    }

    /// The message that is sent if FCM rejects the full one: the minimum that an app needs.
    ///
    /// # Errors
    /// The reason why nothing is sent: a relayed push may not lose its body.
    pub(super) fn reduced(
        &self,
        notification: &Notification,
        device: &Device,
        occasion: Occasion,
    ) -> Result<Vec<u8>, Reason> {
        if let Some(relayed) = &notification.relayed {
            return self.relayed(relayed, notification.priority, &device.pushkey, false).map(|(body, _)| body);
        }
        let data = match occasion {
            Occasion::Nudge => Data::nudge(device, self.form, self.budget),
            Occasion::Ordinary | Occasion::Ring(_) | Occasion::ExpiredCall => {
                Data::reduced(notification, device, self.form, self.budget)
            }
        };
        Ok(self.body(notification, device, occasion, &data, None))
    }

    fn body(
        &self,
        notification: &Notification,
        device: &Device,
        occasion: Occasion,
        data: &Data<'_>,
        aps: Option<&Value>,
    ) -> Vec<u8> {
        let is_silent = notification.kind == Kind::Badge;
        let options = self.options.iter().filter(|(key, _)| !matches!(key.as_str(), "android" | "apns"));
        let mut options: Vec<(&str, Cow<'_, Value>)> =
            options.map(|(key, value)| (key.as_str(), Cow::Borrowed(value))).collect();
        options.push(("android", Cow::Owned(Value::Object(self.android(notification, device, occasion)))));
        let counts = notification.counts_for(device).filter(|_| occasion != Occasion::Nudge);
        if let Some(apns) = self.apns(aps, counts) {
            options.push(("apns", apns));
        }
        if is_silent {
            without_alerts(&mut options);
        }
        let envelope = Envelope {
            message: Parts { data, options: &options, target: (self.target(&device.pushkey), &device.pushkey) },
        };
        // Maps with string keys, and strings, always serialize.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    fn android(&self, notification: &Notification, device: &Device, occasion: Occasion) -> Map<String, Value> {
        let mut android = match self.options.get("android") {
            Some(Value::Object(android)) => android.clone(),
            _ => Map::new(),
        };
        let is_badge = notification.kind == Kind::Badge;
        let ttl = match occasion {
            Occasion::Ring(ring) => Some(ring.seconds()),
            Occasion::Nudge => Some(NUDGE_TTL),
            Occasion::Ordinary | Occasion::ExpiredCall => self.ttl,
        };
        if let Some(seconds) = ttl {
            android.insert("ttl".to_owned(), Value::String(format!("{seconds}s")));
        }
        // Several accounts of one app have the same pushkey; a message of one never replaces another one's.
        let account =
            || device.default_payload().and_then(|defaults| serde_json::to_string(defaults).ok()).unwrap_or_default();
        let call = notification.call_collapse_id(occasion);
        let collapse_key = match (self.collapse, &notification.room_id) {
            _ if is_badge => Some("badge".to_owned()),
            _ if call.is_some() => call,
            (Collapse::Room, Some(room_id)) => Some(hash([room_id.as_str(), &account()])),
            (Collapse::Room, None) | (Collapse::None, _) => None,
        };
        if let Some(key) = collapse_key {
            android.insert("collapse_key".to_owned(), Value::String(key));
        }
        let is_urgent = notification.priority == Priority::High || occasion.ring().is_some();
        let is_high = !is_badge && is_urgent;
        let priority = if is_high { "high" } else { "normal" };
        android.insert("priority".to_owned(), Value::String(priority.to_owned()));
        android
    }

    /// The operator's `apns` options, with the app's own `aps`, and with the counts: an iPhone sets its badge from nothing
    /// else. An app without these options has no iPhones.
    fn apns(&self, aps: Option<&Value>, counts: Option<Counts>) -> Option<Cow<'_, Value>> {
        let operators = self.options.get("apns");
        if aps.is_none() && (operators.is_none() || counts.is_none()) {
            return operators.map(Cow::Borrowed);
        }
        let mut apns = operators.cloned().unwrap_or_else(|| Value::Object(Map::new()));
        if let Some(aps) = aps {
            apns["payload"]["aps"] = aps.clone();
        }
        if let (Some(_), Some(counts)) = (operators, counts) {
            apns["payload"]["aps"]["badge"] = counts.total().into();
        }
        Some(Cow::Owned(apns))
    }

    fn target(&self, pushkey: &str) -> &'static str {
        let is_fid = match self.target {
            Target::Auto => looks_like_fid(pushkey),
            Target::Token => false,
            Target::Fid => true,
        };
        if is_fid { "fid" } else { "token" }
    }
}

/// Whether this is a Firebase installation ID (*Manage Firebase installations*: 17 bytes in base64url that start with the bits
/// `0111`). A registration token is far longer.
fn looks_like_fid(pushkey: &str) -> bool {
    pushkey.len() == 22 && pushkey.starts_with(['c', 'd', 'e', 'f']) && pushkey.bytes().all(is_base64url)
}

/// The part before the colon of a registration token: an installation ID, or the eleven characters of its predecessor, the
/// instance ID. Any other pushkey as a whole.
pub(super) fn installation_id(pushkey: &str) -> &str {
    let is_id = |id: &str| looks_like_fid(id) || id.len() == 11 && id.bytes().all(is_base64url);
    pushkey.split_once(':').map(|(id, _)| id).filter(|id| is_id(id)).unwrap_or(pushkey)
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

/// `default_payload.aps` if APNs accepts it, and whether one was left out. A badge update has none: an alert in it would
/// show.
fn usable_aps<'a>(notification: &Notification, device: &'a Device) -> (Option<&'a Value>, bool) {
    let Some(aps) = device.default_payload().and_then(|defaults| defaults.get("aps")) else {
        return (None, false);
    };
    if notification.kind == Kind::Badge {
        return (None, false);
    }
    let is_usable = aps.is_object() && aps.to_string().len() <= MAX_APS;
    (is_usable.then_some(aps), !is_usable)
}

/// Removes what would show on the screen from the operator's options.
fn without_alerts(options: &mut Vec<(&str, Cow<'_, Value>)>) {
    options.retain(|(key, _)| *key != "notification");
    for (key, value) in options {
        let alerts: &[&str] = match *key {
            "android" | "webpush" => &["/notification"],
            "apns" => &["/payload/aps/alert", "/payload/aps/sound"],
            _ => &[],
        };
        for pointer in alerts {
            if let Some((parent, member)) = pointer.rsplit_once('/')
                && value.pointer(pointer).is_some()
                && let Some(parent) = value.to_mut().pointer_mut(parent).and_then(Value::as_object_mut)
            {
                parent.remove(member);
            }
        }
    }
}

fn hash(parts: [&str; 2]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, parts.concat().as_bytes()))
}

#[derive(Serialize)]
struct Envelope<'a> {
    message: Parts<'a>,
}

struct Parts<'a> {
    data: &'a Data<'a>,
    options: &'a [(&'a str, Cow<'a, Value>)],
    target: (&'static str, &'a str),
}

impl Serialize for Parts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("data", self.data)?;
        for (key, value) in self.options {
            map.serialize_entry(key, value)?;
        }
        map.serialize_entry(self.target.0, self.target.1)?;
        map.end()
    }
}

#[cfg(test)]
mod tests;
