//! The JSON of a payload, byte for byte as older gateways write it: `", "` and `": "` between values, and only the escapes that
//! JSON requires. Texts are cut at the same character, so that a migration can be compared.
//!
//! Invariant: the length of a member is exactly what it adds to the text, so that fitting counts without writing.

use std::borrow::Cow;
use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::ser::Formatter;

/// An object whose members are written in the order in which they were set.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Vec<Member>);

/// One member of an [`Object`].
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub(super) key: Cow<'static, str>,
    pub(super) value: Node,
    /// Whether it came from a default payload.
    pub(super) given: bool,
}

/// An object that the gateway changes, or a value that it writes unchanged.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Object(Object),
    Value(Value),
}

impl Object {
    /// Sets a member of the gateway; replaces a member with the same key in place.
    pub(super) fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Node>) {
        let (key, value, given) = (key.into(), value.into(), false);
        match self.0.iter_mut().find(|member| member.key == key) {
            Some(member) => (member.value, member.given) = (value, given),
            None => self.0.push(Member { key, value, given }),
        }
    }

    /// Adds a member of a default payload; the key must be new.
    pub(super) fn give(&mut self, key: String, value: impl Into<Node>) {
        self.0.push(Member { key: Cow::Owned(key), value: value.into(), given: true });
    }

    pub(super) fn node(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|member| member.key == key).map(|member| &member.value)
    }

    pub(super) fn node_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|member| member.key == key).map(|member| &mut member.value)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Node> {
        let at = self.0.iter().position(|member| member.key == key)?;
        Some(self.0.remove(at).value)
    }

    /// The object under `key`; replaces any other value.
    pub(super) fn object_mut(&mut self, key: &'static str) -> &mut Self {
        if !matches!(self.node(key), Some(Node::Object(_))) {
            self.set(key, Self::default());
        }
        match self.node_mut(key) {
            Some(Node::Object(object)) => object,
            _ => unreachable!("set above"),
        }
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.0
    }

    /// The members without the objects.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().filter_map(|member| match &mut member.value {
            Node::Value(value) => Some((&*member.key, value)),
            Node::Object(_) => None,
        })
    }

    /// Keeps the members whose position passes `keep`.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize) -> bool) {
        let mut place = 0;
        self.0.retain(|_| {
            place += 1;
            keep(place - 1)
        });
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512);
        write(self, &mut bytes);
        bytes
    }

    /// The shortest text.
    pub(super) fn to_compact_bytes(&self) -> Vec<u8> {
        // Keys are texts, so they always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(super) fn length(&self) -> usize {
        length(self)
    }
}

impl Member {
    /// The length of `"key": value`.
    pub(super) fn length(&self) -> usize {
        length(&self.key) + 2 + length(&self.value)
    }
}

/// The length of a value's text.
pub(super) fn length<T: Serialize + ?Sized>(value: &T) -> usize {
    let mut count = Count(0);
    write(value, &mut count);
    count.0
}

/// The number of bytes of `letter` inside a text.
pub(super) fn letter_length(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => letter.len_utf8(),
    }
}

#[expect(clippy::expect_used, reason = "keys are texts and writing to memory succeeds")]
fn write<T: Serialize + ?Sized>(value: &T, to: impl io::Write) {
    value.serialize(&mut serde_json::Serializer::with_formatter(to, Spaced)).expect("JSON that can be written");
}

struct Count(usize);

impl io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Spaced;

impl Formatter for Spaced {
    fn begin_array_value<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for member in &self.0 {
            map.serialize_entry(&member.key, &member.value)?;
        }
        map.end()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(object) => object.serialize(serializer),
            Self::Value(value) => value.serialize(serializer),
        }
    }
}

impl From<Object> for Node {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Value>> From<T> for Node {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use serde_json::{Value, json};

    use super::{Object, length, letter_length};

    fn text(value: Value) -> String {
        let mut object = Object::default();
        object.set("v", value);
        String::from_utf8(object.to_bytes()).unwrap()
    }

    #[test]
    fn values_are_separated_by_blanks_and_only_controls_and_quotes_are_escaped() {
        for (value, expected) in [
            (json!([1, "a", [], {}, [null, true]]), r#"{"v": [1, "a", [], {}, [null, true]]}"#),
            (json!({"a": {"b": -1.5}}), r#"{"v": {"a": {"b": -1.5}}}"#),
            (json!("a/b </i> é ✓ 🐇 \u{2028}\u{2029}\u{7f}"), "{\"v\": \"a/b </i> é ✓ 🐇 \u{2028}\u{2029}\u{7f}\"}"),
            (json!("\n\t\r\u{8}\u{c}\"\\\0\u{1f}"), r#"{"v": "\n\t\r\b\f\"\\\u0000\u001f"}"#),
        ] {
            assert_eq!(text(value), expected);
        }
        assert_eq!(Object::default().to_bytes(), b"{}");
    }

    #[test]
    fn members_keep_their_first_position() {
        let mut object = Object::default();
        object.give(String::from("z"), 1);
        object.give(String::from("a"), 2);
        object.set("m", 3);
        object.set("z", "ours");
        object.object_mut("a").set("x", 4);
        assert_eq!(object.to_bytes(), br#"{"z": "ours", "a": {"x": 4}, "m": 3}"#);
        assert!(!object.members()[0].given);
        assert!(object.take("a").is_some());
        assert!(object.take("a").is_none());
        assert_eq!(object.to_bytes(), br#"{"z": "ours", "m": 3}"#);
    }

    proptest! {
        #[test]
        fn a_length_is_the_length_of_the_written_text(text in any::<String>(), key in any::<String>()) {
            assert_eq!(length(&text), text.chars().map(letter_length).sum::<usize>() + 2);
            let mut object = Object::default();
            object.set(key, text);
            assert_eq!(object.length(), object.to_bytes().len());
            assert_eq!(object.members()[0].length() + 2, object.length());
        }
    }
}
