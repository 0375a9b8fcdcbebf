//! The relay's replies without their text, which may contain an address.

use std::fmt;

use lettre::transport::smtp::Error as SmtpError;

/// A reply code, with the enhanced status code if the reply has one (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyCode {
    code: u16,
    enhanced: Option<[u16; 3]>,
}

impl ReplyCode {
    /// The code of a reply and its text.
    pub(super) fn new(code: u16, text: &str) -> Self {
        Self { code, enhanced: enhanced(code, text) }
    }

    /// The code of a negative reply; `None` for an error without a reply.
    pub(super) fn of(error: &SmtpError) -> Option<Self> {
        let code = u16::from(error.status()?);
        let text = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        Some(Self::new(code, &text))
    }

    /// The three digits.
    pub fn code(self) -> u16 {
        self.code
    }

    /// Whether the relay may accept the same command later.
    pub(super) fn is_temporary(self) -> bool {
        self.code / 100 == 4
    }
}

/// A reply without an enhanced status code.
impl From<u16> for ReplyCode {
    fn from(code: u16) -> Self {
        Self { code, enhanced: None }
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        match self.enhanced {
            Some([class, subject, detail]) => write!(f, " {class}.{subject}.{detail}"),
            None => Ok(()),
        }
    }
}

/// RFC 2034 section 4: the text starts with the enhanced status code, whose class is the first digit of the reply code.
fn enhanced(code: u16, text: &str) -> Option<[u16; 3]> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let mut parts =
        text[..end].split('.').map(|part| (1..=3).contains(&part.len()).then(|| part.parse().ok()).flatten());
    let found = [parts.next()??, parts.next()??, parts.next()??];
    (parts.next().is_none() && found[0] == code / 100).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::ReplyCode;

    #[test]
    fn the_enhanced_status_code_is_kept_and_the_text_is_not() {
        for (code, text, shown) in [
            (535, "5.7.139 SmtpClientAuthentication is disabled", "535 5.7.139"),
            (550, "5.1.1 <bob@example.com>: unknown", "550 5.1.1"),
            (421, "4.7.0", "421 4.7.0"),
            (550, "bob@example.com 5.1.1", "550"),
            (550, "4.1.1 another class", "550"),
            (550, "5.1 short", "550"),
            (550, "5.1.1.1 long", "550"),
            (550, "5.1234.1 long", "550"),
            (550, "", "550"),
        ] {
            assert_eq!(ReplyCode::new(code, text).to_string(), shown, "{text}");
        }
    }
}
