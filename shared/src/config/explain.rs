//! Puts the messages of the deserializer into the form of all errors: `[section] key: found X; expected A, B or C`.
//!
//! Invariant: an unknown key suggests the nearest known key, and no message shows a value that may be a secret.

use super::key;
use super::value::Value;

/// Endings of the names of keys whose values may be a secret.
const SECRET_NAMES: [&str; 12] = [
    "password",
    "secret",
    "secret_previous",
    "token",
    "key",
    "keys",
    "url",
    "proxy",
    "account",
    "body",
    "headers",
    "sid",
];

/// Keys that end so and hold no secret.
const PUBLIC_NAMES: [&str; 9] = [
    "max_body",
    "public_base_url",
    "public_url",
    "help_url",
    "privacy_url",
    "base_url",
    "token_url",
    "per_key",
    "per_pushkey",
];

/// Names of keys in other programs, and ours.
const RENAMED: [(&str, &str); 6] = [
    ("environment", "platform"),
    ("sandbox", "platform"),
    ("use_sandbox", "platform"),
    ("bundle_id", "topic"),
    ("certfile", "cert_file"),
    ("keyfile", "key_file"),
];

/// Puts the key in front of serde's message. An unknown key gets the nearest known key.
pub(super) fn explain(mut keys: Vec<String>, message: &str) -> String {
    let Some(unknown) = unknown_field(message) else {
        let problem = problem(message);
        return if keys.is_empty() { problem } else { format!("{}: {problem}", key::print(&keys)) };
    };
    // serde_path_to_error's path may already end with the unknown key.
    if keys.last().is_none_or(|last| last != unknown) {
        keys.push(unknown.to_owned());
    }
    let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let distance = |known: &str| strsim::damerau_levenshtein(known, unknown);
    let meant = RENAMED.iter().find(|(other, _)| *other == unknown).map(|(_, ours)| *ours);
    let meant = meant.filter(|ours| known.contains(ours));
    let nearest = meant.or_else(|| known.iter().copied().min_by_key(|known| distance(known)));
    let (name, is_section) = (key::print(&keys), keys.len() == 1);
    match nearest {
        // A section of another name has little in common with ours.
        Some(nearest) if is_section => format!("{name}: unknown section; did you mean [{nearest}]?"),
        Some(nearest) if meant.is_some() || distance(nearest) <= unknown.len().max(4) / 2 => {
            format!("{name}: unknown key; did you mean {nearest}?")
        }
        Some(_) => format!("{name}: unknown key; expected one of {}", known.join(", ")),
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
    match message {
        "invalid socket address syntax" => {
            return "expected an address with its port, such as \"127.0.0.1:8090\"".to_owned();
        }
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            return "expected a whole number".to_owned();
        }
        "number too large to fit in target type" => return "expected a smaller number".to_owned(),
        _ => {}
    }
    if let Some(key) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return format!("{key} is missing; set it");
    }
    if let Some((found, known)) = message.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, ")) {
        let known: Vec<String> = known.split('`').skip(1).step_by(2).map(|word| format!("\"{word}\"")).collect();
        return format!("found \"{found}\"; expected {}", alternatives(&known));
    }
    let of_type = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = of_type.and_then(|rest| rest.rsplit_once(", expected ")) {
        // `string "x"`, `unsigned integer `5``, `sequence`.
        let value = match found {
            "map" => "a table".to_owned(),
            "sequence" => "a list".to_owned(),
            "null" | "unit value" => "nothing".to_owned(),
            // It belongs into a section, or it may be any key of one.
            _ if expected.starts_with("struct ") && found.starts_with("string ") => "a text".to_owned(),
            found => found.find(['"', '`']).map_or(found, |start| &found[start..]).replace('`', ""),
        };
        // `name.example = "x"` is a table in a table.
        let is_dotted = found == "map" && plain_type(expected) == "a text";
        let advice = if is_dotted { "; a name with a dot is written in quotes" } else { "" };
        return format!("found {value}; expected {}{advice}", plain_type(expected));
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
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, at least 0",
        "i8" | "i16" | "i32" | "i64" => "a whole number",
        integer if integer.ends_with("integer") => "a whole number",
        "f32" | "f64" | "a floating point" => "a number",
        "bool" | "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        "a map" => "a table",
        structure if structure.starts_with("struct ") => "a table of keys",
        other => other,
    }
}

/// An error of a check with the value that was found, unless it has it already or the value may be a secret.
pub(super) fn with_found(text: &str, value: Option<&Value>, key: &str) -> String {
    let Some((name, problem)) = text.split_once(": ") else { return text.to_owned() };
    let problem = found_first(problem);
    let is_secret = SECRET_NAMES.iter().any(|ending| key.ends_with(ending)) && !PUBLIC_NAMES.contains(&key);
    // `[section] key[2]` is about an entry of a list.
    let index = name.strip_suffix(']').and_then(|name| name.rsplit_once('[')).and_then(|(_, index)| index.parse().ok());
    let value = match (value, index) {
        (Some(Value::List(values)), Some(index)) => values.get::<usize>(index),
        (value, _) => value,
    };
    match value.filter(|value| {
        problem.starts_with("expected ") && !is_secret && !matches!(value, Value::List(_) | Value::Table(_))
    }) {
        Some(value) => format!("{name}: found {value}; {problem}"),
        None => format!("{name}: {problem}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Value, problem, with_found};

    #[test]
    fn what_was_found_precedes_what_is_expected() {
        for (message, expected) in [
            ("unknown variant `tall`, expected `wide` or `narrow`", "found \"tall\"; expected \"wide\" or \"narrow\""),
            ("unknown variant `x`, expected one of `a`, `b`, `c`", "found \"x\"; expected \"a\", \"b\" or \"c\""),
            ("invalid type: string \"x y\", expected u16", "found \"x y\"; expected a whole number from 0 to 65535"),
            ("invalid type: sequence, expected a boolean", "found a list; expected true or false"),
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
    fn the_name_of_a_key_in_other_programs_leads_to_ours() {
        let message = "unknown field `environment`, expected one of `platform`, `endpoint`, `topic`";
        let keys = ["apps".to_owned(), "\"x\"".to_owned()].to_vec();
        assert_eq!(super::explain(keys, message), "[apps.\"x\"] environment: unknown key; did you mean platform?");
    }

    #[test]
    fn a_value_that_may_be_a_secret_is_not_shown() {
        let value = Value::Text("hunter2".to_owned());
        let text = |key: &str| with_found(&format!("[email] {key}: expected x"), Some(&value), key);
        assert_eq!(text("helo_name"), "[email] helo_name: found \"hunter2\"; expected x");
        assert_eq!(text("password"), "[email] password: expected x");
        assert_eq!(text("database_url"), "[email] database_url: expected x");
    }
}
