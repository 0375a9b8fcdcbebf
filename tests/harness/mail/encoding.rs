//! Decodes the encodings of mail: quoted-printable, base64, encoded words.
//!
//! Invariant: an independent implementation of RFC 2045 and RFC 2047, so that it checks the library that writes the
//! server's mail. Malformed input panics: a test must not accept a broken mail.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A body by its `Content-Transfer-Encoding` (RFC 2045, section 6).
pub(super) fn decode_body(encoding: &str, body: &[u8]) -> Vec<u8> {
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "7bit" => {
            assert!(body.is_ascii(), "an 8-bit body that says 7bit");
            body.to_vec()
        }
        "8bit" => body.to_vec(),
        "base64" => {
            let text: Vec<u8> = body.iter().copied().filter(|c| !c.is_ascii_whitespace()).collect();
            STANDARD.decode(text).expect("a base64 body")
        }
        "quoted-printable" => quoted_printable(body),
        other => panic!("no Content-Transfer-Encoding: {other}"),
    }
}

/// RFC 2045, section 6.7.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|c| *c == b'\n') {
        let content = line.strip_suffix(b"\r\n").unwrap_or(line);
        let line_end = &line[content.len()..];
        assert!(content.len() <= 76, "a quoted-printable line of {} characters", content.len());
        let (content, soft) = match content.trim_ascii_end().strip_suffix(b"=") {
            Some(content) => (content, true),
            None => (content.trim_ascii_end(), false),
        };
        decoded.extend(hex_escapes(content, b'='));
        if !soft {
            decoded.extend_from_slice(line_end);
        }
    }
    decoded
}

/// A header's text with its encoded words decoded (RFC 2047); white space between two of them is removed.
pub(super) fn decode_words(value: &str) -> String {
    let mut decoded = String::new();
    let mut rest = value;
    let mut after_word = false;
    while let Some((before, word, after)) = next_word(rest) {
        if !(after_word && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        (rest, after_word) = (after, true);
    }
    decoded + rest
}

/// The text before the first encoded word, the word decoded, the text after it.
fn next_word(text: &str) -> Option<(&str, String, &str)> {
    let start = text.find("=?")?;
    let (charset, rest) = text[start + 2..].split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (data, after) = rest.split_once("?=")?;
    let length = text.len() - start - after.len();
    assert!(length <= 75, "an encoded word of {length} characters");
    assert!(charset.eq_ignore_ascii_case("utf-8"), "charset {charset}");
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(data).expect("a base64 word"),
        "Q" | "q" => hex_escapes(data.replace('_', " ").as_bytes(), b'='),
        _ => panic!("encoding {encoding} of an encoded word"),
    };
    // RFC 2047, section 5: each word by itself is whole characters.
    Some((&text[..start], String::from_utf8(bytes).expect("whole characters in an encoded word"), after))
}

/// Replaces `marker` and two hexadecimal digits by the byte that they encode.
fn hex_escapes(text: &[u8], marker: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        if *first == marker {
            let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            bytes.push(byte.expect("two hexadecimal digits after the escape"));
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::{decode_body, decode_words};

    #[test]
    fn bodies_are_decoded() {
        let quoted = b"a=3Db =C3=\r\n=A4  \r\nend=20\r\n";
        assert_eq!(decode_body("Quoted-Printable", quoted), "a=b ä\r\nend \r\n".as_bytes());
        assert_eq!(decode_body("base64", b"w6Rh\r\nYQ==\r\n"), "äaa".as_bytes());
        assert_eq!(decode_body("8bit", "ä".as_bytes()), "ä".as_bytes());
    }

    #[test]
    fn encoded_words_are_decoded() {
        // The examples of RFC 2047, section 8, in UTF-8.
        assert_eq!(decode_words("(=?utf-8?Q?a?=)"), "(a)");
        assert_eq!(decode_words("(=?utf-8?Q?a?= b)"), "(a b)");
        assert_eq!(decode_words("(=?UTF-8?Q?a?=\r\n  =?utf-8?b?Yg==?=)"), "(ab)");
        assert_eq!(decode_words("=?utf-8?Q?a_=C3=A4?= x"), "a ä x");
        assert_eq!(decode_words("a =? b"), "a =? b");
    }

    #[test]
    #[should_panic(expected = "an 8-bit body that says 7bit")]
    fn an_undeclared_8_bit_body_is_refused() {
        decode_body("7bit", "ä".as_bytes());
    }

    #[test]
    #[should_panic(expected = "whole characters")]
    fn a_word_with_half_a_character_is_refused() {
        decode_words("=?utf-8?Q?=C3?= =?utf-8?Q?=A4?=");
    }
}
