//! Puts the messages of the deserializer into the form of all errors: `[section] key: found X; expected A, B or C`.
//!
//! Invariant: an unknown key suggests the nearest known key, and no message shows a value that may be a secret.

use config::{Value, ValueKind};

use super::key;

/// Words in the names of keys whose values may hold a secret.
const SECRET_NAMES: [&str; 7] = ["password", "secret", "token", "key", "url", "proxy", "account"];

/// Puts the key in front of serde's message. An unknown key gets the nearest known key.
pub(super) fn explain(mut keys: Vec<String>, message: &str) -> String {
    // config appends " for key `a.b`"; the path already has it.
    let message = message.split(" for key `").next().unwrap_or(message);
    let Some(unknown) = unknown_field(message) else {
        let problem = problem(message);
        return if keys.is_empty() { problem } else { format!("{}: {problem}", key::print(&keys)) };
    };
    // serde_path_to_error's path may already end with the unknown key.
    if keys.last().is_none_or(|last| last != unknown) {
        keys.push(unknown.to_owned());
    }
    let known = message.split('`').skip(3).step_by(2);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
    let (name, is_section) = (key::print(&keys), keys.len() == 1);
    match nearest {
        Some(nearest) if is_section => format!("{name}: unknown section; did you mean [{nearest}]?"),
        Some(nearest) => format!("{name}: unknown key; did you mean {nearest}?"),
        None => format!("{name}: unknown key; the section has no keys"),
    }
}

/// The key in serde's message about a key that the type does not have.
pub(super) fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// `found X; expected …` from a message of serde or of a type of this project.
fn problem(message: &str) -> String {
    // The standard library's message has no example.
    if message == "invalid socket address syntax" {
        return "expected an address with its port, such as \"127.0.0.1:8090\"".to_owned();
    }
    if let Some((found, known)) = message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, ")) {
        let known: Vec<String> = known.split('`').skip(1).step_by(2).map(|word| format!("\"{word}\"")).collect();
        return format!("found \"{found}\"; expected {}", alternatives(&known));
    }
    let of_type = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = of_type.and_then(|rest| rest.split_once(", expected ")) {
        // `string "x"`, `unsigned integer `5``, `sequence`.
        let value = found.find(['"', '`']).map_or(found, |start| &found[start..]).replace('`', "");
        return format!("found {value}; expected {}", plain_type(expected));
    }
    found_first(message)
}

/// `expected A, found X` as `found X; expected A`.
fn found_first(problem: &str) -> String {
    match problem.strip_prefix("expected ").and_then(|rest| rest.rsplit_once(", found ")) {
        Some((expected, found)) => format!("found {found}; expected {expected}"),
        None => problem.to_owned(),
    }
}

/// `A, B or C`.
fn alternatives(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [words @ .., last] => format!("{} or {last}", words.join(", ")),
    }
}

/// Rust's names of types mean nothing to an operator.
fn plain_type(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => "a whole number",
        integer if integer.ends_with("integer") => "a whole number",
        "f32" | "f64" | "a floating point" => "a number",
        "bool" | "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        other => other,
    }
}

/// An error of a check with the value that was found, unless it has it already or the value may be a secret.
pub(super) fn with_found(text: &str, value: Option<&Value>, key: &str) -> String {
    let Some((name, problem)) = text.split_once(": ") else { return text.to_owned() };
    let problem = found_first(problem);
    let is_name = key.ends_with("_file") || key.ends_with("_id");
    let is_secret = key == "body" || !is_name && SECRET_NAMES.iter().any(|word| key.contains(word));
    let found = match value.map(|value| &value.kind) {
        _ if !problem.starts_with("expected ") || is_secret => None,
        Some(ValueKind::String(text)) => Some(format!("{text:?}")),
        Some(ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Float(_)) => value.map(ToString::to_string),
        _ => None,
    };
    match found {
        Some(found) => format!("{name}: found {found}; {problem}"),
        None => format!("{name}: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{problem, with_found};

    #[test]
    fn what_was_found_precedes_what_is_expected() {
        for (message, expected) in [
            ("unknown variant `tall`, expected `wide` or `narrow`", "found \"tall\"; expected \"wide\" or \"narrow\""),
            ("unknown variant `x`, expected one of `a`, `b`, `c`", "found \"x\"; expected \"a\", \"b\" or \"c\""),
            ("invalid type: string \"x y\", expected u16", "found \"x y\"; expected a whole number"),
            ("invalid type: sequence, expected a boolean", "found sequence; expected true or false"),
            (
                "invalid value: unsigned integer `7`, expected an unsigned 8 bit integer",
                "found 7; expected a whole number",
            ),
            ("expected a size such as \"1MiB\", found \"x\"", "found \"x\"; expected a size such as \"1MiB\""),
            ("something else", "something else"),
        ] {
            assert_eq!(problem(message), expected);
        }
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_shown() {
        let value = config::Value::new(None, "hunter2");
        let text = |key: &str| with_found(&format!("[email] {key}: expected x"), Some(&value), key);
        assert_eq!(text("helo_name"), "[email] helo_name: found \"hunter2\"; expected x");
        assert_eq!(text("password"), "[email] password: expected x");
        assert_eq!(text("database_url"), "[email] database_url: expected x");
    }
}
