//! JSON that is parsed one level at a time: a member that is invalid or nested too deeply does not affect the others.
//!
//! Invariant: the time is linear in the text, and the recursion is bounded by [`MAX_DEPTH`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The maximum nesting of lists and objects, the outermost one included.
pub(super) const MAX_DEPTH: usize = 64;

/// The number of members of a typical object.
const USUAL_MEMBERS: usize = 16;

/// A value with valid syntax that is not parsed yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw<'a>(&'a str);

/// The kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Type {
    Null,
    Bool,
    Number,
    Text,
    List,
    Object,
}

impl<'a> Raw<'a> {
    /// Reads `text` as one value; `None` for invalid syntax.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str::<&RawValue>(text).ok().map(|raw| Self(raw.get()))
    }

    pub(super) fn kind(self) -> Type {
        match self.0.as_bytes().first() {
            Some(b'"') => Type::Text,
            Some(b'{') => Type::Object,
            Some(b'[') => Type::List,
            Some(b't' | b'f') => Type::Bool,
            Some(b'n') | None => Type::Null,
            Some(_) => Type::Number,
        }
    }

    /// The members of an object; `None` for any other value, or if a name contains a lone surrogate.
    pub(super) fn members(self) -> Option<Members<'a>> {
        if self.kind() == Type::Object { serde_json::from_str(self.0).ok() } else { None }
    }

    /// The members of each object in a list; `None` if [`Raw::members`] is `None` for an item.
    pub(super) fn objects(self) -> Option<Vec<Members<'a>>> {
        serde_json::from_str(self.0).ok()
    }

    /// The items of a list; `None` for any other value.
    pub(super) fn items(self) -> Option<Vec<Raw<'a>>> {
        serde_json::from_str::<Items<'a>>(self.0).ok().map(|Items(items)| items)
    }

    /// The text; `None` for any other value, or if it contains a lone surrogate.
    pub(super) fn text(self) -> Option<String> {
        match self.0.strip_prefix('"')?.strip_suffix('"') {
            Some(plain) if !plain.contains('\\') => Some(plain.to_owned()),
            _ => serde_json::from_str(self.0).ok(),
        }
    }

    pub(super) fn bool(self) -> Option<bool> {
        self.0.parse().ok()
    }

    /// The digits of a number, as received.
    pub(super) fn number(self) -> Option<&'a str> {
        if self.kind() == Type::Number { Some(self.0) } else { None }
    }

    /// The whole value; `None` if it contains a lone surrogate or a number out of range. The caller has checked its depth with
    /// [`is_deeper_than`](Self::is_deeper_than).
    pub(super) fn value(self) -> Option<Value> {
        serde_json::from_str(self.0).ok()
    }

    /// An object without its unreadable members; `None` for any other value.
    pub(super) fn object(self) -> Option<Map<String, Value>> {
        self.members().map(Members::into_object)
    }

    /// Whether lists and objects are nested in more than `limit` levels.
    pub(super) fn is_deeper_than(self, limit: usize) -> bool {
        // Every level takes at least two characters.
        if self.0.len() / 2 <= limit || !matches!(self.kind(), Type::List | Type::Object) {
            return false;
        }
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        for byte in self.0.bytes() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = in_text,
                b'"' => in_text = !in_text,
                _ if in_text => {}
                b'[' | b'{' => {
                    depth += 1;
                    if depth > limit {
                        return true;
                    }
                }
                b']' | b'}' => depth -= 1,
                _ => {}
            }
        }
        false
    }
}

/// The members of an object in the order of the text.
#[derive(Debug)]
pub(super) struct Members<'a>(Vec<(Cow<'a, str>, Raw<'a>)>);

impl<'a> Members<'a> {
    /// The members of the object `text` without `inner`, and the members of the object `inner`, in one pass. `None` if one of
    /// them is not an object.
    pub(super) fn parse_both(text: &'a str, inner: &str) -> Option<(Self, Self)> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let (outer, inner) = Both { inner }.deserialize(&mut deserializer).ok()?;
        deserializer.end().ok()?;
        Some((outer, inner?))
    }

    /// The object without its unreadable members.
    pub(super) fn into_object(self) -> Map<String, Value> {
        let mut object = Map::new();
        for (name, raw) in self.0 {
            match raw.value() {
                Some(value) => object.insert(name.into_owned(), value),
                None => object.remove(name.as_ref()),
            };
        }
        object
    }

    /// The other members.
    pub(super) fn without(self, names: &[&str]) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| !names.contains(&name.as_ref())).collect())
    }

    /// The last member with that name; `null` counts as missing.
    pub(super) fn find(&self, name: &str) -> Option<Raw<'a>> {
        let last = self.0.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, raw)| *raw).filter(|raw| raw.kind() != Type::Null)
    }

    /// All members, including those that a later member with the same name replaces.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Raw<'a>)> {
        self.0.iter().map(|(name, raw)| (name.as_ref(), *raw))
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(USUAL_MEMBERS);
                while let Some((Name(name), raw)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, Raw(raw.get())));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// Parses an object and one of its members in one pass.
struct Both<'n> {
    inner: &'n str,
}

impl<'de> DeserializeSeed<'de> for Both<'_> {
    type Value = (Members<'de>, Option<Members<'de>>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Both<'_> {
    type Value = (Members<'de>, Option<Members<'de>>);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut outer, mut inner) = (Vec::new(), None);
        while let Some(Name(name)) = map.next_key()? {
            if name == self.inner {
                inner = Some(map.next_value()?);
            } else {
                outer.push((name, Raw(map.next_value::<&RawValue>()?.get())));
            }
        }
        Ok((Members(outer), inner))
    }
}

/// The name of a member, borrowed if it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The items of a list.
struct Items<'a>(Vec<Raw<'a>>);

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemsVisitor;

        impl<'de> Visitor<'de> for ItemsVisitor {
            type Value = Items<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                    items.push(Raw(raw.get()));
                }
                Ok(Items(items))
            }
        }

        deserializer.deserialize_seq(ItemsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Raw, Type};
    use serde_json::json;

    fn raw(text: &str) -> Raw<'_> {
        Raw::parse(text).unwrap()
    }

    #[test]
    fn the_last_of_equal_names_counts_and_null_is_missing() {
        let members = raw(r#" {"a":1,"b":2,"\u0061":3,"b":null} "#).members().unwrap();
        assert_eq!(members.find("a").unwrap().number(), Some("3"));
        assert!(members.find("b").is_none() && members.find("c").is_none());
        assert_eq!(members.iter().count(), 4);
    }

    #[test]
    fn an_unreadable_member_is_missing_and_the_others_are_present() {
        let object = raw(r#"{"a":"\ud800","b":1e400,"c":["x"],"d":1,"d":{"e":-1e999}}"#).object();
        assert_eq!(serde_json::Value::from(object.unwrap()), json!({ "c": ["x"] }));
        assert!(raw(r#"{"\udc00":1}"#).object().is_none());
        for other in ["[]", "5", "\"x\"", "true", "null"] {
            assert!(raw(other).object().is_none() && raw(other).members().is_none(), "{other}");
        }
    }

    #[test]
    fn brackets_in_texts_do_not_count_as_depth() {
        assert!(!raw(r#"{"a":["[[[","\"[[",{}]}"#).is_deeper_than(3));
        assert!(raw(r#"{"a":["[[[",[{}]]}"#).is_deeper_than(3));
        assert!(raw(r#"{"\\":[{"\\\"":[[]]}]}"#).is_deeper_than(4));
        assert!(!raw(r#"{"\\":[{"\\\"":[[]]}]}"#).is_deeper_than(5));
        assert!(!raw("5").is_deeper_than(0) && raw("[]").is_deeper_than(0));
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        assert!(raw(&deep).is_deeper_than(64));
    }

    #[test]
    fn invalid_json_is_found_at_any_depth() {
        for text in ["", "{", "{\"a\":NaN}", "[01]", "{'a':1}", "[1,]", "\"\n\"", "nul", "{}{}", "[\"\\x\"]"] {
            assert!(Raw::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn the_first_character_decides_the_kind() {
        for (text, kind) in [
            ("null", Type::Null),
            ("false", Type::Bool),
            ("-1.5e3", Type::Number),
            ("\"\"", Type::Text),
            (" [ ]", Type::List),
            ("{}", Type::Object),
        ] {
            assert_eq!(raw(text).kind(), kind, "{text}");
        }
        assert_eq!(raw("true").bool(), Some(true));
        assert_eq!(raw("\"true\"").bool(), None);
    }
}
