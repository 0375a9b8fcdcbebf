//! The flat object that service workers of Matrix web clients read.
//!
//! Invariant: the gateway's members win over those of the default payload.

use serde_json::{Map, Value};

use super::super::settings::declarative::Declarative;
use super::declarative::add_members;
use super::{Draft, Fitted, whole};
use crate::notification::{Device, Kind, Notification};
use crate::providers::outcome::Reason;
use crate::providers::text_template::Texts;

/// The longest body of a message in code points.
const MAX_TEXT: usize = 1000;
/// The longest ciphertext of an event in bytes.
const MAX_CIPHERTEXT: usize = 2000;

/// The payload for `device` in at most `limit` bytes.
///
/// # Errors
/// The reason why nothing is sent.
pub(in super::super) fn payload(
    notification: &Notification,
    device: &Device,
    declarative: Option<&Declarative>,
    limit: usize,
) -> Result<Fitted, Reason> {
    if takes_events_only(device) && notification.event_id.is_none() {
        return Err("events_only");
    }
    let mut object = identifiers(notification, device);
    if notification.kind == Kind::Full {
        add("room_name", &notification.room_name, &mut object);
        add("room_alias", &notification.room_alias, &mut object);
        add("membership", &notification.membership, &mut object);
        add("sender", &notification.sender, &mut object);
        add("sender_display_name", &notification.sender_display_name, &mut object);
        add("type", &notification.event_type, &mut object);
        if notification.user_is_target == Some(true) {
            object.insert("user_is_target".to_owned(), true.into());
        }
        if let Some(content) = &notification.content {
            object.insert("content".to_owned(), Value::Object(shortened(content)));
        }
    }
    if let (Kind::Encrypted, Some(encrypted)) = (notification.kind, &notification.encrypted) {
        // Decryption needs every byte.
        object.insert("ciphertext".to_owned(), encrypted.ciphertext.clone().into());
        add("ephemeral", &encrypted.ephemeral, &mut object);
        add("mac", &encrypted.mac, &mut object);
    }
    let encrypted = (notification.kind == Kind::Encrypted).then(|| object.clone());
    // A badge update has no title, so it has no declarative form.
    let declarative = declarative.filter(|_| notification.kind != Kind::Badge);
    if let Some(declarative) = declarative {
        let (title, body) = (declarative.texts.title(notification), declarative.texts.body(notification));
        add_members(&mut object, declarative, notification, device, &title, &body);
    }
    if let Some(whole) = whole(&object, device.default_payload(), None, limit) {
        return Ok(whole);
    }
    let mut bare = encrypted.unwrap_or_else(|| identifiers(notification, device));
    if let Some(declarative) = declarative {
        let Texts { title_fallback, body_fallback, .. } = &declarative.texts;
        add_members(&mut bare, declarative, notification, device, title_fallback, body_fallback);
    }
    let mut defaults = device.default_payload().cloned().unwrap_or_default();
    defaults.retain(|key, _| !object.contains_key(key));
    let is_declarative = declarative.is_some();
    Draft { content_kept: &["body", "msgtype"], object, defaults, bare, is_declarative, envelope: None }.fitted(limit)
}

/// The identifiers of the event, and the counts.
fn identifiers(notification: &Notification, device: &Device) -> Map<String, Value> {
    let mut object = Map::new();
    if matches!(notification.kind, Kind::Full | Kind::Ids) {
        add("room_id", &notification.room_id, &mut object);
        add("event_id", &notification.event_id, &mut object);
    }
    if let Some(counts) = notification.counts_for(device) {
        for (name, count) in [("unread", counts.unread), ("missed_calls", counts.missed_calls)] {
            if let Some(count) = count {
                object.insert(name.to_owned(), count.into());
            }
        }
    }
    object
}

fn add(name: &str, text: &Option<String>, to: &mut Map<String, Value>) {
    if let Some(text) = text {
        to.insert(name.to_owned(), text.clone().into());
    }
}

/// The payload that asks the app to count its messages itself.
///
/// # Errors
/// The reason why nothing is sent.
pub(in super::super) fn nudge(device: &Device) -> Result<Fitted, Reason> {
    if takes_events_only(device) {
        return Err("events_only");
    }
    Ok(Fitted { json: br#"{"nudge":true}"#.to_vec(), is_shortened: false })
}

fn takes_events_only(device: &Device) -> bool {
    device.data.get("events_only") == Some(&Value::Bool(true))
}

/// The content that a browser shows.
fn shortened(content: &Map<String, Value>) -> Map<String, Value> {
    let of = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("formatted_body", _) => return None,
            ("ciphertext", Value::String(text)) if text.len() > MAX_CIPHERTEXT => return None,
            ("body", Value::String(text)) => match text.char_indices().nth(MAX_TEXT) {
                Some(_) => {
                    let end = text.char_indices().nth(MAX_TEXT - 1).map_or(text.len(), |(end, _)| end);
                    Value::String([&text[..end], "…"].concat())
                }
                None => value.clone(),
            },
            _ => value.clone(),
        };
        Some((key.clone(), value))
    };
    content.iter().filter_map(of).collect()
}
