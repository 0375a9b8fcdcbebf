//! The older template language: `%(name)s`, `%(name_forhtml)s`, `%(name_forurl)s` and `%%`.
//!
//! minijinja with `%(` and `)s` as its delimiters cannot replace this file: a `%` that starts no placeholder, as in
//! `5% %d %(x`, has to stay as it is, and minijinja rejects the unclosed delimiter.

use std::collections::BTreeSet;

use super::variables::{Variables, escape_html, escape_url};

/// Replaces the placeholders in `source`; `escape` writes the value of `%(name)s`.
pub(super) fn render(source: &str, variables: &Variables, escape: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        rest = match named.filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
            Some((name, after)) => {
                text.push_str(&value(variables, name, &escape));
                after
            }
            None => {
                text.push('%');
                after.strip_prefix('%').unwrap_or(after)
            }
        };
    }
    text.push_str(rest);
    text
}

/// The names of the placeholders in `source`, without the endings that name an escape.
pub(super) fn names(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (_, after) in source.match_indices("%(").map(|(at, _)| source[at..].split_at(2)) {
        let name = after.split_once(")s").map(|(name, _)| name);
        if let Some(name) = name.filter(|name| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
            let plain = name.strip_suffix("_forhtml").or(name.strip_suffix("_forurl"));
            names.insert(plain.unwrap_or(name).to_owned());
        }
    }
    names
}

fn value(variables: &Variables, name: &str, escape: impl Fn(&str) -> String) -> String {
    let find = |name: &str| variables.find(name);
    if let Some(value) = find(name) {
        escape(value)
    } else if let Some(value) = name.strip_suffix("_forhtml").and_then(find) {
        escape_html(value)
    } else if let Some(value) = name.strip_suffix("_forurl").and_then(find) {
        escape_url(value)
    } else {
        String::new()
    }
}
