//! The layers of a configuration: defaults, the file and the environment, each over the one before.
//!
//! The `config` crate lays them over one another. It knows no dates and no numbers beyond its own, which are errors with their
//! place: they pass through it as texts with a mark.
//!
//! Invariant: a value leaves as it was written.

use std::fmt;

use config::{Map, Source, Value as Passed, ValueKind};

use super::value::{Table, Value};

/// The marks of what passes as a text.
const DATE: &str = "date";
const LARGE: &str = "large";

/// One layer.
#[derive(Clone)]
struct Layer(Map<String, Passed>);

impl fmt::Debug for Layer {
    /// Without values: they may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Passed>, config::ConfigError> {
        Ok(self.0.clone())
    }
}

/// The tables as one, in which a later one overrides an earlier one key by key.
///
/// # Errors
/// What the crate rejects: nothing that TOML and the environment can hold.
pub(super) fn laid_over(tables: impl IntoIterator<Item = Table>) -> Result<Table, config::ConfigError> {
    let layers = tables.into_iter().map(|table| Layer(passed_table(table)));
    let settings = layers.fold(config::Config::builder(), |builder, layer| builder.add_source(layer)).build()?;
    Ok(table_of(settings.collect()?))
}

fn passed_table(table: Table) -> Map<String, Passed> {
    table.into_iter().map(|(key, value)| (key, passed(value))).collect()
}

fn passed(value: Value) -> Passed {
    let (mark, kind) = match value {
        Value::Text(text) => (None, ValueKind::String(text)),
        Value::Integer(number) => (None, ValueKind::I64(number)),
        Value::Float(number) => (None, ValueKind::Float(number)),
        Value::Boolean(boolean) => (None, ValueKind::Boolean(boolean)),
        Value::Date(text) => (Some(DATE), ValueKind::String(text)),
        Value::Large(text) => (Some(LARGE), ValueKind::String(text)),
        Value::List(values) => (None, ValueKind::Array(values.into_iter().map(passed).collect())),
        Value::Table(table) => (None, ValueKind::Table(passed_table(table))),
    };
    Passed::new(mark.map(str::to_owned).as_ref(), kind)
}

fn table_of(passed: Map<String, Passed>) -> Table {
    passed.into_iter().map(|(key, value)| (key, value_of(value))).collect()
}

fn value_of(passed: Passed) -> Value {
    let mark = passed.origin().map(str::to_owned);
    match passed.kind {
        ValueKind::String(text) if mark.as_deref() == Some(DATE) => Value::Date(text),
        ValueKind::String(text) if mark.as_deref() == Some(LARGE) => Value::Large(text),
        ValueKind::String(text) => Value::Text(text),
        ValueKind::I64(number) => Value::Integer(number),
        ValueKind::Float(number) => Value::Float(number),
        ValueKind::Boolean(boolean) => Value::Boolean(boolean),
        ValueKind::Array(values) => Value::List(values.into_iter().map(value_of).collect()),
        ValueKind::Table(table) => Value::Table(table_of(table)),
        // No layer has one.
        other @ (ValueKind::Nil | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_)) => {
            Value::Large(other.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::{Value, laid_over};

    #[test]
    fn a_later_layer_overrides_keys_and_every_value_stays_as_written() {
        let table = |toml: &str| Value::table(DeTable::parse(toml).unwrap().get_ref());
        let first = "[a]\nx = 1\ny = 'text'\n['b.c']\nd = 2024-01-01\n";
        let second = "[a]\nx = 99999999999999999999\nz = [1, { u = true }]\n[apps.'com.example']\nt = 1.5\n[e]\n";
        let both =
            "[a]\nx = 99999999999999999999\ny = 'text'\nz = [1, { u = true }]\n[apps.'com.example']\nt = 1.5\n[e]\n";
        let laid = laid_over([table(first), table(second)]).unwrap();
        for key in ["a", "apps", "e"] {
            assert!(laid.get(key) == table(both).get(key), "{key}");
        }
        assert!(laid_over([table("a = 1\n"), table("[a]\nx = 1\n")]).unwrap() == table("[a]\nx = 1\n"));
    }
}
