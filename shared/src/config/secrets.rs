//! Values that are not shown in errors, because a secret was written into a key that holds none.
//!
//! Invariant: an error about a value that may hold a secret does not contain it.

use super::value::Value;

/// What stands for such a value.
const HIDDEN: &str = "\"***\"";

/// The error without values that may hold a secret. `value` is that of its key.
pub(super) fn hidden(text: &str, value: Option<&Value>) -> String {
    let mut text = text.to_owned();
    let mut texts = Vec::new();
    if let Some(value) = value {
        add_texts(value, &mut texts);
    }
    for secret in texts.into_iter().filter(|text| may_hold_secret(text)) {
        let escaped = format!("{secret:?}");
        text = text.replace(&escaped, HIDDEN).replace(&format!("\"{secret}\""), HIDDEN);
        text = text.replace(escaped.trim_matches('"'), "***").replace(secret, "***");
    }
    without_quoted_logins(&text)
}

/// A text with the form of `user:password@host`, of a URL with a password, or of a key in PEM.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let has_login = text.rsplit_once('@').is_some_and(|(login, _)| {
        let login = login.rsplit_once("://").map_or(login, |(_, login)| login);
        // A Matrix ID has its @ before the colon.
        login.split_once(':').is_some_and(|(user, password)| !user.starts_with('@') && !password.is_empty())
    });
    has_login || text.contains("-----BEGIN")
}

fn add_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::Text(text) => {
            texts.push(text);
            texts.extend(text.split(',').map(str::trim).filter(|part| part.len() < text.len()));
        }
        Value::List(values) => values.iter().for_each(|value| add_texts(value, texts)),
        Value::Table(table) => table.values().for_each(|value| add_texts(value, texts)),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Date(_) | Value::Large(_) => {}
    }
}

/// Hides what is in quotes and has the form of a login.
fn without_quoted_logins(text: &str) -> String {
    let parts: Vec<&str> = text.split('"').collect();
    let last = parts.len() - 1;
    let shown = parts.iter().enumerate().map(|(index, part)| {
        let is_quoted = index % 2 == 1 && index < last;
        // An example of what is expected is shown.
        if is_quoted && may_hold_secret(part) && !part.contains("user:password") { "***" } else { part }
    });
    shown.collect::<Vec<_>>().join("\"")
}

#[cfg(test)]
mod tests {
    use super::{Value, hidden, may_hold_secret};

    #[test]
    fn a_login_is_not_shown_and_other_values_are() {
        for secret in
            ["u:hunter2@mx", "postgres://u:hunter2@h/d", "smtp://u:hun@ter2@h", "-----BEGIN PRIVATE KEY-----\nhunter2"]
        {
            let value = Value::Text(secret.to_owned());
            for text in
                [format!("[email] host: found {secret:?}; expected x"), format!("[a] b: cannot read /x/{secret}: no")]
            {
                let text = hidden(&text, Some(&value));
                assert!(!text.contains("hun") && text.contains("***"), "{text}");
            }
            if !secret.contains('\n') {
                assert!(!hidden(&format!("[a] b: found \"{secret}\""), None).contains("hun"));
            }
        }
        let example = "[a] b: expected \"http://user:password@host:port\"";
        assert_eq!(hidden(example, None), example);
        for shown in ["@a:example.org", "https://id.example.org:1/x", "ops@example.org", "[::1]:25", "u@h:25"] {
            assert!(!may_hold_secret(shown), "{shown}");
        }
    }
}
