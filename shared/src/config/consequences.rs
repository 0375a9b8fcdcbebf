//! Which errors follow from others: a key is removed to find further errors, and another key may need it.
//!
//! Invariant: an error that says nothing of a removed key or its section is none.

use super::key;
use super::value::{Table, Value};

/// Whether the error is a consequence of a key that was removed before.
pub(super) fn is_one(text: &str, path: &[String], is_set: bool, removed: &[Vec<String>]) -> bool {
    let section = section(path);
    removed.iter().any(|key| {
        let is_same = key.starts_with(path) || path.starts_with(key);
        let is_neighbour = key.len() > 1 && section == self::section(key);
        let name = key.last().map_or("", String::as_str);
        // Without `password_file` there is no `password`.
        let is_file = is_neighbour && !is_set && path.last().is_some_and(|last| name.starts_with(last.as_str()));
        is_same || is_file || key.starts_with(section) && mentions(text, name)
    })
}

/// Whether an error of the same section names the key at this path: as the one that was meant, or that is needed instead.
pub(super) fn names(text: &str, path: &[String]) -> bool {
    let is_neighbour = key::named_in(text).is_some_and(|other| section(&other) == section(path));
    let problem = text.split_once(": ").map_or("", |(_, problem)| problem);
    is_neighbour && path.last().is_some_and(|key| mentions(problem, key))
}

/// The keys without which the error disappears. A consequence may have others, so that the whole section is removed.
pub(super) fn keys_to_remove(text: &str, path: &[String], table: &Table, is_consequence: bool) -> Vec<Vec<String>> {
    let section = section(path).to_vec();
    if Value::at(table, path).is_some() {
        // A secret that is set twice is set in a file too.
        let of_file = path.last().map(|key| format!("{key}_file")).filter(|file| mentions(text, file));
        let file = of_file.map(|file| section.iter().cloned().chain([file]).collect());
        return std::iter::once(path.to_vec()).chain(file).collect();
    }
    // A key that is not set: the keys that need it, else the whole section.
    let beside = match Value::at(table, &section) {
        Some(Value::Table(beside)) => beside,
        _ => return vec![section],
    };
    let named = beside.keys().filter(|key| !is_consequence && mentions(text, key));
    let named: Vec<_> = named.map(|key| section.iter().cloned().chain([key.clone()]).collect()).collect();
    if named.is_empty() { vec![section] } else { named }
}

fn section(path: &[String]) -> &[String] {
    &path[..path.len().saturating_sub(1).max(1).min(path.len())]
}

/// Whether the text has the name as a whole word.
fn mentions(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty()
        && text.match_indices(name).any(|(start, found)| {
            let (before, after) = (text[..start].chars().next_back(), text[start + found.len()..].chars().next());
            !before.is_some_and(is_part) && !after.is_some_and(is_part)
        })
}

#[cfg(test)]
mod tests {
    use super::{is_one, names};

    #[test]
    fn a_key_that_another_error_suggests_is_not_missing_too() {
        let path = ["apps", "x", "topic"].map(str::to_owned);
        assert!(names("[apps.\"x\"] topik: unknown key; did you mean topic?", &path));
        assert!(!names("[apps.\"y\"] topik: unknown key; did you mean topic?", &path));
        assert!(!names("[apps.\"x\"] platform: expected \"sandbox\"", &path));
    }

    #[test]
    fn an_error_that_needs_a_removed_key_is_a_consequence() {
        let path = |path: &str| path.split('.').map(str::to_owned).collect::<Vec<_>>();
        for (text, key, is_set, removed, expected) in [
            (
                "[http] tls_cert_file: needs tls_key_file; set both",
                "http.tls_cert_file",
                true,
                "http.tls_key_file",
                true,
            ),
            (
                "[limits] mail_global: missing field `burst`",
                "limits.mail_global",
                true,
                "limits.mail_global.burst",
                true,
            ),
            ("[sms.twilio]: missing", "sms.twilio", false, "sms.twilio.auth_token_file", true),
            ("[email] password: not set", "email.password", false, "email.password_file", true),
            ("[apps.a] key: key_id and team_id are needed", "apps.a.key", true, "apps.a.team_id", true),
            ("[email] port: found 0", "email.port", true, "email.host", false),
            ("[email] password: not set, but username is", "email.password", false, "email.port", false),
            ("[http] workers: found 0", "http.workers", true, "email.host", false),
            ("[sms]: missing", "sms", false, "email.host", false),
        ] {
            assert_eq!(is_one(text, &path(key), is_set, &[path(removed)]), expected, "{text}");
        }
    }
}
