//! The values of a template, and how they are escaped for HTML and URLs.
//!
//! Invariant: no value contains a line break or a character that changes the direction of the text around it.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::TemplateKind;
use crate::domain::shown_text::plain;

/// The values that a template may name. An unknown name renders as nothing.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    texts: BTreeMap<&'static str, String>,
    /// The HTML of a value that has parts of its own.
    marked: BTreeMap<&'static str, String>,
}

impl Variables {
    /// Adds a value. Each run of control and bidirectional formatting characters becomes one space, so no value can
    /// start a line, end a header or reverse the text around it.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.texts.insert(name, plain(value));
    }

    /// Adds the value `first (second)`, of which HTML isolates each part.
    pub fn set_pair(&mut self, name: &'static str, first: &str, second: &str) {
        let (first, second) = (plain(first), plain(second));
        let html = format!("<strong>{}</strong> ({})", isolated(&first), isolated(&second));
        self.marked.insert(name, html);
        self.texts.insert(name, format!("{first} ({second})"));
    }

    /// The value of `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The value of `name` as HTML.
    pub(super) fn html(&self, name: &str) -> Option<String> {
        self.marked.get(name).cloned().or_else(|| self.find(name).map(isolated))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.texts.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// A value for every name of this kind, to check a template with: the name itself.
    pub(super) fn sample(kind: TemplateKind) -> Self {
        let texts = kind.variables().map(|name| (name, name.to_owned())).collect();
        Self { texts, marked: BTreeMap::new() }
    }
}

fn isolated(value: &str) -> String {
    format!("<bdi>{}</bdi>", escape_html(value))
}

/// Escapes for HTML text and quoted attributes, with the entities that Jinja writes.
pub(super) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Percent-encodes all but the unreserved characters of RFC 3986 and the slash, as Jinja does.
pub(super) fn escape_url(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');
    utf8_percent_encode(text, ESCAPED).to_string()
}
