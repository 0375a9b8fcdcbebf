//! How errors print the key of a setting: `[section] key`, as an operator finds it in the file.

use serde_path_to_error::{Path, Segment};

/// Prints a dotted path: `http.bind` as `[http] bind`, `apps."com.example".type` as `[apps."com.example"] type`. A key
/// without a section stays as it is.
pub fn key_name(path: &str) -> String {
    match components(path).as_slice() {
        [key] => key.clone(),
        components => print(components),
    }
}

/// Prints the components of a path. One component alone is a section.
pub(super) fn print(components: &[String]) -> String {
    match components {
        [] => String::new(),
        [section] => format!("[{section}]"),
        [section @ .., key] => format!("[{}] {key}", section.join(".")),
    }
}

/// Splits a dotted path at the dots outside quotes.
pub(super) fn components(path: &str) -> Vec<String> {
    let mut is_quoted = false;
    let is_separator = |c: char| {
        is_quoted ^= c == '"';
        c == '.' && !is_quoted
    };
    path.split(is_separator).map(str::to_owned).collect()
}

/// The components of serde's path, each in quotes if TOML needs them.
pub(super) fn of_path(path: &Path) -> Vec<String> {
    let mut components: Vec<String> = Vec::new();
    for segment in path {
        match segment {
            Segment::Map { key } => components.push(quoted(key)),
            Segment::Enum { variant } => components.push(variant.clone()),
            Segment::Seq { index } => match components.last_mut() {
                Some(key) => key.push_str(&format!("[{index}]")),
                None => components.push(format!("[{index}]")),
            },
            Segment::Unknown => {}
        }
    }
    components
}

/// The path of the key that a message `[section] key: problem` is about, without the index of a list's entry. A section
/// alone is the path of its key.
pub(super) fn named_in(message: &str) -> Option<Vec<String>> {
    let rest = message.strip_prefix('[')?;
    let mut is_quoted = false;
    let end = rest.find(|c: char| {
        is_quoted ^= c == '"';
        c == ']' && !is_quoted
    })?;
    let mut path: Vec<String> = components(&rest[..end]).iter().map(|part| unquoted(part)).collect();
    if let Some(rest) = rest[end + 1..].strip_prefix(' ') {
        let key = match rest.strip_prefix('"') {
            Some(rest) => rest.split('"').next()?,
            None => rest.split([':', ' ', '[', ',']).next()?,
        };
        path.extend((!key.is_empty()).then(|| key.to_owned()));
    }
    Some(path)
}

/// The part without the quotes of TOML.
pub(super) fn unquoted(part: &str) -> String {
    if part.starts_with('"') { serde_json::from_str(part).unwrap_or_else(|_| part.to_owned()) } else { part.to_owned() }
}

/// The key, in quotes if TOML needs them.
pub(super) fn quoted(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
    if is_bare { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests {
    use super::{key_name, named_in};

    #[test]
    fn the_key_of_a_message_is_found() {
        for (message, path) in [
            ("[http] bind: expected x", Some(&["http", "bind"][..])),
            ("[http] bind[1]: expected x", Some(&["http", "bind"])),
            ("[htpt]: unknown section", Some(&["htpt"])),
            ("[apps.\"com.example.App\"] type: missing", Some(&["apps", "com.example.App", "type"])),
            ("[apps.\"*.ios\"]: expected a table", Some(&["apps", "*.ios"])),
            ("[federation.overrides] \"a.b\": expected x", Some(&["federation", "overrides", "a.b"])),
            ("[email] password and password_file are both set", Some(&["email", "password"])),
            ("[a] b: needs addresses, such as [\"10.0.0.5\"]; set it", Some(&["a", "b"])),
            ("no app is configured: write [apps]", None),
        ] {
            let expected = path.map(|path| path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>());
            assert_eq!(named_in(message), expected, "{message}");
        }
    }

    #[test]
    fn a_path_is_printed_as_section_and_key() {
        for (path, printed) in [
            ("http.bind", "[http] bind"),
            ("sms.twilio.auth_token", "[sms.twilio] auth_token"),
            ("apps.\"com.example.App\".type", "[apps.\"com.example.App\"] type"),
            ("apps.\"a.b\"", "[apps] \"a.b\""),
            ("key", "key"),
        ] {
            assert_eq!(key_name(path), printed);
        }
    }
}
