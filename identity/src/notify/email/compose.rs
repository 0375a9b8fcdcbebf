//! Composes a mail: renders the template of its kind, then sets the envelope and the header.
//!
//! Invariant: the envelope and the fields From, To, Date, Message-ID and MIME-Version never come from a template or a
//! request. `[templates] raw_messages` lifts this for the fields, not for the envelope.

use lettre::message::header::{Date, Headers};
use shared::clock::Timestamp;
use shared::random::Random;

use super::Mailer;
use super::address::{self, sendable};
use super::message::{MessageKind, OutgoingMail};
use super::mime::{self, Field};
use super::sender::Sender;
use crate::notify::templates::{Audience, Locale, TemplateError, TemplateKind, Templates, Variables};

/// What one kind of mail says, and to whom.
pub trait MailContent {
    /// The kind of mail.
    const KIND: MessageKind;

    /// The address as [`crate::domain::threepid::ThreePid::recipient`] returns it.
    fn recipient(&self) -> &str;

    /// The requested brand and languages.
    fn audience(&self) -> Audience<'_>;

    /// The subject in this language.
    fn subject(&self, locale: &Locale) -> Subject;

    /// The values that the template may name, in this language.
    fn variables(&self, locale: &Locale) -> Variables;
}

/// The subject of a mail.
pub enum Subject {
    /// The built-in text; the operator's name follows it.
    BuiltIn(String),
    /// The operator's own text.
    Own(String),
}

/// A mail that cannot be composed.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Answered with `M_INVALID_EMAIL`.
    #[error("no envelope can carry the address")]
    ImpossibleAddress,
    /// The template failed with the values of this mail.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

impl Mailer {
    /// Composes a mail from its template, recipient and variables.
    ///
    /// # Errors
    /// [`ComposeError`] for an impossible address or a failing template.
    pub fn compose<C: MailContent>(&self, templates: &Templates, content: &C) -> Result<OutgoingMail, ComposeError> {
        self.compose_shown(templates, content).map(|(mail, _)| mail)
    }

    /// As [`Mailer::compose`], with the rendered template, in which no part is encoded.
    ///
    /// # Errors
    /// Those of [`Mailer::compose`].
    pub fn compose_shown<C: MailContent>(
        &self,
        templates: &Templates,
        content: &C,
    ) -> Result<(OutgoingMail, String), ComposeError> {
        let to = sendable(content.recipient()).ok_or(ComposeError::ImpossibleAddress)?;
        let stamp = Stamp::new(&self.sender, &to, self.clock.now(), self.random);
        let audience = content.audience();
        let locale = templates.locale(&audience);
        let subject = match content.subject(locale) {
            Subject::BuiltIn(text) if !templates.operator().is_empty() => format!("{text} – {}", templates.operator()),
            Subject::BuiltIn(text) | Subject::Own(text) => text,
        };
        let mut variables = content.variables(locale);
        variables.set("subject_header_value", &mime::unfolded_words(&subject));
        variables.set("date", &stamp.date);
        variables.set("from", &stamp.from);
        variables.set("to", &stamp.to);
        variables.set("messageid", &stamp.message_id);
        variables.set("multipart_boundary", &stamp.boundary);
        let template = match C::KIND {
            MessageKind::Verification => TemplateKind::VerificationMail,
            MessageKind::Migration => TemplateKind::MigrationMail,
            MessageKind::Invite => TemplateKind::InviteMail,
        };
        let rendered = templates.render(template, &variables, &audience)?;
        // For a template without a subject.
        let subject = variables.find("subject_header_value").unwrap_or_default();
        let message = build_message(&rendered.text, subject, &stamp, rendered.is_raw);
        let from = self.sender.address().to_owned();
        Ok((OutgoingMail { kind: C::KIND, from, to, message }, rendered.text))
    }
}

impl Mailer {
    /// Composes a mail in plain text without a template, for a test of the relay.
    ///
    /// # Errors
    /// [`ComposeError::ImpossibleAddress`]
    pub fn compose_plain(&self, to: &str, subject: &str, text: &str) -> Result<OutgoingMail, ComposeError> {
        let to = sendable(to).ok_or(ComposeError::ImpossibleAddress)?;
        let stamp = Stamp::new(&self.sender, &to, self.clock.now(), self.random);
        let message = build_message(text, subject, &stamp, false);
        Ok(OutgoingMail { kind: MessageKind::Verification, from: self.sender.address().to_owned(), to, message })
    }
}

/// The header values that the server sets in every mail, and the multipart boundary.
struct Stamp {
    date: String,
    from: String,
    to: String,
    message_id: String,
    boundary: String,
}

impl Stamp {
    fn new(sender: &Sender, to: &str, now: Timestamp, random: Random) -> Self {
        let mut headers = Headers::new();
        headers.set(Date::new(now.into()));
        Self {
            date: headers.get_raw("Date").unwrap_or_default().to_owned(),
            from: sender.field(),
            to: address::written(to),
            message_id: format!("<{}@{}>", random.base62(32), sender.domain()),
            boundary: random.base62(32),
        }
    }

    fn lines(&self, subject: &str) -> String {
        // To may be UTF-8 (RFC 6532); `sendable` has removed everything that ends a line. From is encoded.
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

/// Builds the message of a rendered template; `subject` is for a template without one.
///
/// A text that starts with a header block is a whole message: the fields of [`Stamp`] replace its own, Cc and Bcc are
/// dropped, Subject is encoded again and the body kept. Any other text is the body of a plain text mail. With `is_raw` a
/// whole message stays as the template wrote it.
fn build_message(rendered: &str, subject: &str, stamp: &Stamp, is_raw: bool) -> String {
    let text = mime::with_crlf(rendered.trim_start_matches(['\r', '\n']));
    match mime::split_message(&text).filter(|(fields, _)| fields.iter().any(is_mail_field)) {
        Some(_) if is_raw => text,
        Some((fields, body)) => with_server_fields(&fields, body, subject, stamp),
        None => with_server_fields(&[], &text, subject, stamp),
    }
}

/// Separates a header block from a text whose first line has a colon after its first word.
fn is_mail_field(field: &Field) -> bool {
    const KNOWN: [&str; 7] = ["Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type"];
    KNOWN.iter().any(|known| field.name.eq_ignore_ascii_case(known))
}

fn with_server_fields(fields: &[Field], body: &str, subject: &str, stamp: &Stamp) -> String {
    const REPLACED: [&str; 9] = ["Date", "From", "To", "Message-ID", "MIME-Version", "Subject", "Cc", "Bcc", "Sender"];
    let mut message = stamp.lines(mime::field(fields, "Subject").unwrap_or(subject));
    for (name, line) in [
        ("Auto-Submitted", "Auto-Submitted: auto-generated\r\n"),
        ("Content-Type", "Content-Type: text/plain; charset=utf-8\r\n"),
        ("Content-Transfer-Encoding", if body.is_ascii() { "" } else { "Content-Transfer-Encoding: 8bit\r\n" }),
    ] {
        if mime::field(fields, name).is_none() {
            message.push_str(line);
        }
    }
    for field in fields.iter().filter(|field| !REPLACED.iter().any(|name| field.name.eq_ignore_ascii_case(name))) {
        message.push_str(&mime::header_line(&field.name, &field.value));
    }
    message.push_str("\r\n");
    message.push_str(body);
    mime::transportable(&message, true)
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;
    use shared::random::Random;

    use super::{Sender, Stamp, build_message};

    fn stamp() -> Stamp {
        let sender = Sender::new(Some("Müller <noreply@id.example.org>"), "x").unwrap();
        Stamp::new(&sender, "bob@example.com", Timestamp::from_millis(1_750_000_000_000), Random)
    }

    #[test]
    fn a_text_becomes_a_mail_with_all_its_fields() {
        let message = build_message("Hello: see https://x.example\n\nbye\n", "Grüße", &stamp(), false);
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
        let message = build_message(WHOLE, "unused", &stamp(), false);
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
    fn a_raw_message_stays_as_the_template_wrote_it() {
        let message = build_message(WHOLE, "unused", &stamp(), true);
        assert_eq!(message, WHOLE.trim_start().replace('\n', "\r\n"));
        assert!(build_message("just text", "s", &stamp(), true).contains("\r\nTo: bob@example.com\r\n"));
    }
}
