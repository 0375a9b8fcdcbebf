//! The message of a relayed push: the encrypted body as data for the app.
//!
//! Invariant: the system shows nothing by itself; keys and values of `data` never exceed the limit.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::{BUDGET, MessageTemplate};
use crate::notification::Priority;
use crate::notification::relayed::{CODING, Carried, Relayed};
use crate::providers::outcome::Reason;

impl MessageTemplate {
    /// The body of the request, and what it carries. `may_fit` is false after FCM has refused the message.
    ///
    /// # Errors
    /// The reason why nothing is sent.
    pub(super) fn relayed(
        &self,
        relayed: &Relayed,
        priority: Priority,
        pushkey: &str,
        may_fit: bool,
    ) -> Result<(Vec<u8>, Carried), Reason> {
        let compose = |carried| {
            let data = data(relayed, carried);
            let size = data.iter().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum::<usize>();
            (size <= BUDGET).then_some(data)
        };
        let (data, carried) = relayed.fit(may_fit, compose)?;
        let shown = |key: &String| key != "notification" && key != "android";
        let mut message: Map<String, Value> = self
            .options
            .iter()
            .filter(|(key, _)| shown(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if let Some(Value::Object(webpush)) = message.get_mut("webpush") {
            webpush.remove("notification");
        }
        message.insert("android".to_owned(), Value::Object(self.android_of_relayed(relayed, priority)));
        message.insert("data".to_owned(), Value::Object(data));
        message.insert(self.target(pushkey).to_owned(), pushkey.into());
        // Values always serialize.
        Ok((serde_json::to_vec(&json!({ "message": message })).unwrap_or_default(), carried))
    }

    fn android_of_relayed(&self, relayed: &Relayed, priority: Priority) -> Map<String, Value> {
        let mut android = match self.options.get("android") {
            Some(Value::Object(android)) => android.clone(),
            _ => Map::new(),
        };
        android.remove("notification");
        let priority = match priority {
            Priority::High => "high",
            Priority::Low => "normal",
        };
        android.insert("priority".to_owned(), priority.into());
        android.insert("ttl".to_owned(), format!("{}s", relayed.ttl).into());
        if let Some(id) = &relayed.collapse_id {
            android.insert("collapse_key".to_owned(), id.as_str().into());
        }
        android
    }
}

fn data(relayed: &Relayed, carried: Carried) -> Map<String, Value> {
    let mut data = Map::new();
    let mut set = |key: &str, value: String| data.insert(key.to_owned(), Value::String(value));
    match carried {
        _ if relayed.body.is_empty() => {}
        Carried::Body => {
            set("body", URL_SAFE_NO_PAD.encode(&relayed.body));
            set("con", CODING.to_owned());
        }
        Carried::Length => {
            set("oversize", relayed.body.len().to_string());
        }
    }
    if !relayed.chid.is_empty() {
        set("chid", relayed.chid.clone());
    }
    data
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::{MessageTemplate, Priority, Relayed};
    use crate::notification::relayed::{Layout, Oversize, TOO_LARGE};
    use crate::providers::fcm::settings::Settings;

    fn relayed(length: usize, chid: &str) -> Relayed {
        Relayed {
            body: Bytes::from(vec![1; length]),
            chid: chid.to_owned(),
            ttl: 60,
            is_background: false,
            collapse_id: None,
            layout: Layout::Autopush,
            oversize: Oversize::Wake,
        }
    }

    fn message(settings: Value, relayed: &Relayed, priority: Priority) -> Value {
        let settings: Settings = serde_json::from_value(settings).unwrap();
        let template = MessageTemplate::new(&settings);
        let (body, _) = template.relayed(relayed, priority, "token:x", true).unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["message"].take()
    }

    #[test]
    fn the_body_is_data_and_the_priority_is_that_of_the_push() {
        let body = URL_SAFE_NO_PAD.encode([1; 144]);
        let android = json!({ "priority": "high", "ttl": "60s" });
        let expected = json!({ "token": "token:x", "android": android, "data": { "body": body, "con": "aes128gcm" } });
        assert_eq!(message(json!({}), &relayed(144, ""), Priority::High), expected);
        let collapsed = Relayed { collapse_id: Some("id".to_owned()), ttl: 0, ..relayed(0, "acc1") };
        let android = json!({ "priority": "normal", "ttl": "0s", "collapse_key": "id" });
        let expected = json!({ "token": "token:x", "android": android, "data": { "chid": "acc1" } });
        assert_eq!(message(json!({}), &collapsed, Priority::Low), expected);
    }

    #[test]
    fn options_that_show_something_are_left_out_and_those_for_iphones_stay() {
        let apns = json!({ "payload": { "aps": { "mutable-content": 1 } } });
        let options = json!({ "fcm_options": {
            "notification": { "title": "x" }, "apns": apns, "webpush": { "notification": {}, "headers": {} },
            "android": { "notification": { "title": "x" }, "restricted_package_name": "p", "priority": "normal" },
        }});
        let found = message(options, &relayed(0, ""), Priority::High);
        let android = json!({ "priority": "high", "ttl": "60s", "restricted_package_name": "p" });
        let expected = json!({
            "token": "token:x", "android": android, "data": {}, "apns": apns, "webpush": { "headers": {} },
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_body_of_the_largest_size_fits_and_one_more_byte_does_not() {
        for (chid, largest) in [("", 3060), (&*"c".repeat(36), 3030)] {
            let data = |length| message(json!({}), &relayed(length, chid), Priority::High)["data"].take();
            assert!(data(largest)["body"].is_string(), "{chid}");
            assert_eq!(data(largest + 1)["oversize"], (largest + 1).to_string());
        }
        let template = MessageTemplate::new(&Settings::default());
        let reject = Relayed { oversize: Oversize::Reject, ..relayed(3061, "") };
        assert_eq!(template.relayed(&reject, Priority::High, "x", true), Err(TOO_LARGE));
    }
}
