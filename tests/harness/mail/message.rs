//! Parses a message: headers, MIME parts, the links in them (RFC 5322, RFC 2045 to 2047).
//!
//! Invariant: it is strict. A line that is too long, a bare CR or LF, or a part without an end panics.

use url::Url;

use super::encoding::{decode_body, decode_words};

/// A parsed message.
#[derive(Clone, Debug)]
pub struct Message {
    /// The headers in order: name as written, value unfolded and with encoded words decoded.
    pub headers: Vec<(String, String)>,
    /// The leaves of the MIME tree, in order.
    pub parts: Vec<Part>,
}

/// One leaf of the MIME tree.
#[derive(Clone, Debug)]
pub struct Part {
    /// `type/subtype` in lower case.
    pub content_type: String,
    /// The body, decoded. Everything here is UTF-8.
    pub text: String,
}

impl Message {
    /// Parses a message.
    ///
    /// # Panics
    /// If it is malformed.
    pub fn parse(raw: &[u8]) -> Self {
        for line in raw.split(|c| *c == b'\n') {
            assert!(line.len() <= 998 + 1, "a line of {} characters", line.len());
        }
        let line_feeds = raw.iter().filter(|c| **c == b'\n').count();
        let pairs = raw.windows(2).filter(|pair| pair == b"\r\n").count();
        let returns = raw.iter().filter(|c| **c == b'\r').count();
        assert!(line_feeds == pairs && returns == pairs, "a CR or LF by itself");
        let (headers, body) = split(raw);
        let mut parts = Vec::new();
        collect(&headers, body, &mut parts);
        let headers = headers.into_iter().map(|(name, value)| (name, decode_words(&value))).collect();
        Self { headers, parts }
    }

    /// The value of the only header of that name; `None` if there is none.
    ///
    /// # Panics
    /// If there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        let values: Vec<_> = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).collect();
        assert!(values.len() <= 1, "{name} is there {} times", values.len());
        values.first().map(|(_, value)| value.as_str())
    }

    /// The plain text.
    ///
    /// # Panics
    /// If there is no such part, or several.
    pub fn text(&self) -> &str {
        self.only("text/plain")
    }

    /// The HTML.
    ///
    /// # Panics
    /// If there is no such part, or several.
    pub fn html(&self) -> &str {
        self.only("text/html")
    }

    /// All `http` and `https` links, in order, each as a client opens it (in HTML, `&amp;` is `&`).
    pub fn links(&self) -> Vec<Url> {
        self.parts.iter().flat_map(|part| links(&part.text, part.content_type == "text/html")).collect()
    }

    /// The link to `submitToken`.
    ///
    /// # Panics
    /// If there is none, or if the parts of the message have different ones.
    pub fn validation_link(&self) -> Url {
        let mut links = self.links();
        links.retain(|link| link.path().ends_with("/submitToken"));
        links.dedup();
        assert!(links.len() == 1, "{} different links to submitToken in {self:#?}", links.len());
        links.remove(0)
    }

    /// The parameter `name` of the link to `submitToken`: `token`, `sid`, `client_secret`.
    ///
    /// # Panics
    /// If there is none.
    pub fn validation_parameter(&self, name: &str) -> String {
        let link = self.validation_link();
        let value = link.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        value.unwrap_or_else(|| panic!("no {name} in {link}"))
    }

    fn only(&self, content_type: &str) -> &str {
        let found: Vec<_> = self.parts.iter().filter(|part| part.content_type == content_type).collect();
        assert!(found.len() == 1, "{} parts of type {content_type}", found.len());
        &found[0].text
    }
}

/// Headers, unfolded, and the body.
fn split(raw: &[u8]) -> (Vec<(String, String)>, &[u8]) {
    let (mut headers, mut rest) = (Vec::<(String, String)>::new(), raw);
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").expect("an empty line after the headers");
        let line = std::str::from_utf8(&rest[..end]).expect("headers in UTF-8");
        rest = &rest[end + 2..];
        if line.is_empty() {
            return (headers, rest);
        }
        if line.starts_with([' ', '\t']) {
            assert!(!line.trim().is_empty(), "a folded line without content");
            let (_, value) = headers.last_mut().expect("a header before its continuation");
            value.push_str(line);
        } else {
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line:?}"));
            assert!(!name.is_empty() && name.bytes().all(|c| c.is_ascii_graphic()), "no header name: {name:?}");
            headers.push((name.to_owned(), value.trim_start().to_owned()));
        }
    }
}

fn collect(headers: &[(String, String)], body: &[u8], parts: &mut Vec<Part>) {
    let value =
        |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
    let content_type = value("content-type").unwrap_or("text/plain; charset=us-ascii");
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let kind = kind.trim().to_ascii_lowercase();
    if kind.starts_with("multipart/") {
        let boundary = parameter(parameters, "boundary").expect("a boundary");
        for part in divide(body, &boundary) {
            let (headers, body) = split(part);
            collect(&headers, body, parts);
        }
        return;
    }
    let decoded = decode_body(value("content-transfer-encoding").unwrap_or_default(), body);
    let charset = parameter(parameters, "charset").unwrap_or_else(|| "us-ascii".to_owned());
    let declared = charset.eq_ignore_ascii_case("utf-8") || decoded.is_ascii();
    assert!(declared, "{kind} in {charset} that is not ASCII");
    parts.push(Part { content_type: kind, text: String::from_utf8(decoded).expect("text in UTF-8") });
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(';').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| {
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

/// The parts between the delimiter lines (RFC 2046, section 5.1.1).
fn divide<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let end = format!("--{boundary}--");
    let (mut parts, mut start, mut at) = (Vec::new(), None, 0);
    for line in body.split_inclusive(|c| *c == b'\n') {
        let content = line.trim_ascii_end();
        if content == delimiter.as_bytes() || content == end.as_bytes() {
            // The line break before a delimiter belongs to it.
            parts.extend(start.map(|start: usize| &body[start..at.max(start + 2) - 2]));
            if content == end.as_bytes() {
                return parts;
            }
            start = Some(at + line.len());
        }
        at += line.len();
    }
    panic!("no end of the parts between {delimiter}");
}

fn links(text: &str, html: bool) -> Vec<Url> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = ["https://", "http://"].iter().filter_map(|scheme| rest.find(scheme)).min() {
        rest = &rest[start..];
        let end = rest.find(|c: char| c.is_whitespace() || "<>\"".contains(c)).unwrap_or(rest.len());
        let link = rest[..end].trim_end_matches(['.', ',', ')', '\'']);
        let link = if html { link.replace("&#x2f;", "/").replace("&amp;", "&") } else { link.to_owned() };
        found.extend(Url::parse(&link).ok());
        rest = &rest[end..];
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Message;

    const MAIL: &str = concat!(
        "From: id@example.org\r\n",
        "Subject: =?utf-8?b?w6Q=?=\r\n =?utf-8?b?YQ==?= end\r\n",
        "Content-Type: multipart/alternative;\r\n boundary=\"xyz\"\r\n",
        "\r\n",
        "preamble\r\n",
        "--xyz\r\n",
        "Content-Type: text/plain; charset=utf-8\r\n",
        "Content-Transfer-Encoding: quoted-printable\r\n",
        "\r\n",
        "Hi =C3=A4, see https://id.example.org/_matrix/identity/v2/validate/email/su=\r\n",
        "bmitToken?token=3Da%2Bb&client_secret=3Dc&sid=3D7.\r\n",
        "\r\n",
        "--xyz\r\n",
        "Content-Type: text/html; charset=\"UTF-8\"\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "\r\n",
        "PGEgaHJlZj0iaHR0cHM6Ly9pZC5leGFtcGxlLm9yZy9fbWF0cml4L2lkZW50aXR5L3YyL3ZhbGlk\r\n",
        "YXRlL2VtYWlsL3N1Ym1pdFRva2VuP3Rva2VuPWElMkJiJmFtcDtjbGllbnRfc2VjcmV0PWMmYW1w\r\n",
        "O3NpZD03Ij54PC9hPg==\r\n",
        "--xyz--\r\n",
    );

    #[test]
    fn a_message_of_two_parts_gives_its_link_and_token() {
        let message = Message::parse(MAIL.as_bytes());
        assert_eq!(message.header("subject"), Some("äa end"));
        assert_eq!(message.header("date"), None);
        assert!(message.text().starts_with("Hi ä, see https://"));
        assert!(message.html().starts_with("<a href=\"https://"));
        assert_eq!(message.links().len(), 2);
        assert_eq!(message.validation_parameter("token"), "a+b");
        assert_eq!(message.validation_parameter("sid"), "7");
    }

    #[test]
    fn a_plain_message_is_one_part() {
        let message = Message::parse(b"To: a@b\r\n\r\nhello\r\n");
        assert_eq!((message.parts.len(), message.text()), (1, "hello\r\n"));
    }

    fn refused(mail: &str) {
        assert!(std::panic::catch_unwind(|| Message::parse(mail.as_bytes())).is_err(), "{mail:?} was taken");
    }

    #[test]
    fn malformed_messages_are_refused() {
        refused(&MAIL.replace("--xyz--", ""));
        refused(&MAIL.replacen("\r\n", "\n", 1));
        refused("To: a\rb\r\n\r\n");
        refused("no header\r\n\r\n");
        refused("To: a@b\r\n");
        refused("To: a@b\r\n\r\n\u{e4}\r\n");
        refused(&format!("To: a@b\r\n\r\n{}\r\n", "x".repeat(999)));
    }

    #[test]
    #[should_panic(expected = "different links")]
    fn parts_that_disagree_are_refused() {
        Message::parse(MAIL.replace("sid=3D7", "sid=3D8").as_bytes()).validation_link();
    }
}
