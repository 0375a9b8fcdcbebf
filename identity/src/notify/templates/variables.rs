//! The values of a template, and how they are escaped for HTML and URLs.
//!
//! Invariant: no value contains a line break or a character that changes the direction of the text around it.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::shown_text::plain;

/// The values that a template may name. An unknown name renders as nothing.
#[derive(Clone, Debug, Default)]
pub struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// Adds a value. Each run of control and bidirectional formatting characters becomes one space, so no value can
    /// start a line, end a header or reverse the text around it.
    pub fn set(&mut self, name: &'static str, value: &str) {
        self.0.insert(name, plain(value));
    }

    /// The value of `name`.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// A value for every name, to check a template with: the name itself.
    pub(super) fn sample() -> Self {
        const NAMES: &str = "date from to messageid multipart_boundary link token ipaddress ephemeral_private_key \
            subject_header_value web_client_location address medium room_id room_alias room_avatar_url room_join_rules \
            room_name bracketed_room_name room_type sender bracketed_verified_sender sender_avatar_url \
            sender_display_name guest_user_id guest_access_token signurl public_base_url register_url mxid new_mxid message";
        Self(NAMES.split_whitespace().map(|name| (name, name.to_owned())).collect())
    }
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
