//! The wire form of a message: header fields, line ends, and parts that every relay can carry (RFC 5322, RFC 2045).
//!
//! Invariant: the output of [`transportable`] has CRLF as its only line end and no line over 998 octets.
//!
//! mail-builder 2.0 and mail-parser 0.11 cannot replace this file, because the bytes of a template go out as written:
//! - mail-builder encodes each body with a line over 76 characters or a character outside ASCII, never sends 8bit, and
//!   folds no long word in a header: a value of 2,000 letters became a line of 2,008 octets.
//! - mail-parser finds `--boundary` also in the middle of a line and as a prefix, so `x--b`, `Bcc: evil@x` in a body
//!   parsed as a second part with that field. It skips header lines without a colon, so a text looks like a message.

use lettre::message::Body;
use lettre::message::header::{ContentTransferEncoding, HeaderName, HeaderValue, Headers};

/// The longest line that a message may have, without its CRLF (RFC 5322 section 2.1.1).
pub(super) const MAX_LINE: usize = 998;

const ENCODING: &str = "Content-Transfer-Encoding";

/// One header field, its value unfolded to one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
}

/// Splits a message into its header fields and its body; `None` if it does not start with well-formed fields.
pub(super) fn split_message(text: &str) -> Option<(Vec<Field>, &str)> {
    let mut fields: Vec<Field> = Vec::new();
    let mut rest = text;
    loop {
        let (line, after) = rest.split_once("\r\n").unwrap_or((rest, ""));
        if line.is_empty() {
            return (!fields.is_empty()).then_some((fields, after));
        }
        if line.starts_with([' ', '\t']) {
            let last = fields.last_mut()?;
            last.value.push(' ');
            last.value.push_str(line.trim());
        } else {
            let (name, value) = line.split_once(':')?;
            let well_formed = !name.is_empty() && name.len() <= 76 && name.bytes().all(|b| b.is_ascii_graphic());
            fields.push(well_formed.then(|| Field { name: name.to_owned(), value: value.trim().to_owned() })?);
        }
        rest = after;
    }
}

/// The value of the first field with this name.
pub(super) fn field<'a>(fields: &'a [Field], name: &str) -> Option<&'a str> {
    fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.as_str())
}

/// One header field on the wire: folded, with encoded words for text outside ASCII (RFC 2047).
///
/// Each run of spaces and control characters becomes one space, so that no folded line is blank. A value with a word too
/// long for a line of 998 octets is encoded as a whole, because encoded words can break anywhere.
pub(super) fn header_line(name: &str, value: &str) -> String {
    let words: Vec<&str> = value.split(|c: char| c == ' ' || c.is_control()).filter(|word| !word.is_empty()).collect();
    let value = words.join(" ");
    let Ok(name) = HeaderName::new_from_ascii(name.to_owned()) else { return String::new() };
    let mut headers = Headers::new();
    if value.split(' ').any(|word| word.len() > MAX_LINE - 100) {
        headers.insert_raw(HeaderValue::dangerous_new_pre_encoded(name, value.clone(), encoded_words(&value)));
    } else {
        headers.insert_raw(HeaderValue::new(name, value));
    }
    headers.to_string()
}

/// `value` on one line: as it is if it is ASCII without `=?`, else in encoded words. A mail reader would otherwise decode
/// an encoded word that a homeserver has put into a name.
pub(super) fn unfolded_words(value: &str) -> String {
    let plain = value.bytes().all(|b| (b' '..=b'~').contains(&b)) && !value.contains("=?");
    if plain { value.to_owned() } else { encoded_words(value).replace("\r\n ", " ") }
}

/// `value` as encoded words of at most 75 characters, one word a line.
fn encoded_words(value: &str) -> String {
    use base64::Engine as _;
    let mut words = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(45);
        let (word, after) = rest.split_at(end);
        words.push(format!("=?utf-8?b?{}?=", base64::engine::general_purpose::STANDARD.encode(word)));
        rest = after;
    }
    words.join("\r\n ")
}

/// Turns each CRLF, CR and LF into CRLF. Relays disagree whether a lone CR or LF can end a message.
pub(super) fn with_crlf(text: &str) -> String {
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    unified.replace('\n', "\r\n")
}

/// The message in a form that every relay can carry: lines within the limit and, unless `eight_bit`, only ASCII.
///
/// A part that already fits keeps its bytes. A part outside ASCII is declared as 8bit (RFC 2045 section 6.1). Any other
/// part is encoded.
pub(super) fn transportable(message: &str, eight_bit: bool) -> String {
    if fits(message, false) {
        return message.to_owned();
    }
    match message.split_once("\r\n\r\n") {
        Some((head, body)) => part(head, body, eight_bit),
        None => hard_wrapped(message),
    }
}

fn fits(text: &str, eight_bit: bool) -> bool {
    (eight_bit || text.is_ascii()) && text.split("\r\n").all(|line| line.len() <= MAX_LINE)
}

fn part(head: &str, body: &str, eight_bit: bool) -> String {
    let fields_of = |head: &str| split_message(&format!("{head}\r\n\r\n")).map_or_else(Vec::new, |(fields, _)| fields);
    let fields = fields_of(head);
    let declared = field(&fields, ENCODING).unwrap_or("7bit").to_ascii_lowercase();
    let with_body = |encoding: &str, body: &str| {
        let head = if encoding == declared { head.to_owned() } else { redeclared(head, encoding) };
        format!("{}\r\n{body}", head_lines(&format!("{head}\r\n\r\n"), &fields_of(&head), eight_bit))
    };
    let content_type = field(&fields, "Content-Type").unwrap_or("text/plain");
    if let Some(boundary) = boundary(content_type) {
        let body = if fits(body, false) { body.to_owned() } else { parts(body, &boundary, eight_bit) };
        return with_body(if body.is_ascii() { "7bit" } else { "8bit" }, &body);
    }
    if fits(body, eight_bit) {
        return with_body(if declared == "7bit" && !body.is_ascii() { "8bit" } else { &declared }, body);
    }
    if !matches!(declared.as_str(), "7bit" | "8bit" | "binary") {
        // The template declares an encoding whose lines are shorter than this; wrapping is the best repair.
        return with_body(&declared, &hard_wrapped(body));
    }
    let body = Body::new(body.to_owned());
    let name = match body.encoding() {
        ContentTransferEncoding::Base64 => "base64",
        ContentTransferEncoding::QuotedPrintable => "quoted-printable",
        _ => "7bit",
    };
    let others: Vec<Field> = fields.into_iter().filter(|field| !field.name.eq_ignore_ascii_case(ENCODING)).collect();
    let mut lines: String = others.iter().map(|field| header_line(&field.name, &field.value)).collect();
    lines.push_str(&header_line(ENCODING, name));
    let encoded = String::from_utf8_lossy(body.as_ref()).into_owned();
    format!("{lines}\r\n{encoded}")
}

/// The header block, without its last CRLF, with another Content-Transfer-Encoding. 7bit needs no field.
fn redeclared(head: &str, encoding: &str) -> String {
    let is_declaration = |line: &str| line.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(ENCODING));
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !is_declaration(line)).collect();
    let declaration = format!("{ENCODING}: {encoding}");
    if encoding != "7bit" {
        lines.push(&declaration);
    }
    lines.join("\r\n")
}

/// The header block with its last CRLF: unchanged if it fits, else encoded.
fn head_lines(block: &str, fields: &[Field], eight_bit: bool) -> String {
    if fits(block, eight_bit) {
        return block.strip_suffix("\r\n").unwrap_or(block).to_owned();
    }
    fields.iter().map(|field| header_line(&field.name, &field.value)).collect()
}

/// Makes each part of a multipart body transportable (RFC 2046 section 5.1.1).
fn parts(body: &str, boundary: &str, eight_bit: bool) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut inside: Option<Vec<&str>> = None;
    let finish = |lines: Vec<&str>, out: &mut Vec<String>| {
        let text = lines.join("\r\n");
        if fits(&text, false) {
            out.push(text);
            return;
        }
        out.push(match text.split_once("\r\n\r\n") {
            Some((head, body)) if !text.starts_with("\r\n") => part(head, body, eight_bit),
            _ => part("Content-Type: text/plain; charset=utf-8", text.strip_prefix("\r\n").unwrap_or(&text), eight_bit),
        });
    };
    for line in body.split("\r\n") {
        let delimiter = line.strip_prefix("--").and_then(|line| line.strip_prefix(boundary)).map(str::trim_end);
        match delimiter {
            Some("" | "--") => {
                if let Some(lines) = inside.take() {
                    finish(lines, &mut out);
                }
                out.push(line.trim_end().to_owned());
                inside = (delimiter == Some("")).then(Vec::new);
            }
            _ => match &mut inside {
                Some(lines) => lines.push(line),
                // Mail readers hide the text before the first and after the last part.
                None if fits(line, eight_bit) => out.push(line.to_owned()),
                None => {}
            },
        }
    }
    if let Some(lines) = inside {
        finish(lines, &mut out);
    }
    out.join("\r\n")
}

/// The boundary parameter of a multipart content type.
fn boundary(content_type: &str) -> Option<String> {
    let lower = content_type.to_ascii_lowercase();
    let at = lower.starts_with("multipart/").then(|| lower.find("boundary="))?? + "boundary=".len();
    let value = &content_type[at..];
    let boundary = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    };
    boundary.filter(|boundary| !boundary.is_empty()).map(str::to_owned)
}

fn hard_wrapped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (index, line) in text.split("\r\n").enumerate() {
        if index > 0 {
            out.push_str("\r\n");
        }
        let mut rest = line;
        while rest.len() > MAX_LINE {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(MAX_LINE));
            out.push_str(piece);
            out.push_str("\r\n");
            rest = after;
        }
        out.push_str(rest);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MAX_LINE, field, header_line, split_message, transportable, unfolded_words, with_crlf};

    #[test]
    fn header_fields_are_unfolded_and_plain_text_has_none() {
        let (fields, body) = split_message("A: 1\r\nB:  2\r\n\t3\r\n\r\nbody: x\r\n").unwrap();
        assert_eq!((field(&fields, "a"), field(&fields, "b"), body), (Some("1"), Some("2 3"), "body: x\r\n"));
        for text in
            ["Dear user: hello\r\n\r\n", "hello\r\n", "", " A: 1\r\n\r\n", ": x\r\n\r\n", "A: 1\r\nhello\r\n\r\n"]
        {
            assert_eq!(split_message(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_header_value_starts_no_line_and_exceeds_none() {
        assert_eq!(header_line("Subject", "a\r\nBcc: b@y\0"), "Subject: a Bcc: b@y\r\n");
        assert_eq!(header_line("Subject", "Grüße"), "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\n");
        assert_eq!(header_line("Bad name", "x"), "");
        for value in
            ["x".repeat(5_000), "ü".repeat(5_000), "word ".repeat(1_000), " \t".repeat(2_000), "\u{1f600} ".repeat(900)]
        {
            let line = header_line("Subject", &value);
            assert!(line.is_ascii());
            let lines: Vec<&str> = line.trim_end_matches("\r\n").split("\r\n").collect();
            assert!(lines.iter().all(|line| line.len() <= MAX_LINE));
            assert!(lines[1..].iter().all(|line| line.starts_with(' ')));
        }
    }

    #[test]
    fn a_value_that_looks_like_an_encoded_word_is_encoded() {
        assert_eq!(unfolded_words("Alice has invited you"), "Alice has invited you");
        assert_eq!(unfolded_words("Grüße"), "=?utf-8?b?R3LDvMOfZQ==?=");
        let words = unfolded_words(&format!("=?utf-8?q?=0D=0ABcc:?= {}", "word ".repeat(30)));
        assert!(words.starts_with("=?utf-8?b?PT91dGYtOD") && words.split(' ').all(|word| word.len() <= 75), "{words}");
        let line = header_line("Subject", &words);
        assert_eq!(line.replace("\r\n ", " "), format!("Subject: {words}\r\n"));
        assert!(line.split("\r\n").all(|line| line.len() <= 100), "{line}");
    }

    #[test]
    fn every_line_end_becomes_crlf() {
        assert_eq!(with_crlf("a\rb\nc\r\nd\n\re\r\n.\n"), "a\r\nb\r\nc\r\nd\r\n\r\ne\r\n.\r\n");
    }

    #[test]
    fn parts_that_fit_stay_byte_for_byte() {
        let message =
            "Subject: x\r\nContent-Type: multipart/alternative;\r\n boundary=\"b\"\r\n\r\n--b\r\n\r\nhi\r\n--b--\r\n";
        assert_eq!(transportable(message, false), message);
        let head = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n";
        let declared = format!("{head}Content-Transfer-Encoding: 8bit\r\n\r\nüber\r\n");
        assert_eq!(transportable(&declared, true), declared);
        for honest in ["", "content-transfer-encoding: 7bit\r\n"] {
            assert_eq!(transportable(&format!("{head}{honest}\r\nüber\r\n"), true), declared);
        }
    }

    #[test]
    fn a_part_outside_ascii_and_its_parent_are_declared_8bit() {
        let part = |text: &str, declared: &str| {
            format!("--b\r\nContent-Type: text/plain; charset=utf-8\r\n{declared}\r\n{text}\r\n")
        };
        let whole = |declared: &str, parts: [String; 2]| {
            format!(
                "To: jürgen@x.org\r\nContent-Type: multipart/alternative; boundary=b\r\n{declared}\r\n{}--b--\r\n",
                parts.concat()
            )
        };
        const EIGHT: &str = "Content-Transfer-Encoding: 8bit\r\n";
        let given = whole("", [part("plain", ""), part("süß", "")]);
        let sent = whole(EIGHT, [part("plain", ""), part("süß", EIGHT)]);
        assert_eq!(transportable(&given, true), sent);
        assert_eq!(transportable(&sent, true), sent);
        let ascii = transportable(&sent.replace("jürgen", "bob"), false);
        assert!(ascii.is_ascii() && !ascii.contains("8bit") && ascii.contains("c8O8w58="), "{ascii}");
    }

    #[test]
    fn only_the_part_that_does_not_fit_is_encoded() {
        let long = format!("https://x.example/{}", "a=".repeat(600));
        let message = format!(
            "Subject: x\r\nContent-Type: multipart/alternative; boundary=\"b\"\r\n\r\n\
             --b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\n\r\n\
             --b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<a href=\"{long}\">ü</a>\r\n\r\n\
             --b--\r\n"
        );
        let sent = transportable(&message, true);
        assert!(sent.split("\r\n").all(|line| line.len() <= MAX_LINE) && sent.is_ascii());
        assert!(sent.contains("--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhi\r\n\r\n--b\r\n"), "{sent}");
        assert!(sent.contains("Content-Transfer-Encoding: quoted-printable\r\n\r\n") && !sent.contains("8bit"));
        assert!(sent.replace("=\r\n", "").contains(&long.replace('=', "=3D")), "{sent}");
        assert!(sent.ends_with("\r\n--b--\r\n"), "{sent}");
    }

    #[test]
    fn a_part_outside_ascii_is_encoded_for_a_relay_without_8bitmime() {
        let sent =
            transportable("Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nein süßer Text\r\n", false);
        assert!(sent.is_ascii() && sent.contains("ein s=C3=BC=C3=9Fer Text"), "{sent}");
        let nested = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
                      --b\r\n\r\nein süßer Text, der lang genug ist\r\n--b--\r\n--a--\r\n";
        let sent = transportable(nested, false);
        assert!(sent.is_ascii() && sent.contains("s=C3=BC=C3=9Fer") && sent.contains("--b--\r\n--a--"), "{sent}");
    }

    #[test]
    fn long_lines_of_an_encoded_part_are_wrapped() {
        let message = format!("Content-Transfer-Encoding: base64\r\n\r\n{}", "QUJD".repeat(600));
        let sent = transportable(&message, false);
        assert!(sent.split("\r\n").all(|line| line.len() <= MAX_LINE));
        assert_eq!(sent.replace("\r\n", ""), message.replace("\r\n", ""));
    }
}
