//! The payload of a notification for one device.
//!
//! Invariant: text of room members or of the app can shrink or drop a payload, but never causes an error.

mod alert;
mod json;
mod relayed;
mod truncate;

use serde_json::{Map, Value};

use self::alert::alert;
use self::json::{Node, Object};
use self::truncate::{Fit, fit};
use super::settings::{PushType, Settings, VoipEvents};
use crate::notification::call::Occasion;
use crate::notification::{Counts, Device, Kind, Notification};
use crate::providers::outcome::Reason;

/// The limit of APNs, in bytes.
const LIMIT: usize = 4096;
/// The limit of APNs for VoIP, in bytes.
const VOIP_LIMIT: usize = 5120;
/// The limit for a payload that APNs refused as too large.
pub(super) const SMALLER_LIMIT: usize = 2048;

/// A payload that fits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Composed {
    pub(super) bytes: Vec<u8>,
    /// Whether a part was dropped or cut.
    pub(super) is_truncated: bool,
    /// Whether it wakes the app without showing anything.
    pub(super) is_background: bool,
}

/// The payload in at most `limit` bytes, by default the limit of APNs.
///
/// # Errors
/// The reason why nothing is sent.
pub(super) fn compose(
    notification: &Notification,
    device: &Device,
    settings: &Settings,
    occasion: Occasion,
    limit: Option<usize>,
) -> Result<Composed, Reason> {
    if let Some(relayed) = &notification.relayed {
        return relayed::compose(relayed, &given(settings, device), limit.is_none());
    }
    let voip = settings.push_type == Some(PushType::Voip);
    if voip && settings.voip_events == VoipEvents::Calls {
        match occasion {
            Occasion::Ring(_) => {}
            Occasion::ExpiredCall => return Err("call_expired"),
            // iOS terminates an app that gets a VoIP push and reports no call.
            Occasion::Ordinary | Occasion::Nudge => return Err("not_a_call"),
        }
    }
    let mut object = match occasion {
        Occasion::Nudge => nudge(device),
        Occasion::Ordinary | Occasion::Ring(_) | Occasion::ExpiredCall => {
            object(notification, device, settings, occasion)?
        }
    };
    if let (true, Some(event_type)) = (voip, &notification.event_type) {
        object.set("type", event_type.as_str());
    }
    let limit = limit.unwrap_or(if voip { VOIP_LIMIT } else { LIMIT });
    let mut bytes = object.to_bytes();
    let is_truncated = bytes.len() > limit;
    if is_truncated {
        match fit(&mut object, limit) {
            Fit::Whole | Fit::Cut if notification.kind != Kind::Encrypted => bytes = object.to_bytes(),
            // A truncated ciphertext cannot be decrypted.
            Fit::Whole | Fit::Cut | Fit::TooLarge => return Err("too_large"),
        }
    }
    Ok(Composed { is_background: is_background(&object), bytes, is_truncated })
}

/// Wakes the app without showing anything, with the texts by which it finds its account.
fn nudge(device: &Device) -> Object {
    let mut object = Object::default();
    object.object_mut("aps").set("content-available", 1_u32);
    for (key, value) in device.default_payload().into_iter().flatten() {
        if let (Value::String(text), true) = (value, key != "aps") {
            object.give(key.clone(), text.clone());
        }
    }
    object
}

fn object(
    notification: &Notification,
    device: &Device,
    settings: &Settings,
    occasion: Occasion,
) -> Result<Object, Reason> {
    let counts = notification.counts_for(device);
    match notification.kind {
        Kind::Full => full(notification, device, settings, occasion, counts).ok_or("nothing_to_send"),
        Kind::Badge => counts.map(badge).ok_or("badge_disabled"),
        // It has a payload of its own.
        Kind::Relayed => Err("nothing_to_send"),
        Kind::Ids => {
            let mut object = given(settings, device);
            set_ids(&mut object, notification);
            set_counts(&mut object, counts, settings);
            set_thread(&mut object, notification, settings);
            Ok(object)
        }
        Kind::Encrypted => {
            let mut object = given(settings, device);
            if let Some(encrypted) = &notification.encrypted {
                object.set("ciphertext", encrypted.ciphertext.as_str());
                for (key, value) in [("ephemeral", &encrypted.ephemeral), ("mac", &encrypted.mac)] {
                    if let Some(value) = value {
                        object.set(key, value.as_str());
                    }
                }
            }
            set_counts(&mut object, counts, settings);
            Ok(object)
        }
    }
}

fn full(
    notification: &Notification,
    device: &Device,
    settings: &Settings,
    occasion: Occasion,
    counts: Option<Counts>,
) -> Option<Object> {
    let Some(text) = alert(notification, occasion) else { return counts.map(badge) };
    let mut object = given(settings, device);
    let aps = object.object_mut("aps");
    if let Some(Node::Value(Value::String(body))) = aps.node_mut("alert") {
        let body = std::mem::take(body);
        aps.object_mut("alert").give(String::from("body"), body);
    }
    let alert = aps.object_mut("alert");
    alert.set("loc-key", text.key);
    alert.set("loc-args", text.args);
    if let Some(counts) = counts {
        aps.set("badge", counts.total());
    }
    if let Some(sound) = sound(device).filter(|_| settings.tweak_sound) {
        aps.set("sound", sound);
    }
    if let (Some(level), true) = (settings.highlight_level, is_highlighted(device)) {
        aps.set("interruption-level", level.as_str());
    }
    set_thread(&mut object, notification, settings);
    set_ids(&mut object, notification);
    Some(object)
}

fn badge(counts: Counts) -> Object {
    let mut object = Object::default();
    object.object_mut("aps").set("badge", counts.total());
    object
}

fn set_ids(object: &mut Object, notification: &Notification) {
    for (key, id) in [("room_id", &notification.room_id), ("event_id", &notification.event_id)] {
        if let Some(id) = id {
            object.set(key, id.as_str());
        }
    }
}

fn set_counts(object: &mut Object, counts: Option<Counts>, settings: &Settings) {
    let Some(counts) = counts else { return };
    for (key, count) in [("unread_count", counts.unread), ("missed_calls", counts.missed_calls)] {
        if let Some(count) = count {
            object.set(key, count);
        }
    }
    if settings.event_id_only_badge {
        object.object_mut("aps").set("badge", counts.total());
    }
}

fn set_thread(object: &mut Object, notification: &Notification, settings: &Settings) {
    if let (true, Some(room_id)) = (settings.thread_id, &notification.room_id) {
        object.object_mut("aps").set("thread-id", room_id.as_str());
    }
}

/// The sound of the push rules, if it can be a file name.
fn sound(device: &Device) -> Option<&str> {
    let sound = device.tweaks.get("sound")?.as_str()?;
    let is_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    ((1..=64).contains(&sound.len()) && sound.bytes().all(is_name)).then_some(sound)
}

fn is_highlighted(device: &Device) -> bool {
    device.tweaks.get("highlight").is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
}

/// APNs accepts such a payload with the push type `background` only.
fn is_background(object: &Object) -> bool {
    let Some(Node::Object(aps)) = object.node("aps") else { return false };
    aps.node("content-available").is_some() && ["alert", "badge", "sound"].iter().all(|key| aps.node(key).is_none())
}

/// The operator's payload, overridden by the device's `default_payload`.
fn given(settings: &Settings, device: &Device) -> Object {
    let mut object = Object::default();
    let over = device.default_payload();
    for (key, value) in merged(&settings.payload, over) {
        match (key.as_str(), value) {
            ("aps", Value::Object(aps)) => {
                let mut members = Object::default();
                for (key, value) in aps {
                    match (key.as_str(), value) {
                        ("alert", Value::Object(alert)) => {
                            let mut texts = Object::default();
                            alert.into_iter().for_each(|(key, value)| texts.give(key, value));
                            members.give(key, texts);
                        }
                        (_, value) => members.give(key, value),
                    }
                }
                object.give(key, members);
            }
            // APNs reads only an object as `aps`.
            ("aps", _) => {}
            (_, value) => object.give(key, value),
        }
    }
    object
}

/// Merges `over` into `under`, object by object.
fn merged(under: &Map<String, Value>, over: Option<&Map<String, Value>>) -> Map<String, Value> {
    let mut all = under.clone();
    for (key, value) in over.into_iter().flatten() {
        match (all.get_mut(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => *old = merged(old, Some(new)),
            (Some(Value::Object(_)), _) if key == "aps" => {}
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests;
