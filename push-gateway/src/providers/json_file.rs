//! JSON in a file with a secret, as browsers, shells and CI systems leave it: quoted, escaped, in base64.
//!
//! Invariant: every copy of the text is erased from memory.

use serde::de::DeserializeOwned;
use shared::text_file::{self, TextError, trimmed};
use zeroize::Zeroizing;

/// How often a text may be wrapped.
const MAX_LAYERS: usize = 6;

/// Why a file cannot be read.
pub(crate) enum NotJson {
    /// It is not text.
    Encoding(TextError),
    /// The text within all layers; it contains a secret.
    Text(Zeroizing<String>),
}

/// Reads the value in a file, and its text.
///
/// # Errors
/// [`NotJson`].
pub(crate) fn read<T: DeserializeOwned>(content: &[u8]) -> Result<(T, Zeroizing<String>), NotJson> {
    let mut text = Zeroizing::new(text_file::decode(content).map_err(NotJson::Encoding)?.to_owned());
    for _ in 0..MAX_LAYERS {
        let bare = trimmed(&text);
        if let Ok(value) = serde_json::from_str(bare) {
            let bare = Zeroizing::new(bare.to_owned());
            return Ok((value, bare));
        }
        match unwrapped(bare) {
            Some(inner) => text = inner,
            None => break,
        }
    }
    Err(NotJson::Text(Zeroizing::new(trimmed(&text).to_owned())))
}

/// The text within one layer of quotes, escapes or base64.
fn unwrapped(text: &str) -> Option<Zeroizing<String>> {
    if let Ok(inner) = serde_json::from_str::<String>(text) {
        return Some(Zeroizing::new(inner));
    }
    let bare = text_file::unquoted(text);
    if bare.len() < text.len() {
        return Some(Zeroizing::new(bare.to_owned()));
    }
    if let Some(inner) = text_file::of_base64(text) {
        return std::str::from_utf8(&inner).ok().map(|inner| Zeroizing::new(inner.to_owned()));
    }
    if text.starts_with("{\\") {
        return serde_json::from_str::<String>(&format!("\"{}\"", *with_escaped_breaks(text, true)))
            .ok()
            .map(Zeroizing::new);
    }
    let escaped = with_escaped_breaks(text, false);
    (escaped.as_str() != text).then_some(escaped)
}

/// `text` with `\n` for each line break within a string of JSON: a shell that prints the file replaces them.
fn with_escaped_breaks(text: &str, mut is_in_string: bool) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len()));
    let is_whole = is_in_string;
    let mut is_escaped = false;
    for c in text.chars() {
        match c {
            '\n' if is_in_string => out.push_str("\\n"),
            '\r' if is_in_string => {}
            _ => out.push(c),
        }
        if c == '"' && !is_escaped && !is_whole {
            is_in_string = !is_in_string;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    out
}
