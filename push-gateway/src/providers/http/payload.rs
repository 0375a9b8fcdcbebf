//! The body: the notification as the homeserver sent it, with this one device.
//!
//! Invariant: no other device is in it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::notification::{Device, Notification};

/// The body for `device`.
pub(super) fn payload(notification: &Notification, device: &Device) -> Bytes {
    let mut members = notification.received.clone().unwrap_or_default();
    if device.counts_disabled {
        members.remove("counts");
    }
    let mut member = json!({ "app_id": device.app_id, "pushkey": device.pushkey });
    if let Some(seconds) = device.pushkey_ts {
        member["pushkey_ts"] = seconds.into();
    }
    for (key, value) in [("data", &device.data), ("tweaks", &device.tweaks)] {
        if !value.is_empty() {
            member[key] = Value::Object(value.clone());
        }
    }
    members.insert("devices".to_owned(), json!([member]));
    json!({ "notification": members }).to_string().into()
}
