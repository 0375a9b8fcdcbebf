//! A setting as it is written, and how it becomes a value of a type.
//!
//! Invariant: a value keeps the type that is written, except that a text may be a number or a truth value, because every
//! value of the environment is a text.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{Error as _, IntoDeserializer, Unexpected, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};
use toml::de::{DeTable, DeValue};

/// A section, or another table.
pub(super) type Table = BTreeMap<String, Value>;

/// One setting.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// A date or a time: no setting is one.
    Date(String),
    /// A number that no setting can hold.
    Large(String),
    List(Vec<Value>),
    Table(Table),
}

impl Value {
    /// The table of a TOML text.
    pub(super) fn table(toml: &DeTable<'_>) -> Table {
        toml.iter().map(|(key, value)| (key.get_ref().clone().into_owned(), Self::of(value.get_ref()))).collect()
    }

    fn of(toml: &DeValue<'_>) -> Self {
        match toml {
            DeValue::String(text) => Self::Text(text.clone().into_owned()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Self::Integer(number),
                Err(_) => Self::Large(number.as_str().to_owned()),
            },
            DeValue::Float(number) => {
                let is_infinite = number.as_str().contains("inf");
                let parsed = number.as_str().parse().ok().filter(|float: &f64| float.is_finite() || is_infinite);
                parsed.map_or_else(|| Self::Large(number.as_str().to_owned()), Self::Float)
            }
            DeValue::Boolean(boolean) => Self::Boolean(*boolean),
            DeValue::Datetime(date) => Self::Date(date.to_string()),
            DeValue::Array(values) => Self::List(values.iter().map(|value| Self::of(value.get_ref())).collect()),
            DeValue::Table(table) => Self::Table(Self::table(table)),
        }
    }

    /// The value of the key at the path below `table`.
    pub(super) fn at<'a>(table: &'a Table, path: &[String]) -> Option<&'a Self> {
        let (last, sections) = path.split_last()?;
        let mut table = table;
        for section in sections {
            match table.get(section)? {
                Self::Table(below) => table = below,
                _ => return None,
            }
        }
        table.get(last)
    }

    /// Sets the key, in sections that are made if they are missing.
    pub(super) fn insert(table: &mut Table, path: &[String], value: Self) {
        match path {
            [] => {}
            [key] => drop(table.insert(key.clone(), value)),
            [section, rest @ ..] => {
                let below = table.entry(section.clone()).or_insert_with(|| Self::Table(Table::new()));
                if !matches!(below, Self::Table(_)) {
                    *below = Self::Table(Table::new());
                }
                if let Self::Table(below) = below {
                    Self::insert(below, rest, value);
                }
            }
        }
    }

    /// Removes the key; false if it is not set.
    pub(super) fn remove(table: &mut Table, path: &[String]) -> bool {
        match path {
            [] => false,
            [key] => table.remove(key).is_some(),
            [section, rest @ ..] => match table.get_mut(section) {
                Some(Self::Table(below)) => Self::remove(below, rest),
                _ => false,
            },
        }
    }

    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Text(text) => Unexpected::Str(text),
            Self::Integer(number) => Unexpected::Signed(*number),
            Self::Float(number) => Unexpected::Float(*number),
            Self::Boolean(boolean) => Unexpected::Bool(*boolean),
            Self::Date(text) | Self::Large(text) => Unexpected::Other(text),
            Self::List(_) => Unexpected::Seq,
            Self::Table(_) => Unexpected::Map,
        }
    }

    fn wrong<'de, V: Visitor<'de>>(&self, visitor: &V) -> Error {
        Error::invalid_type(self.unexpected(), visitor)
    }

    fn whole_number<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        let number = match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => visitor.visit_i64(number),
            None => Err(self.wrong(&visitor)),
        }
    }

    fn number<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Float(number) => visitor.visit_f64(*number),
            Self::Text(text) => match text.trim().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(self.wrong(&visitor)),
            },
            _ => self.whole_number(visitor),
        }
    }
}

impl fmt::Display for Value {
    /// A list and a table without their values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Date(text) | Self::Large(text) => f.write_str(text),
            Self::List(values) if values.is_empty() => f.write_str("an empty list"),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
        }
    }
}

impl IntoDeserializer<'_> for Value {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! read_with {
    ($read:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.$read(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Value {
    type Error = Error;

    read_with!(whole_number: deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128);
    read_with!(number: deserialize_f32 deserialize_f64);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Text(text) | Self::Date(text) => visitor.visit_string(text),
            Self::Integer(number) => visitor.visit_i64(number),
            Self::Float(number) => visitor.visit_f64(number),
            Self::Boolean(boolean) => visitor.visit_bool(boolean),
            Self::Large(_) => Err(self.wrong(&visitor)),
            Self::List(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter())),
            Self::Table(table) => visitor.visit_map(MapDeserializer::new(table.into_iter())),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let found = match &self {
            Self::Boolean(found) => Some(*found),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        match found {
            Some(found) => visitor.visit_bool(found),
            None => Err(self.wrong(&visitor)),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Text(text) => visitor.visit_string(text),
            other => Err(other.wrong(&visitor)),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::List(_) => self.deserialize_any(visitor),
            other => Err(other.wrong(&visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Table(_) => self.deserialize_any(visitor),
            other => Err(other.wrong(&visitor)),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Text(text) => visitor.visit_enum(text.into_deserializer()),
            other => Err(Error::invalid_type(other.unexpected(), &"a string")),
        }
    }

    forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use toml::de::DeTable;

    use super::Value;

    /// The value of `x`.
    fn read<T: DeserializeOwned>(toml: &str) -> Result<T, String> {
        let text = format!("x = {toml}");
        let mut table = Value::table(DeTable::parse(&text).unwrap().get_ref());
        T::deserialize(table.remove("x").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_a_text_may_be_a_number_or_a_truth_value() {
        assert_eq!(read("5"), Ok(5_u16));
        assert_eq!(read("'5'"), Ok(5_u16));
        assert_eq!(read("5"), Ok(5.0));
        assert_eq!(read("'on'"), Ok(true));
        assert_eq!(read("['a']"), Ok(vec!["a".to_owned()]));
        for wrong in ["true", "1.9", "1e3", "70000", "-1", "99999999999999999999", "'x'", "[5]", "{}"] {
            assert!(read::<u16>(wrong).is_err(), "{wrong}");
        }
        for wrong in ["-1", "0", "1", "9223372036854775807", "1.0", "'2'", "[]", "2024-01-01"] {
            assert!(read::<bool>(wrong).is_err(), "{wrong}");
        }
        for wrong in ["true", "5", "1.5", "2024-01-01", "['a']", "{}"] {
            assert!(read::<String>(wrong).is_err(), "{wrong}");
        }
    }
}
