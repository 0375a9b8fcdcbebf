//! The texts of notifications that a push service shows itself: templates of the operator, filled with a notification's values.
//!
//! Invariant: a value is inserted once and never read as a template; control characters are removed from it.

use std::borrow::Cow;

use crate::notification::{Kind, Notification};

/// A template, such as `{sender} ({room})`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Value(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Sender,
    Room,
    Body,
    RoomId,
    EventId,
    Type,
}

/// The fields by their names in braces.
const FIELDS: [(&str, Field); 6] = [
    ("sender", Field::Sender),
    ("room", Field::Room),
    ("body", Field::Body),
    ("room_id", Field::RoomId),
    ("event_id", Field::EventId),
    ("type", Field::Type),
];

/// The title and the body of a notification.
#[derive(Clone, Debug)]
pub(crate) struct Texts {
    pub(crate) title: TextTemplate,
    pub(crate) body: TextTemplate,
    /// The texts of a notification without values for these.
    pub(crate) title_fallback: String,
    pub(crate) body_fallback: String,
}

impl TextTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// The problem; its subject is the template.
    pub(crate) fn parse(template: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('{') {
            let problem = || {
                let known = FIELDS.map(|(name, _)| format!("{{{name}}}")).join(" ");
                format!("has something else in braces than {known}")
            };
            let (name, after) = after.split_once('}').ok_or_else(problem)?;
            let (_, field) = FIELDS.iter().find(|(known, _)| *known == name).ok_or_else(problem)?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Value(*field));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Self(parts))
    }

    /// The text about `notification`. `None` if nothing is left, or if the template has values and none is known.
    pub(crate) fn text(&self, notification: &Notification) -> Option<String> {
        let (text, is_known) = self.fill(notification, |value| Cow::Borrowed(value));
        Some(text).filter(|text| is_known && !text.trim().is_empty())
    }

    /// The URL about `notification`, with values encoded as parts of a path; a missing value is empty.
    pub(crate) fn url(&self, notification: &Notification) -> String {
        self.fill(notification, |value| Cow::Owned(percent_encoded(value))).0
    }

    /// The text before the first value.
    pub(crate) fn start(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            Some(Part::Value(_)) | None => "",
        }
    }

    fn has(&self, field: Field) -> bool {
        self.0.contains(&Part::Value(field))
    }

    /// The parts with the values, and whether there are no values or one of them is known.
    fn fill(&self, notification: &Notification, encoded: impl Fn(&str) -> Cow<'_, str>) -> (String, bool) {
        let mut text = String::new();
        let (mut has_values, mut is_known) = (false, false);
        for part in &self.0 {
            match part {
                Part::Text(fixed) => text.push_str(fixed),
                Part::Value(field) => {
                    has_values = true;
                    if let Some(value) = value(*field, notification) {
                        is_known = true;
                        text.push_str(&encoded(&value));
                    }
                }
            }
        }
        (text, is_known || !has_values)
    }
}

impl Texts {
    /// The title; without a room it is the sender, and without a sender the room.
    pub(crate) fn title(&self, notification: &Notification) -> String {
        let lacks = |field| self.title.has(field) && value(field, notification).is_none();
        let title = match (lacks(Field::Room), lacks(Field::Sender)) {
            (true, _) => value(Field::Sender, notification),
            (false, true) => value(Field::Room, notification),
            (false, false) => self.title.text(notification),
        };
        title.unwrap_or_else(|| self.title_fallback.clone())
    }

    /// The text below the title; that of an encrypted event says nothing about it.
    pub(crate) fn body(&self, notification: &Notification) -> String {
        let text = (!notification.is_encrypted_event()).then(|| self.body.text(notification)).flatten();
        text.unwrap_or_else(|| self.body_fallback.clone())
    }
}

/// A value as far as the kind of the notification shows it.
fn value(field: Field, notification: &Notification) -> Option<String> {
    let has_text = notification.kind == Kind::Full;
    let has_ids = has_text || notification.kind == Kind::Ids;
    let first = |values: [&Option<String>; 2]| values.into_iter().flatten().find_map(|value| plain(value));
    let of = |value: &Option<String>| value.as_deref().and_then(plain);
    match field {
        Field::RoomId if has_ids => of(&notification.room_id),
        Field::EventId if has_ids => of(&notification.event_id),
        Field::Type if has_text => of(&notification.event_type),
        Field::Sender if has_text => first([&notification.sender_display_name, &notification.sender]),
        Field::Room if has_text => first([&notification.room_name, &notification.room_alias]),
        Field::Body if has_text => plain(notification.content.as_ref()?.get("body")?.as_str()?),
        Field::RoomId | Field::EventId | Field::Type | Field::Sender | Field::Room | Field::Body => None,
    }
}

/// A value without control characters; `None` if nothing is left.
fn plain(value: &str) -> Option<String> {
    let plain: String = value.chars().filter(|c| !c.is_control()).collect();
    Some(plain).filter(|value| !value.trim().is_empty())
}

/// Encodes what ends a part of a path, or separates pairs of a query.
fn percent_encoded(value: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$:@*'(),".contains(&byte);
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{TextTemplate, Texts};
    use crate::notification::Notification;
    use crate::notification::parse::parse;

    fn notification(members: Value) -> Notification {
        let mut members = members;
        members["devices"] = json!([{ "app_id": "a", "pushkey": "k" }]);
        parse(json!({ "notification": members }).to_string().as_bytes(), 1).unwrap().notification
    }

    fn text(template: &str, members: Value) -> Option<String> {
        TextTemplate::parse(template).unwrap().text(&notification(members))
    }

    fn message() -> Value {
        json!({ "event_id": "$e/+=", "room_id": "!r:x", "type": "m.room.message", "sender": "@a:x",
            "sender_display_name": "Alice", "room_name": "Room", "content": { "body": "Hello" } })
    }

    #[test]
    fn values_are_inserted_once_without_control_characters() {
        let mut members = message();
        members["sender_display_name"] = json!("{body}\u{7}\u{1b}[1m\n");
        assert_eq!(text("{sender} ({room}): {body}!", members).as_deref(), Some("{body}[1m (Room): Hello!"));
        assert_eq!(text("{type} {event_id} {room_id}", message()).as_deref(), Some("m.room.message $e/+= !r:x"));
    }

    #[test]
    fn missing_values_leave_nothing_and_fixed_texts_stay() {
        for (template, members, expected) in [
            ("From {sender}", json!({ "event_id": "$e", "sender": "@a:x" }), None),
            ("{body}", json!({ "type": "m" }), None),
            ("New", json!({ "type": "m" }), Some("New")),
            ("{body}", json!({ "type": "m", "content": { "body": "\n \t" } }), None),
            ("{body} in {room}", json!({ "type": "m", "content": { "body": "x" } }), Some("x in ")),
            ("{sender}", json!({ "type": "m", "sender_display_name": "\u{7}", "sender": "@a:x" }), Some("@a:x")),
        ] {
            assert_eq!(text(template, members.clone()).as_deref(), expected, "{template} {members}");
        }
    }

    #[test]
    fn texts_fall_back() {
        let template = |text: &str| TextTemplate::parse(text).unwrap();
        let texts = Texts {
            title: template("{sender} ({room})"),
            body: template("{body}"),
            title_fallback: "New".to_owned(),
            body_fallback: "Open".to_owned(),
        };
        let (full, ids) = (notification(message()), notification(json!({ "event_id": "$e" })));
        assert_eq!([texts.title(&full), texts.body(&full)], ["Alice (Room)", "Hello"]);
        let mut direct = full;
        (direct.room_name, direct.room_alias) = (None, None);
        assert_eq!(texts.title(&direct), "Alice");
        assert_eq!([texts.title(&ids), texts.body(&ids)], ["New", "Open"]);
        let mut encrypted = message();
        encrypted["type"] = json!("m.room.encrypted");
        let encrypted = notification(encrypted);
        assert_eq!([texts.title(&encrypted), texts.body(&encrypted)], ["Alice (Room)", "Open"]);
    }

    #[test]
    fn a_url_contains_encoded_values() {
        let template = TextTemplate::parse("https://app.example.org/#/room/{room_id}/{event_id}").unwrap();
        let url = template.url(&notification(message()));
        assert_eq!(url, "https://app.example.org/#/room/!r:x/$e%2F%2B%3D");
        assert_eq!(template.url(&notification(json!({ "type": "m" }))), "https://app.example.org/#/room//");
    }

    #[test]
    fn anything_else_in_braces_is_refused() {
        for wrong in ["{Sender}", "{}", "{sender", "{{sender}}", "{ sender }", "{counts}"] {
            assert!(TextTemplate::parse(wrong).unwrap_err().contains("{event_id}"), "{wrong}");
        }
        assert!(TextTemplate::parse("a } b").is_ok());
    }
}
