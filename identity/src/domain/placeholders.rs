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
    use super::{fill, placeholders};

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
