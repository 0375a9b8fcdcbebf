//! An estimate of the memory that a parsed request holds: JSON takes up to a hundred times as much as its text.

use serde_json::{Map, Value};

use super::{Device, Notification};

/// A list is allocated with room for this many values at least.
const MIN_CAPACITY: usize = 4;
/// A node of an object with up to eleven members, and how many it has when it is half full.
const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 32;
const MEMBERS_OF_A_NODE: usize = 6;

/// The bytes that a notification and its devices hold besides their fixed size.
pub(crate) fn memory(notification: &Notification, devices: &[Device]) -> usize {
    let of_devices = devices.iter().map(|device| {
        let texts = device.app_id.len() + device.pushkey.len();
        texts + of_members(&device.data) + of_members(&device.tweaks)
    });
    let of_notification = [&notification.content, &notification.received].into_iter().flatten().map(of_members);
    of_notification.sum::<usize>() + of_devices.sum::<usize>()
}

fn of_members(members: &Map<String, Value>) -> usize {
    let parts = members.iter().map(|(key, value)| key.len() + of(value));
    members.len().div_ceil(MEMBERS_OF_A_NODE) * NODE + parts.sum::<usize>()
}

/// The memory beyond the value itself.
fn of(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) if items.is_empty() => 0,
        Value::Array(items) => {
            items.capacity().max(MIN_CAPACITY) * size_of::<Value>() + items.iter().map(of).sum::<usize>()
        }
        Value::Object(members) => of_members(members),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::memory;
    use crate::notification::parse::{Request, parse};

    fn memory_of(content: &serde_json::Value, data: &serde_json::Value) -> usize {
        let device = json!({ "app_id": "a", "pushkey": "k", "data": { "default_payload": data } });
        let body = json!({ "notification": { "type": "m", "content": content, "devices": [device] } });
        let Request { notification, devices } = parse(body.to_string().as_bytes(), 1).unwrap();
        memory(&notification, &devices)
    }

    #[test]
    fn small_values_count_with_the_memory_that_they_take() {
        assert!(memory_of(&json!({ "body": "x" }), &json!({})) < 2048);
        let text = memory_of(&json!({ "body": "x".repeat(100_000) }), &json!({}));
        assert!((100_000..104_096).contains(&text), "{text}");
        for (value, least) in [(json!(0), 32), (json!([0]), 128), (json!({ "": 0 }), 600)] {
            let many = vec![value; 10_000];
            for found in [memory_of(&json!({ "a": many }), &json!({})), memory_of(&json!({}), &json!({ "a": many }))] {
                assert!((least * 10_000..least * 22_000).contains(&found), "{least} {found}");
            }
        }
    }
}
