//! The table of an app as settings of its type.
//!
//! Invariant: a number or a truth value may come as text, because every value of the environment is text.

use serde::de::DeserializeOwned;
use serde_json::Value;
use shared::config::{ConfigError, section};

/// What the error for a text expects where a number or a truth value belongs.
const TYPED: [&str; 3] = ["a whole number", "a number", "true or false"];

/// Reads the table; errors start with `path`.
///
/// # Errors
/// [`ConfigError`] names the key.
pub(crate) fn read_table<T: DeserializeOwned>(path: &str, mut table: Value) -> Result<T, ConfigError> {
    loop {
        let error = match section(path, table.clone()) {
            Ok(settings) => return Ok(settings),
            Err(error) => error,
        };
        // Each round converts one value, and a converted value is no text any more.
        let text = error.to_string();
        let members = table.as_object_mut().into_iter().flatten();
        let wrong = members.into_iter().find_map(|(key, value)| {
            let written = value.as_str()?;
            let problem = format!("[{path}] {key}: found {written:?}; expected ");
            let is_typed = text
                .strip_prefix(&problem)
                .is_some_and(|expected| TYPED.iter().any(|typed| expected.starts_with(typed)));
            let typed = typed(written).filter(|_| is_typed)?;
            Some((value, typed))
        });
        match wrong {
            Some((value, typed)) => *value = typed,
            None => return Err(error),
        }
    }
}

/// A number or a truth value that is written as text.
fn typed(text: &str) -> Option<Value> {
    let value = serde_json::from_str(text.trim()).ok()?;
    matches!(value, Value::Number(_) | Value::Bool(_)).then_some(value)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::read_table;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        number: u8,
        is_on: bool,
        text: String,
    }

    #[test]
    fn numbers_and_truth_values_may_be_text_and_texts_stay() {
        let table = json!({ "number": "8", "is_on": "true", "text": "5" });
        let expected = Settings { number: 8, is_on: true, text: "5".to_owned() };
        assert_eq!(read_table::<Settings>("apps.\"x\"", table).unwrap(), expected);
    }

    #[test]
    fn any_other_text_is_an_error_with_its_key() {
        for (key, value) in [("number", "many"), ("number", "300"), ("is_on", "yes"), ("number", "\"8\"")] {
            let mut table = json!({ "number": 8, "is_on": true, "text": "" });
            table[key] = json!(value);
            let error = read_table::<Settings>("apps.\"x\"", table).unwrap_err().to_string();
            assert!(error.starts_with(&format!("[apps.\"x\"] {key}: ")), "{value}: {error}");
        }
    }
}
