//! Environment variables with a dot in their name.
//!
//! The configuration library reads a dot as the separator of sections, but app_ids and server names contain dots:
//! `PUSH_GATEWAY__APPS__com.example.app__KEY`.
//!
//! Invariant: no other variable is touched.

use std::collections::HashMap;
use std::fmt::Write;

use config::Environment;

/// The variables that start with `prefix`: those without a dot, and the others as TOML.
pub(super) fn read(prefix: &str) -> (Environment, String) {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    split(prefix, variables)
}

fn split(prefix: &str, variables: impl Iterator<Item = (String, String)>) -> (Environment, String) {
    let prefix_of_names = format!("{}__", prefix.to_uppercase());
    let is_dotted = |(name, _): &(String, String)| name.starts_with(&prefix_of_names) && name.contains('.');
    let (dotted, plain): (Vec<_>, HashMap<_, _>) = {
        let (dotted, plain): (Vec<_>, Vec<_>) = variables.partition(is_dotted);
        (dotted, plain.into_iter().collect())
    };
    let mut toml = String::new();
    for (name, value) in dotted.into_iter().filter(|(_, value)| !value.is_empty()) {
        let parts = name[prefix_of_names.len()..].split("__");
        let key = |part: &str| {
            let part = if part.contains('.') { part.to_owned() } else { part.to_lowercase() };
            quoted(&part)
        };
        let path: Vec<String> = parts.map(key).collect();
        // Writing to a string never fails.
        let _ = writeln!(toml, "{} = {}", path.join("."), quoted(&value));
    }
    (Environment::with_prefix(prefix).source(Some(plain)), toml)
}

/// A basic string of TOML. JSON escapes the same characters in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_part_with_a_dot_is_one_key_as_written() {
        let variables = [
            ("PUSH__APPS__com.Example.ios__KEY", "line 1\nline \"2\""),
            ("PUSH__HTTP__BIND", "127.0.0.1:1"),
            ("OTHER__a.b", "x"),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (_, toml) = split("PUSH", owned.into_iter());
        assert_eq!(toml, "\"apps\".\"com.Example.ios\".\"key\" = \"line 1\\nline \\\"2\\\"\"\n");
    }
}
