//! The older template language: `%(name)s`, `%(name_forhtml)s`, `%(name_forurl)s` and `%%`.
//!
//! minijinja with `%(` and `)s` as its delimiters cannot replace this file: a `%` that starts no placeholder, as in
//! `5% %d %(x`, has to stay as it is, and minijinja rejects the unclosed delimiter.

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
