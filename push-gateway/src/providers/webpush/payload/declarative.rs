//! The members of a declarative message, which a browser shows without a service worker (W3C Push API, *declarative push
//! message*).
//!
//! Invariant: only members whose type is certain are sent, because a browser ignores the whole message for a wrong one.

use serde_json::{Map, Value, json};

use super::super::settings::declarative::Declarative;
use crate::notification::{Counts, Device, Kind, Notification};

/// The value of `web_push`, by which a browser recognises such a message.
const MARK: u32 = 8030;

/// Adds the members beside those that a service worker reads.
pub(super) fn add_members(
    object: &mut Map<String, Value>,
    declarative: &Declarative,
    notification: &Notification,
    device: &Device,
    title: &str,
    body: &str,
) {
    let mut shown = json!({
        "title": title,
        "navigate": declarative.navigate.url(notification),
        "lang": declarative.lang,
        "silent": false,
    });
    if !body.is_empty() {
        shown["body"] = body.into();
    }
    if let (Kind::Full | Kind::Ids, Some(room_id)) = (notification.kind, &notification.room_id) {
        shown["tag"] = room_id.as_str().into();
    }
    if let Some(icon) = &declarative.icon {
        shown["icon"] = icon.as_str().into();
    }
    // WebKit announced a text within `notification`, and the draft of W3C has a number beside it.
    if let Some(count) = notification.counts_for(device).map(Counts::total) {
        shown["app_badge"] = count.to_string().into();
        object.insert("app_badge".to_owned(), count.into());
    }
    object.insert("web_push".to_owned(), MARK.into());
    object.insert("notification".to_owned(), shown);
    object.insert("mutable".to_owned(), true.into());
}
