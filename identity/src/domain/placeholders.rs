//! `{name}` placeholders in the operator's short texts: the subject of an invitation, the request of `[sms.http]`.
//!
//! Invariant: a value is inserted once and never parsed as template text.
//!
//! minijinja with `{` and `}` as its delimiters cannot replace this file: other braces stay as they are, as in JSON or
//! `{x} {`, and minijinja rejects or drops them.

/// Replaces each placeholder of `names` by its value. Any other text stays as it is.
pub fn fill(template: &str, names: &[&'static str], value: impl Fn(&'static str) -> String) -> String {
    let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
    while let Some((before, name, after)) = next(rest, names) {
        filled.push_str(before);
        filled.push_str(&value(name));
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The placeholders of `names` in `template`, in order.
pub fn placeholders(template: &str, names: &[&'static str]) -> Vec<&'static str> {
    let (mut found, mut rest) = (Vec::new(), template);
    while let Some((_, name, after)) = next(rest, names) {
        found.push(name);
        rest = after;
    }
    found
}

/// The first placeholder in `template` that would stay as it is: a `{name}` that is none of `names`, `{{name}}`,
/// `%(name)s`, or `%NAME%`.
pub fn unknown(template: &str, names: &[&'static str]) -> Option<String> {
    let is_name = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.'))
    };
    let is_capital = |text: &str| text.len() > 1 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    template.char_indices().find_map(|(at, c)| {
        let rest = &template[at..];
        match c {
            '{' => {
                let inner = rest.trim_start_matches('{');
                let (name, _) = inner.split_once('}')?;
                let opening = rest.len() - inner.len();
                let is_known = opening == 1 && names.contains(&name);
                (!is_known && is_name(name.trim()))
                    .then(|| format!("{}{name}{}", &rest[..opening], "}".repeat(opening)))
            }
            '%' => {
                let formatted = rest.strip_prefix("%(").and_then(|rest| rest.split_once(')'));
                if let Some((name, _)) = formatted.filter(|(name, after)| is_name(name) && after.starts_with('s')) {
                    return Some(format!("%({name})s"));
                }
                let (name, _) = rest[1..].split_once('%')?;
                is_capital(name).then(|| format!("%{name}%"))
            }
            _ => None,
        }
    })
}

/// The names in braces, for the message about an unknown one.
pub fn list(names: &[&'static str]) -> String {
    names.iter().map(|name| format!("{{{name}}}")).collect::<Vec<_>>().join(", ")
}

/// The text before the first placeholder, its name, and the text after it.
fn next<'t>(text: &'t str, names: &[&'static str]) -> Option<(&'t str, &'static str, &'t str)> {
    text.match_indices('{').find_map(|(at, _)| {
        let (name, after) = text[at + 1..].split_once('}')?;
        let name = names.iter().find(|known| **known == name)?;
        Some((&text[..at], *name, after))
    })
}

#[cfg(test)]
mod tests {
    use super::{fill, placeholders, unknown};

    #[test]
    fn a_placeholder_that_would_stay_is_found_in_every_usual_form() {
        for (template, expected) in [
            ("{a} invites you", None),
            ("100 % of {a}, {} and { }, 5% off %", None),
            ("{\"x\": \"{a}\", \"y\": {\"z\": 1}}", None),
            ("{sender} and {a}", Some("{sender}")),
            ("{ a }", Some("{ a }")),
            ("{{ a }}", Some("{{ a }}")),
            ("{{a}}", Some("{{a}}")),
            ("%(a)s", Some("%(a)s")),
            ("%SENDER_NAME_OR_ID% invites you", Some("%SENDER_NAME_OR_ID%")),
            ("{room.name}", Some("{room.name}")),
        ] {
            assert_eq!(unknown(template, &["a", "b"]).as_deref(), expected, "{template}");
        }
    }

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let value = |name: &str| if name == "a" { "{b}".to_owned() } else { "B".to_owned() };
        for (template, filled, names) in [
            ("{a}{b}", "{b}B", &["a", "b"][..]),
            ("{\"x\": \"{a}\", \"y\": {}} {", "{\"x\": \"{b}\", \"y\": {}} {", &["a"]),
            ("{{a}} {c} }{b", "{{b}} {c} }{b", &["a"]),
            ("", "", &[]),
        ] {
            assert_eq!(fill(template, &["a", "b"], value), filled, "{template}");
            assert_eq!(placeholders(template, &["a", "b"]), names, "{template}");
        }
    }
}
