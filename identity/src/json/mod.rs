//! Strict JSON parser for request bodies: unique keys, limited nesting, strings borrowed from the body where possible.
//!
//! Invariant: every accepted document has exactly one meaning. serde_json alone keeps the last of two equal keys.

mod fields;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize, Serializer};

pub use fields::FieldError;

/// The maximum nesting depth of arrays and objects, the outermost one included.
pub const MAX_DEPTH: usize = 64;

/// Invalid JSON: a syntax error, invalid UTF-8, a lone surrogate, a number out of range, a duplicate key, or nesting
/// deeper than [`MAX_DEPTH`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotJson(String);

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number without fraction or exponent that fits into 64 bits.
    Integer(i128),
    /// Any other number.
    Float(f64),
    /// A string without lone surrogates.
    Text(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object.
    Object(Object<'a>),
}

/// A JSON object: unique keys, members in document order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Json<'a>)>);

impl<'a> Json<'a> {
    /// Parses a complete body.
    ///
    /// # Errors
    /// [`NotJson`] with the position of the error; it never quotes the input.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotJson> {
        // One check of the whole body is much cheaper than one for each string.
        let text = std::str::from_utf8(bytes).map_err(|_| NotJson("the body is not UTF-8".to_owned()))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let value = Depth(MAX_DEPTH).deserialize(&mut deserializer).map_err(|error| describe(&error))?;
        deserializer.end().map_err(|error| describe(&error))?;
        Ok(value)
    }
}

fn describe(error: &serde_json::Error) -> NotJson {
    // serde_json's messages may quote the input. `Data` covers only the two messages of this module.
    let reason = match error.classify() {
        serde_json::error::Category::Data => error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        serde_json::error::Category::Eof => "the JSON ends too early".to_owned(),
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "syntax error".to_owned(),
    };
    NotJson(format!("{reason} (line {}, column {})", error.line(), error.column()))
}

impl<'a> Object<'a> {
    /// Parses a body that must be an object.
    ///
    /// # Errors
    /// [`NotJson`], also for every other type of value.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotJson> {
        match Json::parse(bytes)? {
            Json::Object(object) => Ok(object),
            _ => Err(NotJson("expected a JSON object".to_owned())),
        }
    }

    /// Parses a query string or a form (`application/x-www-form-urlencoded`, WHATWG URL) into an object of strings.
    ///
    /// # Errors
    /// [`FieldError::Invalid`] for a duplicate name or invalid UTF-8.
    pub fn from_form(form: &[u8]) -> Result<Object<'static>, FieldError> {
        let mut members = Vec::new();
        // A linear search for each name would let one hostile query use seconds of CPU.
        let mut seen = HashSet::new();
        for (name, value) in url::form_urlencoded::parse(form) {
            // The parser replaces invalid UTF-8 with U+FFFD, which no client sends on purpose.
            if name.contains('\u{FFFD}') || value.contains('\u{FFFD}') {
                return Err(FieldError::invalid(&name, "valid UTF-8"));
            }
            if !seen.insert(name.clone()) {
                return Err(FieldError::invalid(&name, "to be given once"));
            }
            members.push((Cow::Owned(name.into_owned()), Json::Text(Cow::Owned(value.into_owned()))));
        }
        Ok(Object(members))
    }

    /// Parses the query of a link that a browser opened: only the members that are `known`, and only strings. Mail programs
    /// mangle links (`&amp;` stays, parameters are appended, once or twice), so `amp;name` is `name`, and a foreign parameter
    /// is ignored whatever it is.
    ///
    /// # Errors
    /// [`FieldError::Invalid`] for a known name that is given twice, or with invalid UTF-8.
    pub fn from_link(query: &[u8], known: &[&str]) -> Result<Object<'static>, FieldError> {
        let mut members: Vec<(Cow<'static, str>, Json<'static>)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query) {
            let name = name.trim_start_matches("amp;");
            if !known.contains(&name) {
                continue;
            }
            if value.contains('\u{FFFD}') {
                return Err(FieldError::invalid(name, "valid UTF-8"));
            }
            let member = (Cow::Owned(name.to_owned()), Json::Text(Cow::Owned(value.into_owned())));
            if members.iter().any(|(earlier, _)| *earlier == member.0) {
                return Err(FieldError::invalid(name, "to be given once"));
            }
            members.push(member);
        }
        Ok(Object(members))
    }

    /// Adds the members of `defaults` that this object lacks or has as `null`.
    #[must_use]
    pub fn or(mut self, defaults: Self) -> Self {
        self.0.retain(|(_, value)| !matches!(value, Json::Null));
        let own: HashSet<String> = self.0.iter().map(|(name, _)| name.clone().into_owned()).collect();
        self.0.extend(defaults.0.into_iter().filter(|(name, _)| !own.contains(name.as_ref())));
        self
    }

    /// The member with this name, `null` included.
    pub fn find(&self, name: &str) -> Option<&Json<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Parses a value with this many nesting levels left.
#[derive(Clone, Copy)]
struct Depth(usize);

impl<'de> DeserializeSeed<'de> for Depth {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Depth {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Json::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let inner = self.deeper()?;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        while let Some(Key(key)) = map.next_key()? {
            members.push((key, map.next_value_seed(inner)?));
        }
        if has_duplicates(&members) {
            return Err(A::Error::custom("a key is given twice"));
        }
        Ok(Json::Object(Object(members)))
    }
}

impl Depth {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.0 {
            0 => Err(E::custom("nested too deeply")),
            levels => Ok(Self(levels - 1)),
        }
    }
}

fn has_duplicates(members: &[(Cow<'_, str>, Json<'_>)]) -> bool {
    // Requests have few members, for which comparing is cheaper than hashing. Larger objects are rare.
    if members.len() <= 16 {
        members.iter().enumerate().any(|(index, (key, _))| members[..index].iter().any(|(earlier, _)| earlier == key))
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        !members.iter().all(|(key, _)| seen.insert(key.as_ref()))
    }
}

/// A key, borrowed unless it contains an escape.
struct Key<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(value)))
            }

            fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(value.to_owned())))
            }
        }

        deserializer.deserialize_str(KeyVisitor)
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_u64(u64::try_from(*value).map_err(serde::ser::Error::custom)?),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Json, Object};
    use std::borrow::Cow;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn strings_are_borrowed_unless_they_contain_an_escape() {
        let object = Object::parse(br#"{"a":"plain","b":"caf\u00e9"}"#).unwrap();
        assert!(matches!(object.find("a"), Some(Json::Text(Cow::Borrowed("plain")))));
        assert!(matches!(object.find("b"), Some(Json::Text(Cow::Owned(text))) if text == "café"));
    }

    #[test]
    fn ambiguous_or_invalid_json_is_rejected() {
        for bad in [
            &br#"{"a":1,"a":2}"#[..],
            br#"{"a":{"b":1,"b":1}}"#,
            br#"{"a":"\ud800"}"#,
            br#"{"a":NaN}"#,
            br#"{"a":Infinity}"#,
            br#"{"a":1e400}"#,
            b"{\"a\":\"\xff\"}",
            b"{\"a\":1} x",
            b"",
            b"{",
            br#"{"a":'b'}"#,
            b"{\"a\":\"\n\"}",
            b"\xef\xbb\xbf{}",
        ] {
            assert!(Object::parse(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        for not_an_object in ["[]", "null", "\"x\"", "5"] {
            assert!(Object::parse(not_an_object.as_bytes()).is_err(), "{not_an_object}");
        }
    }

    #[test]
    fn a_duplicate_key_is_found_among_many() {
        let members: Vec<String> = (0..1000).map(|n| format!("\"k{n}\":0")).collect();
        assert!(Object::parse(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
        assert!(Object::parse(format!("{{{},\"k7\":1}}", members.join(",")).as_bytes()).is_err());
    }

    #[test]
    fn nesting_is_limited_and_never_overflows_the_stack() {
        assert!(Json::parse(nested(64).as_bytes()).is_ok());
        assert!(Json::parse(nested(65).as_bytes()).is_err());
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_err());
    }

    #[test]
    fn errors_contain_the_position_and_not_the_input() {
        let error = Object::parse(br#"{"password":hunter2}"#).unwrap_err().to_string();
        assert_eq!(error, "syntax error (line 1, column 13)");
        let error = Object::parse(br#"{"a":1,"a":2}"#).unwrap_err().to_string();
        assert!(error.starts_with("a key is given twice"), "{error}");
    }

    #[test]
    fn forms_yield_strings_and_reject_duplicate_names() {
        let form = Object::from_form(b"a=1&b=x%20y+z").unwrap();
        assert_eq!(form.string("b"), Ok("x y z"));
        assert!(Object::from_form(b"a=1&a=2").is_err());
        assert!(Object::from_form(b"a=%ff").is_err());
    }

    #[test]
    fn a_form_with_a_mebibyte_of_names_parses_in_linear_time() {
        // A quadratic comparison would take minutes here.
        let names: Vec<String> = (0..140_000).map(|n| format!("k{n:x}=")).collect();
        let form = names.join("&");
        let started = std::time::Instant::now();
        assert!(Object::from_form(form.as_bytes()).is_ok());
        assert!(Object::from_form(format!("{form}&k7=").as_bytes()).is_err());
        assert!(started.elapsed() < std::time::Duration::from_secs(10));
    }

    #[test]
    fn serialising_returns_the_parsed_document() {
        let text = r#"{"b":[1,-5,18446744073709551615,null,true],"a":{"x":"y"}}"#;
        assert_eq!(serde_json::to_string(&Json::parse(text.as_bytes()).unwrap()).unwrap(), text);
    }
}
