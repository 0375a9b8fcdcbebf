//! The message of version 3, for HarmonyOS 5 and later.

use serde_json::{Value, json};

use super::super::settings::PushType;
use super::{Content, Draft, Filling, MessageTemplate};

/// The lifetimes that Push Kit accepts for a call, in seconds.
const CALL_TTL: std::ops::RangeInclusive<u64> = 30..=60;

impl MessageTemplate {
    pub(super) fn v3(&self, draft: &Draft<'_>, filling: &Filling<'_>) -> Value {
        let target = json!({ "token": [draft.device.pushkey] });
        if draft.content == Content::Badge {
            let badge = json!({ "setNum": draft.badge().unwrap_or(0) });
            return json!({ "payload": { "notification": { "badge": badge } }, "target": target });
        }
        let mut payload = json!({});
        if let Content::Data | Content::DataAndTexts = draft.content {
            payload["extraData"] = json!(filling.data);
        }
        if let Content::Texts | Content::DataAndTexts = draft.content {
            payload["notification"] = self.shown(draft, filling);
        }
        let (is_voip, ttl) = (self.settings.push_type() == PushType::Voip, self.ttl(draft.occasion));
        let ttl = if is_voip { ttl.clamp(*CALL_TTL.start(), *CALL_TTL.end()) } else { ttl };
        let mut options = json!({ "ttl": ttl });
        // Push Kit collapses what it shows, and nothing else.
        if draft.content != Content::Data {
            options["collapseKey"] = self.settings.collapse_key.into();
        }
        json!({ "payload": payload, "target": target, "pushOptions": options })
    }

    /// What the system shows.
    fn shown(&self, draft: &Draft<'_>, filling: &Filling<'_>) -> Value {
        let category = self.settings.category_of(draft.occasion);
        let mut click = json!({ "actionType": 0, "data": draft.ids() });
        for (key, value) in [("action", &self.settings.click_action), ("uri", &self.settings.click_uri)] {
            if let Some(value) = value {
                click["actionType"] = 1.into();
                click[key] = value.as_str().into();
            }
        }
        let mut shown =
            json!({ "category": category, "title": filling.title, "body": filling.body, "clickAction": click });
        if let Some(count) = draft.badge() {
            shown["badge"] = json!({ "setNum": count });
        }
        if let Some(is_shown) = self.settings.foreground_show {
            shown["foregroundShow"] = is_shown.into();
        }
        let Draft { notification, device, .. } = draft;
        // What Push Kit rejected may be one of these.
        if draft.is_reduced {
            return shown;
        }
        if let Some(number) = self.settings.notify_id.and_then(|id| id.of(notification)) {
            shown["notifyId"] = number.into();
        }
        if let (Some(true), Some(id)) = (self.settings.app_message_id, &notification.event_id) {
            shown["appMessageId"] = id.as_str().into();
        }
        let profile = self.settings.profile_id.as_ref().and_then(|member| device.data.get(member)?.as_str());
        if let Some(profile) = profile.filter(|profile| !profile.is_empty()) {
            shown["profileId"] = profile.into();
        }
        shown
    }
}
