//! The texts of notifications that a push service shows itself: templates of the operator, filled with a notification's values.
//!
//! Invariant: a value is inserted once and never read as a template; control characters are removed from it.

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
        let is_without_room = self.0.contains(&Part::Value(Field::Room)) && value(Field::Room, notification).is_none();
        let without_room = [Part::Value(Field::Sender)];
        let parts = if is_without_room { &without_room[..] } else { &self.0 };
        let text = fill(parts, notification)?;
        Some(text).filter(|text| !text.trim().is_empty())
    }
}

impl Texts {
    pub(crate) fn title(&self, notification: &Notification) -> String {
        self.title.text(notification).unwrap_or_else(|| self.title_fallback.clone())
    }

    pub(crate) fn body(&self, notification: &Notification) -> String {
        self.body.text(notification).unwrap_or_else(|| self.body_fallback.clone())
    }
}

/// The parts with the values; `None` if there are values and none is known.
fn fill(parts: &[Part], notification: &Notification) -> Option<String> {
    let mut text = String::new();
    let (mut values, mut known) = (0, 0);
    for part in parts {
        match part {
            Part::Text(fixed) => text.push_str(fixed),
            Part::Value(field) => {
                values += 1;
                if let Some(value) = value(*field, notification) {
                    known += 1;
                    text.push_str(&value);
                }
            }
        }
    }
    (values == 0 || known > 0).then_some(text)
}

/// A value as far as the kind of the notification shows it.
fn value(field: Field, notification: &Notification) -> Option<String> {
    let first = |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone());
    let has_text = notification.kind == Kind::Full;
    let has_ids = has_text || notification.kind == Kind::Ids;
    let value = match field {
        Field::RoomId if has_ids => notification.room_id.clone(),
        Field::EventId if has_ids => notification.event_id.clone(),
        Field::Type if has_text => notification.event_type.clone(),
        Field::Sender if has_text => first(&notification.sender_display_name, &notification.sender),
        Field::Room if has_text => first(&notification.room_name, &notification.room_alias),
        Field::Body if has_text => {
            notification.content.as_ref().and_then(|content| content.get("body")?.as_str()).map(str::to_owned)
        }
        Field::RoomId | Field::EventId | Field::Type | Field::Sender | Field::Room | Field::Body => None,
    };
    let plain: String = value?.chars().filter(|c| !c.is_control()).collect();
    Some(plain).filter(|value| !value.is_empty())
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
    fn a_missing_room_leaves_the_sender_and_missing_values_leave_nothing() {
        let without = |names: &[&str]| {
            let mut members = message();
            names.iter().for_each(|name| drop(members.as_object_mut().unwrap().remove(*name)));
            members
        };
        for (template, members, expected) in [
            ("{sender} ({room})", without(&["room_name"]), Some("Alice")),
            ("{sender} ({room})", without(&["room_name", "sender_display_name"]), Some("@a:x")),
            ("{sender} ({room})", without(&["type"]), None),
            ("From {sender}", without(&["type"]), None),
            ("{body}", without(&["content"]), None),
            ("New", without(&["content"]), Some("New")),
            ("{body}", json!({ "type": "m", "content": { "body": "\n \t" } }), None),
        ] {
            assert_eq!(text(template, members.clone()).as_deref(), expected, "{template} {members}");
        }
    }

    #[test]
    fn texts_fall_back() {
        let template = |text: &str| TextTemplate::parse(text).unwrap();
        let texts = Texts {
            title: template("{sender}"),
            body: template("{body}"),
            title_fallback: "New".to_owned(),
            body_fallback: "Open".to_owned(),
        };
        let (full, ids) = (notification(message()), notification(json!({ "event_id": "$e" })));
        assert_eq!([texts.title(&full), texts.body(&full)], ["Alice", "Hello"]);
        assert_eq!([texts.title(&ids), texts.body(&ids)], ["New", "Open"]);
    }

    #[test]
    fn anything_else_in_braces_is_refused() {
        for wrong in ["{Sender}", "{}", "{sender", "{{sender}}", "{ sender }", "{counts}"] {
            assert!(TextTemplate::parse(wrong).unwrap_err().contains("{event_id}"), "{wrong}");
        }
        assert!(TextTemplate::parse("a } b").is_ok());
    }
}
