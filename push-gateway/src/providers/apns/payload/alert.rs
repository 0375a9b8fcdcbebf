//! The alert of an event: a key of the app's translations, and its arguments.
//!
//! Invariant: pure, and no input is an error; a value that is not a text counts as missing.

use serde_json::{Map, Value};

use crate::notification::Notification;
use crate::notification::call::Occasion;
use crate::notification::cut::prefix;

/// Names of senders and rooms are cut to this many code points.
const MAX_NAME: usize = 1024;

/// The most bytes of one text that fit into any payload. The longest text is always cut first, so the rest need not be copied
/// for each device.
const MAX_BODY: usize = 5120;

/// An alert that the app translates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Alert {
    /// `loc-key`
    pub(super) key: &'static str,
    /// `loc-args`
    pub(super) args: Vec<String>,
}

/// The alert for a notification with a type; `None` for an event without one.
pub(super) fn alert(notification: &Notification, occasion: Occasion) -> Option<Alert> {
    let from = name(&[&notification.sender_display_name, &notification.sender]).unwrap_or(" ");
    let room = name(&[&notification.room_name, &notification.room_alias]);
    let (key, args) = match notification.event_type.as_deref()? {
        "m.room.message" | "m.room.encrypted" => message(notification.content.as_ref(), from, room),
        "m.call.invite" if offers_video(notification.content.as_ref()) => ("VIDEO_CALL_FROM_USER", vec![from]),
        "m.call.invite" => ("VOICE_CALL_FROM_USER", vec![from]),
        "m.rtc.notification" | "org.matrix.msc4075.rtc.notification" if occasion.ring().is_some() => {
            let is_video = notification.has_video_intent();
            (if is_video { "VIDEO_CALL_FROM_USER" } else { "VOICE_CALL_FROM_USER" }, vec![from])
        }
        "m.room.member" => {
            let invited =
                notification.user_is_target == Some(true) && notification.membership.as_deref() == Some("invite");
            match room {
                _ if !invited => return None,
                None => ("USER_INVITE_TO_CHAT", vec![from]),
                Some(room) => ("USER_INVITE_TO_NAMED_ROOM", vec![from, room]),
            }
        }
        _ => ("MSG_FROM_USER", vec![from]),
    };
    Some(Alert { key, args: args.into_iter().map(str::to_owned).collect() })
}

fn message<'a>(
    content: Option<&'a Map<String, Value>>,
    from: &'a str,
    room: Option<&'a str>,
) -> (&'static str, Vec<&'a str>) {
    let text = |key| content?.get(key)?.as_str().filter(|text| !text.is_empty());
    let body = text("body").map(|body| prefix(body, MAX_BODY));
    match (text("msgtype").zip(body), room) {
        (None, None) => ("MSG_FROM_USER", vec![from]),
        (None, Some(room)) => ("MSG_FROM_USER_IN_ROOM", vec![from, room]),
        (Some(("m.image", body)), None) => ("IMAGE_FROM_USER", vec![from, body]),
        (Some(("m.image", body)), Some(room)) => ("IMAGE_FROM_USER_IN_ROOM", vec![from, body, room]),
        (Some(("m.emote", body)), None) => ("ACTION_FROM_USER", vec![from, body]),
        (Some(("m.emote", body)), Some(room)) => ("ACTION_FROM_USER_IN_ROOM", vec![room, from, body]),
        (Some((_, body)), None) => ("MSG_FROM_USER_WITH_CONTENT", vec![from, body]),
        (Some((_, body)), Some(room)) => ("MSG_FROM_USER_IN_ROOM_WITH_CONTENT", vec![from, room, body]),
    }
}

fn offers_video(content: Option<&Map<String, Value>>) -> bool {
    let sdp = || content?.get("offer")?.get("sdp")?.as_str();
    sdp().is_some_and(|sdp| sdp.contains("m=video"))
}

/// The first name that is present and not empty, cut.
fn name<'a>(candidates: &[&'a Option<String>]) -> Option<&'a str> {
    let name = candidates.iter().find_map(|name| name.as_deref().filter(|name| !name.is_empty()))?;
    Some(name.char_indices().nth(MAX_NAME).map_or(name, |(end, _)| &name[..end]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::alert;
    use crate::notification::Notification;
    use crate::notification::call::{Occasion, Ring};
    use crate::providers::apns::testing::notification;

    fn with(fields: &Value) -> Notification {
        notification(&json!({"type": "m.room.message", "sender": "@ann:a.example"}), fields)
    }

    fn says(fields: &Value) -> Value {
        alert(&with(fields), Occasion::Ordinary).map_or(Value::Null, |alert| json!([alert.key, alert.args]))
    }

    #[test]
    fn a_message_names_the_sender_the_room_and_the_text() {
        let content = |msgtype: &str| json!({"msgtype": msgtype, "body": "b"});
        for (msgtype, alone, in_room) in [
            ("m.image", json!(["IMAGE_FROM_USER", ["A", "b"]]), json!(["IMAGE_FROM_USER_IN_ROOM", ["A", "b", "R"]])),
            ("m.emote", json!(["ACTION_FROM_USER", ["A", "b"]]), json!(["ACTION_FROM_USER_IN_ROOM", ["R", "A", "b"]])),
            (
                "m.text",
                json!(["MSG_FROM_USER_WITH_CONTENT", ["A", "b"]]),
                json!(["MSG_FROM_USER_IN_ROOM_WITH_CONTENT", ["A", "R", "b"]]),
            ),
            (
                "org.example.poll",
                json!(["MSG_FROM_USER_WITH_CONTENT", ["A", "b"]]),
                json!(["MSG_FROM_USER_IN_ROOM_WITH_CONTENT", ["A", "R", "b"]]),
            ),
        ] {
            for event_type in ["m.room.message", "m.room.encrypted"] {
                let mut fields = json!({"type": event_type, "sender_display_name": "A", "content": content(msgtype)});
                assert_eq!(says(&fields), alone, "{msgtype}");
                fields["room_name"] = json!("R");
                assert_eq!(says(&fields), in_room, "{msgtype}");
            }
        }
    }

    #[test]
    fn a_message_without_a_readable_text_names_only_the_sender_and_the_room() {
        for content in [
            Value::Null,
            json!({}),
            json!({"body": "b"}),
            json!({"msgtype": "m.text"}),
            json!({"msgtype": "m.text", "body": ""}),
            json!({"msgtype": "", "body": "b"}),
            json!({"msgtype": "m.image", "body": null}),
            json!({"msgtype": "m.text", "body": 7}),
            json!({"msgtype": ["m.text"], "body": "b"}),
            json!({"msgtype": "m.text", "body": {"a": 1}}),
        ] {
            let mut fields = json!({"content": content, "sender_display_name": "A"});
            assert_eq!(says(&fields), json!(["MSG_FROM_USER", ["A"]]), "{content}");
            fields["room_alias"] = json!("#r:a.example");
            assert_eq!(says(&fields), json!(["MSG_FROM_USER_IN_ROOM", ["A", "#r:a.example"]]), "{content}");
        }
    }

    #[test]
    fn an_empty_name_counts_as_missing() {
        for (fields, from) in [
            (json!({"sender_display_name": "A"}), "A"),
            (json!({"sender_display_name": ""}), "@ann:a.example"),
            (json!({}), "@ann:a.example"),
            (json!({"sender": null}), " "),
            (json!({"sender": "", "sender_display_name": ""}), " "),
        ] {
            assert_eq!(says(&fields), json!(["MSG_FROM_USER", [from]]), "{fields}");
        }
        let fields = json!({"room_name": "", "room_alias": "#r:a.example"});
        assert_eq!(says(&fields), json!(["MSG_FROM_USER_IN_ROOM", ["@ann:a.example", "#r:a.example"]]));
        let fields = json!({"room_name": "R", "room_alias": "#r:a.example"});
        assert_eq!(says(&fields), json!(["MSG_FROM_USER_IN_ROOM", ["@ann:a.example", "R"]]));
    }

    #[test]
    fn names_are_cut_to_1024_code_points_and_bodies_are_not() {
        let fields = json!({
            "sender_display_name": "🐇".repeat(1025), "room_name": "é".repeat(1024),
            "content": {"msgtype": "m.text", "body": "z".repeat(5000)},
        });
        assert_eq!(says(&fields)[1], json!(["🐇".repeat(1024), "é".repeat(1024), "z".repeat(5000)]));
    }

    #[test]
    fn a_body_is_cut_to_the_largest_payload() {
        let fields = json!({"content": {"msgtype": "m.text", "body": format!("z{}", "🐇".repeat(100_000))}});
        assert_eq!(says(&fields)[1], json!(["@ann:a.example", format!("z{}", "🐇".repeat(1279))]));
    }

    #[test]
    fn a_call_has_a_key_for_video_or_voice() {
        for (content, key) in [
            (json!({"offer": {"sdp": "v=0\r\nm=audio 9\r\nm=video 9"}}), "VIDEO_CALL_FROM_USER"),
            (json!({"offer": {"sdp": "v=0\r\nm=audio 9"}}), "VOICE_CALL_FROM_USER"),
            (json!({"offer": {"sdp": null}}), "VOICE_CALL_FROM_USER"),
            (json!({"offer": "m=video"}), "VOICE_CALL_FROM_USER"),
            (json!({"offer": {"sdp": ["m=video"]}}), "VOICE_CALL_FROM_USER"),
            (Value::Null, "VOICE_CALL_FROM_USER"),
        ] {
            let fields = json!({"type": "m.call.invite", "content": content, "room_name": "R"});
            assert_eq!(says(&fields), json!([key, ["@ann:a.example"]]), "{content}");
        }
    }

    #[test]
    fn only_an_invitation_of_the_user_has_an_alert_among_memberships() {
        let invite = json!({"type": "m.room.member", "membership": "invite", "user_is_target": true});
        assert_eq!(says(&invite), json!(["USER_INVITE_TO_CHAT", ["@ann:a.example"]]));
        let mut named = invite.clone();
        named["room_name"] = json!("R");
        assert_eq!(says(&named), json!(["USER_INVITE_TO_NAMED_ROOM", ["@ann:a.example", "R"]]));
        for (key, value) in [
            ("membership", json!("join")),
            ("membership", Value::Null),
            ("user_is_target", json!(false)),
            ("user_is_target", Value::Null),
        ] {
            let mut other = invite.clone();
            other[key] = value;
            assert_eq!(says(&other), Value::Null, "{other}");
        }
    }

    #[test]
    fn any_other_event_names_the_sender() {
        for event_type in ["m.reaction", "m.rtc.notification", "org.example.\n"] {
            let fields = json!({"type": event_type, "room_name": "R", "content": {"msgtype": "m.text", "body": "b"}});
            assert_eq!(says(&fields), json!(["MSG_FROM_USER", ["@ann:a.example"]]));
        }
    }

    #[test]
    fn a_ringing_call_of_msc4075_has_a_key_for_video_or_voice() {
        let ring = Occasion::Ring(Ring { left: std::time::Duration::from_secs(1) });
        for (content, key) in [
            (json!({"m.call.intent": "video"}), "VIDEO_CALL_FROM_USER"),
            (json!({"m.call.intent": "audio"}), "VOICE_CALL_FROM_USER"),
            (json!({}), "VOICE_CALL_FROM_USER"),
        ] {
            let fields = json!({"type": "m.rtc.notification", "content": content, "room_name": "R"});
            let alert = |occasion| alert(&with(&fields), occasion).map(|alert| alert.key);
            assert_eq!(alert(ring), Some(key), "{content}");
            assert_eq!(alert(Occasion::ExpiredCall), Some("MSG_FROM_USER"), "{content}");
        }
    }
}
