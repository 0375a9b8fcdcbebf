//! `{"notification": …}` for UnifiedPush, as the homeserver sent it.
//!
//! Invariant: no member names another device, and none contains a pushkey or a key of the receiver.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::{Draft, Fitted, whole};
use crate::notification::{Counts, Device, Kind, Notification};
use crate::providers::outcome::Reason;

/// What stays when nothing else fits.
const BARE: [&str; 5] = ["event_id", "room_id", "counts", "prio", "devices"];
/// Wraps the members.
const ENVELOPE: Option<&str> = Some("notification");
/// The members of `data` that are not for the app.
const OWN_DATA: [&str; 5] = ["default_payload", "p256dh", "auth", "keys", "endpoint"];

/// The payload for `device` in at most `limit` bytes. `forward_device`: with the device, for apps with several accounts.
///
/// # Errors
/// The reason why nothing is sent.
pub(in super::super) fn payload(
    notification: &Notification,
    device: &Device,
    forward_device: bool,
    limit: usize,
) -> Result<Fitted, Reason> {
    let mut object = notification.received.as_ref().map_or_else(Cow::default, Cow::Borrowed);
    if device.counts_disabled {
        object.to_mut().remove("counts");
    } else if notification.kind == Kind::Badge && notification.counts.is_none_or(|counts| counts == Counts::default()) {
        // A badge update without counts clears the badge.
        object.to_mut().insert("counts".to_owned(), json!({ "unread": 0 }));
    }
    if forward_device {
        let mut data = device.data.clone();
        data.retain(|key, _| !OWN_DATA.contains(&key.as_str()));
        let mut member = json!({ "app_id": device.app_id, "data": data, "tweaks": device.tweaks });
        if let Some(seconds) = device.pushkey_ts {
            member["pushkey_ts"] = seconds.into();
        }
        object.to_mut().insert("devices".to_owned(), json!([member]));
    }
    if let Some(whole) = whole(&object, None, ENVELOPE, limit) {
        return Ok(whole);
    }
    let object = object.into_owned();
    let bare: Map<String, Value> = match notification.kind {
        // A part of a ciphertext is useless.
        Kind::Encrypted => object.clone(),
        Kind::Full | Kind::Ids | Kind::Badge | Kind::Relayed => {
            BARE.iter().filter_map(|name| Some(((*name).to_owned(), object.get(*name)?.clone()))).collect()
        }
    };
    let content_kept = &["body", "msgtype"];
    let defaults = Map::new();
    let draft = Draft { content_kept, object, defaults, bare, is_declarative: false, envelope: ENVELOPE };
    draft.fitted(limit)
}

/// The payload that asks the app to count its messages itself.
pub(in super::super) fn nudge() -> Fitted {
    Fitted { json: br#"{"notification":{"prio":"low"}}"#.to_vec(), is_shortened: false }
}
