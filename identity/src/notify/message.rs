//! A mail from its rendered template to the bytes that a relay gets.
//!
//! Invariant: the envelope and the fields From, To, Date, Message-ID and MIME-Version come from here, never from a template
//! or a request, unless the operator asked for raw messages, and the envelope not even then.

use std::fmt;

use lettre::Address;
use lettre::message::header::{Date, From as FromField, Headers};
use lettre::message::{Mailbox, Mailboxes};
use serde::{Deserialize, Serialize};
use shared::clock::Timestamp;
use shared::random::Random;

use super::mime::{self, Field};

/// What a mail is about; the label `kind` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// The link that proves an address.
    Verification,
    /// The link into a room.
    Invite,
}

impl MessageKind {
    /// Its name in the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Invite => "invite",
        }
    }
}

/// A finished mail: it can be sent now, or stored and sent again later, and is the same bytes each time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingMail {
    pub(super) kind: MessageKind,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) message: String,
}

impl OutgoingMail {
    /// What it is about.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The form for a queue. It holds the address and the token: encrypt it before it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Three strings and a name: there is nothing that JSON could refuse.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Back from [`OutgoingMail::to_bytes`].
    ///
    /// # Errors
    /// [`StoredMailError`] if these are not the bytes of a mail.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoredMailError> {
        serde_json::from_slice(bytes).map_err(|_| StoredMailError)
    }
}

impl fmt::Debug for OutgoingMail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingMail").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The stored bytes are not a mail.
#[derive(Debug, thiserror::Error)]
#[error("the stored bytes are not a mail")]
pub struct StoredMailError;

/// In whose name mail leaves.
#[derive(Clone, Debug)]
pub struct Sender {
    mailbox: Mailbox,
}

/// `[email] from` is not a mailbox.
#[derive(Debug, thiserror::Error)]
#[error("email.from: \"{0}\" is neither an address nor of the form \"Name <address>\"")]
pub struct SenderError(String);

impl Sender {
    /// The sender that is configured, or else `noreply` at the host of the server's name.
    ///
    /// # Errors
    /// [`SenderError`] if `from` is not a mailbox.
    pub fn new(from: Option<&str>, server_name: &str) -> Result<Self, SenderError> {
        let Some(text) = from else {
            let address = Address::new_dangerous("noreply", mail_host(server_name));
            return Ok(Self { mailbox: Mailbox::new(Some(String::from("Matrix")), address) });
        };
        let wrong = || SenderError(text.to_owned());
        let mailbox: Mailbox = text.parse().map_err(|_| wrong())?;
        if text.chars().any(char::is_control) {
            return Err(wrong());
        }
        let address = sendable(mailbox.email.as_ref()).ok_or_else(wrong)?;
        let (user, domain) = address.rsplit_once('@').ok_or_else(wrong)?;
        Ok(Self { mailbox: Mailbox::new(mailbox.name, Address::new_dangerous(user, domain)) })
    }

    pub(super) fn address(&self) -> &str {
        self.mailbox.email.as_ref()
    }

    pub(super) fn domain(&self) -> &str {
        self.mailbox.email.domain()
    }

    /// The value of the field From, encoded.
    pub(super) fn field(&self) -> String {
        let mut headers = Headers::new();
        headers.set(FromField::from(Mailboxes::from(self.mailbox.clone())));
        let line = headers.to_string();
        line.strip_prefix("From: ").unwrap_or(&line).trim_end().to_owned()
    }
}

/// The host of a Matrix server name in the form that a mail address has after its `@`.
fn mail_host(server_name: &str) -> String {
    if let Some((literal, _)) = server_name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // RFC 5321 section 4.1.3
        return format!("[IPv6:{literal}]");
    }
    let host = server_name.rsplit_once(':').map_or(server_name, |(host, _)| host);
    if host.parse::<std::net::Ipv4Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

/// `to` as it can be written into an envelope, or `None` if that is impossible.
///
/// A domain that is not ASCII goes in A-labels, so that no SMTPUTF8 is needed when the local part is ASCII. With a local
/// part that is not, the address stays as it is, and the relay has to know SMTPUTF8 (RFC 6531).
pub(super) fn sendable(to: &str) -> Option<String> {
    let (local, domain) = to.rsplit_once('@')?;
    let foul = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '@' | '\\');
    if local.is_empty() || domain.is_empty() || local.contains(foul) || domain.contains(foul) {
        return None;
    }
    if domain.is_ascii() || !local.is_ascii() {
        return Some(to.to_owned());
    }
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    Some(format!("{local}@{domain}"))
}

/// What is new with each mail: the values of the fields that are always ours, and the boundary.
pub(super) struct Stamp {
    pub(super) date: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) message_id: String,
    pub(super) boundary: String,
}

impl Stamp {
    pub(super) fn new(sender: &Sender, to: &str, now: Timestamp, random: Random) -> Self {
        let mut headers = Headers::new();
        headers.set(Date::new(now.into()));
        Self {
            date: headers.get_raw("Date").unwrap_or_default().to_owned(),
            from: sender.field(),
            to: to.to_owned(),
            message_id: format!("<{}@{}>", random.base62(32), sender.domain()),
            boundary: random.base62(32),
        }
    }

    fn lines(&self, subject: &str) -> String {
        // To may be UTF-8 (RFC 6532) and holds nothing that could end the line; From is encoded already.
        format!(
            "Date: {}\r\nFrom: {}\r\nTo: {}\r\n{}Message-ID: {}\r\nMIME-Version: 1.0\r\n",
            self.date,
            self.from,
            self.to,
            mime::header_line("Subject", subject),
            self.message_id
        )
    }
}

/// The message that a rendered template becomes. `subject` serves those that bring none.
///
/// If the text starts with a header block, it is the whole message: the fields of [`Stamp`] are replaced, Cc and Bcc
/// dropped, Subject encoded anew and the body kept. Otherwise it is the text of the mail. With `raw` a whole message
/// stays as the template wrote it.
pub(super) fn compose(rendered: &str, subject: &str, stamp: &Stamp, raw: bool) -> String {
    let text = mime::with_crlf(rendered.trim_start_matches(['\r', '\n']));
    match mime::split_message(&text).filter(|(fields, _)| fields.iter().any(is_mail_field)) {
        Some(_) if raw => text,
        Some((fields, body)) => whole_message(&fields, body, subject, stamp),
        None => {
            let head = stamp.lines(subject);
            let rest = "Auto-Submitted: auto-generated\r\nContent-Type: text/plain; charset=utf-8\r\n";
            mime::transportable(&format!("{head}{rest}{}\r\n{text}", eight_bit_line(&text)), true)
        }
    }
}

/// Tells a mail's header block from a text whose first line happens to have a colon after its first word.
fn is_mail_field(field: &Field) -> bool {
    const KNOWN: [&str; 7] = ["Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type"];
    KNOWN.iter().any(|known| field.name.eq_ignore_ascii_case(known))
}

fn whole_message(fields: &[Field], body: &str, subject: &str, stamp: &Stamp) -> String {
    const OURS: [&str; 9] = ["Date", "From", "To", "Message-ID", "MIME-Version", "Subject", "Cc", "Bcc", "Sender"];
    let mut message = stamp.lines(mime::field(fields, "Subject").unwrap_or(subject));
    if mime::field(fields, "Auto-Submitted").is_none() {
        message.push_str("Auto-Submitted: auto-generated\r\n");
    }
    if mime::field(fields, "Content-Type").is_none() {
        message.push_str("Content-Type: text/plain; charset=utf-8\r\n");
    }
    if mime::field(fields, "Content-Transfer-Encoding").is_none() {
        message.push_str(eight_bit_line(body));
    }
    for field in fields.iter().filter(|field| !OURS.iter().any(|ours| field.name.eq_ignore_ascii_case(ours))) {
        message.push_str(&mime::header_line(&field.name, &field.value));
    }
    message.push_str("\r\n");
    message.push_str(body);
    mime::transportable(&message, true)
}

fn eight_bit_line(body: &str) -> &'static str {
    if body.is_ascii() { "" } else { "Content-Transfer-Encoding: 8bit\r\n" }
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{MessageKind, OutgoingMail, Sender, Stamp, compose, sendable};

    fn stamp() -> Stamp {
        let sender = Sender::new(Some("Müller <noreply@id.example.org>"), "x").unwrap();
        Stamp::new(&sender, "bob@example.com", Timestamp::from_millis(1_750_000_000_000), Random)
    }

    #[test]
    fn a_server_without_settings_has_a_sender() {
        for (name, address) in [
            ("id.example.org", "noreply@id.example.org"),
            ("localhost:8090", "noreply@localhost"),
            ("127.0.0.1:8090", "noreply@[127.0.0.1]"),
            ("[::1]:8090", "noreply@[IPv6:::1]"),
        ] {
            assert_eq!(Sender::new(None, name).unwrap().address(), address);
        }
        for wrong in ["", "nobody", "a@x\r\nBcc: b@y", "Name <a@x>\nBcc: <b@y>"] {
            assert!(Sender::new(Some(wrong), "x").is_err(), "{wrong:?}");
        }
        let sender = Sender::new(Some("noreply@bücher.example"), "x").unwrap();
        assert_eq!(sender.address(), "noreply@xn--bcher-kva.example");
    }

    #[test]
    fn a_domain_that_is_not_ascii_goes_in_a_labels_unless_utf8_is_needed_anyway() {
        for (to, sent) in [
            ("Bob@Example.com", Some("Bob@Example.com")),
            ("bob@bücher.example", Some("bob@xn--bcher-kva.example")),
            ("jürgen@bücher.example", Some("jürgen@bücher.example")),
            ("bob", None),
            ("@x.org", None),
            ("a@", None),
            ("a@x\r\nRCPT TO:<b@y>", None),
            ("a@x>,<b@y", None),
            ("a@good@bad", None),
            ("a@\u{ad}ü..x", None),
        ] {
            assert_eq!(sendable(to).as_deref(), sent, "{to:?}");
        }
    }

    #[test]
    fn a_text_becomes_a_mail_with_all_its_fields() {
        let message = compose("Hello: see https://x.example\n\nbye\n", "Grüße", &stamp(), false);
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "Hello: see https://x.example\r\n\r\nbye\r\n");
        assert!(head.starts_with("Date: Sun, 15 Jun 2025 15:06:40 +0000\r\nFrom: "), "{head}");
        for line in [
            "From: =?utf-8?b?TcO8bGxlcg==?= <noreply@id.example.org>",
            "To: bob@example.com",
            "Subject: =?utf-8?b?R3LDvMOfZQ==?=",
            "MIME-Version: 1.0",
            "Auto-Submitted: auto-generated",
            "Content-Type: text/plain; charset=utf-8",
        ] {
            assert!(head.split("\r\n").any(|found| found == line), "{line}: {head}");
        }
        assert!(head.contains("Message-ID: <") && head.contains("@id.example.org>"));
        assert_ne!(stamp().message_id, stamp().message_id);
    }

    const WHOLE: &str = "\nDate: x\nFrom: evil@x\nTo: evil@x\nCc: evil@x\nBCC: evil@x\nMessage-ID: <x>\nSubject: Hällo\n wörld\n\
                         MIME-Version: 2\nX-Own: kept\nContent-Type: text/html\n\n<p>a</p>\n.\nb\n";

    #[test]
    fn a_whole_message_keeps_its_body_and_none_of_its_addresses() {
        let message = compose(WHOLE, "unused", &stamp(), false);
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        assert_eq!(body, "<p>a</p>\r\n.\r\nb\r\n");
        assert!(!head.contains("evil") && !head.contains("unused") && head.is_ascii(), "{head}");
        for name in ["Date", "From", "To", "Message-ID", "MIME-Version", "Subject", "Content-Type"] {
            let count = head.split("\r\n").filter(|line| line.starts_with(&format!("{name}: "))).count();
            assert_eq!(count, 1, "{name}: {head}");
        }
        assert!(head.contains("\r\nTo: bob@example.com\r\n") && head.contains("\r\nX-Own: kept"));
        assert!(head.contains("\r\nAuto-Submitted: auto-generated\r\n") && head.contains("=?utf-8?b?"));
    }

    #[test]
    fn raw_messages_are_left_as_they_are() {
        let message = compose(WHOLE, "unused", &stamp(), true);
        assert_eq!(message, WHOLE.trim_start().replace('\n', "\r\n"));
        assert!(compose("just text", "s", &stamp(), true).contains("\r\nTo: bob@example.com\r\n"));
    }

    #[test]
    fn a_mail_comes_back_from_a_queue_unchanged_and_does_not_show_what_it_holds() {
        let mail = OutgoingMail {
            kind: MessageKind::Verification,
            from: "a@x".into(),
            to: "jürgen@bücher.example".into(),
            message: "Subject: secret\r\n\r\nüber\0\r\n".into(),
        };
        assert_eq!(OutgoingMail::from_bytes(&mail.to_bytes()).unwrap(), mail);
        assert!(OutgoingMail::from_bytes(b"{}").is_err());
        assert_eq!(format!("{mail:?}"), "OutgoingMail { kind: Verification, .. }");
    }
}
