//! The message of version 1, for HMS Core on Android.

use serde_json::{Value, json};

use super::{Content, Draft, Filling, MessageTemplate};

/// The largest number of a badge.
const MAX_BADGE: u32 = 99;

impl MessageTemplate {
    pub(super) fn v1(&self, draft: &Draft<'_>, filling: &Filling<'_>) -> Value {
        let mut android = json!({
            "urgency": if draft.is_urgent() { "HIGH" } else { "NORMAL" },
            "ttl": format!("{}s", self.ttl(draft.occasion)),
            "collapse_key": self.settings.collapse_key,
        });
        if draft.content == Content::DataAndTexts {
            let mut notification =
                json!({ "title": filling.title, "body": filling.body, "click_action": { "type": 3 } });
            if let (Some(class), Some(count)) = (&self.settings.badge_class, draft.badge()) {
                notification["badge"] = json!({ "set_num": count.min(MAX_BADGE), "class": class });
            }
            android["notification"] = notification;
        }
        json!({
            "validate_only": false,
            "message": { "data": filling.data, "android": android, "token": [draft.device.pushkey] },
        })
    }
}
