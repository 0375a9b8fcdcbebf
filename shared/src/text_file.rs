//! Text files of secrets as mail, shells, editors and CI systems leave them.
//!
//! Invariant: no error contains a part of the file.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Base64 as it is pasted: with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The shortest text that may be the base64 of a whole file.
const MIN_BASE64: usize = 40;

/// Why a file has no usable text; the subject is the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but blanks.
    #[error("is empty")]
    Empty,
    /// UTF-16.
    #[error("is UTF-16 text, as some Windows programs write it; save it as UTF-8")]
    Utf16,
    /// Neither UTF-8 nor UTF-16.
    #[error("is not UTF-8 text; export or copy it again")]
    Binary,
}

/// The text of a file, without a byte order mark.
///
/// # Errors
/// [`TextError`] for an empty file and for one that is not UTF-8.
pub fn decode(bytes: &[u8]) -> Result<&str, TextError> {
    if is_utf16(bytes) {
        return Err(TextError::Utf16);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| TextError::Binary)?.trim_start_matches('\u{feff}');
    if trimmed(text).is_empty() { Err(TextError::Empty) } else { Ok(text) }
}

/// `text` without blanks at its ends, invisible ones included.
pub fn trimmed(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// `text` without blanks at its ends and without one pair of quotes around it.
pub fn unquoted(text: &str) -> &str {
    let text = trimmed(text);
    let within = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
    ['"', '\''].into_iter().find_map(within).map_or(text, trimmed)
}

/// The content that `text` is the base64 of, if it is: CI systems store files so.
pub fn of_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = base64_characters(text);
    (text.len() >= MIN_BASE64).then(|| BASE64.decode(text.as_str()).ok())?.map(Zeroizing::new)
}

/// The content of a base64 text with blanks anywhere.
pub(crate) fn base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    BASE64.decode(base64_characters(text).as_str()).ok().map(Zeroizing::new)
}

/// `content` in base64, without line breaks.
pub(crate) fn to_base64(content: &[u8]) -> String {
    BASE64.encode(content)
}

fn base64_characters(text: &str) -> Zeroizing<String> {
    Zeroizing::new(text.chars().filter(|&c| !is_blank(c)).collect())
}

/// Blanks, line breaks, and characters of no width, which copying from a web page or a chat adds.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{feff}' | '\u{200b}'..='\u{200d}' | '\u{2060}')
}

fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        // Without a mark, the zero byte of each ASCII character shows it.
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] => a.is_ascii_graphic() && b.is_ascii_graphic(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{TextError, decode, of_base64, unquoted};

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text_and_other_encodings_are_named() {
        assert_eq!(decode("\u{feff}hunter2\n".as_bytes()), Ok("hunter2\n"));
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        for (bytes, error) in [
            (Vec::new(), TextError::Empty),
            (b" \r\n".to_vec(), TextError::Empty),
            ("\u{feff}\u{200b}".as_bytes().to_vec(), TextError::Empty),
            (utf16("\u{feff}hunter2"), TextError::Utf16),
            (utf16("hunter2"), TextError::Utf16),
            (vec![0x30, 0x82, 0xff, 0x00], TextError::Binary),
        ] {
            assert_eq!(decode(&bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn one_pair_of_quotes_around_the_whole_text_is_removed() {
        for (text, expected) in [
            ("\"a b\"\n", "a b"),
            (" 'a' ", "a"),
            ("\u{200b}a\u{a0}", "a"),
            ("\"a'", "\"a'"),
            ("\"", "\""),
            ("\"\"a\"\"", "\"a\""),
        ] {
            assert_eq!(unquoted(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_base64_of_a_whole_file_is_decoded() {
        let text = "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCIsIC\n JwYWRkaW5nIjogIm5vbmUifQ";
        assert!(of_base64(text).unwrap().starts_with(b"{\"type\": \"service_account\""));
        for other in ["c2hvcnQ=", "{\"type\": \"service_account\", \"padding\": \"none\"}"] {
            assert!(of_base64(other).is_none(), "{other}");
        }
    }
}
