//! What a provider is to the rest: something that takes one message for one telephone, or says what became of it.
//!
//! Invariant: [`Outcome::NotSent`] is only said where it is certain that nothing went out, for what is said there may be
//! sent by somebody else.

use futures_util::future::BoxFuture;

use crate::domain::originator::Originator;
use crate::domain::sms_text::Encoding;

/// One message. It fits into one SMS.
#[derive(Clone, Copy)]
pub(super) struct Sms<'a> {
    /// The recipient, in the digits of E.164 without `+`.
    pub(super) to: &'a str,
    /// The sender.
    pub(super) from: &'a Originator,
    /// The text.
    pub(super) text: &'a str,
    /// How it has to travel.
    pub(super) encoding: Encoding,
    /// The token in it.
    pub(super) token: &'a str,
}

/// Somebody who carries messages.
pub(super) trait Provider: Send + Sync {
    /// Hands one message over, once.
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome>;
}

/// What became of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The provider has taken it.
    Accepted,
    /// It is certain that nothing was sent.
    NotSent {
        /// Why.
        reason: Reason,
        /// Whether the same attempt may succeed in a moment.
        again: bool,
    },
    /// Nothing was sent, and this telephone gets nothing from anybody: it has opted out, or can have no messages.
    NumberRefused(Reason),
    /// It may have been sent, or not: nobody may send it again.
    Unclear(Reason),
}

impl Outcome {
    /// Nothing was sent, and nothing will be before somebody changes something.
    pub(super) fn refused(reason: Reason) -> Self {
        Self::NotSent { reason, again: false }
    }

    /// A word for metric labels.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotSent { .. } => "not_sent",
            Self::NumberRefused(_) => "number_refused",
            Self::Unclear(_) => "unclear",
        }
    }
}

/// Why, for the operator. A provider's own words often quote the number, so that only its codes are kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", .code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
pub(super) struct Reason {
    what: &'static str,
    code: Option<String>,
}

impl Reason {
    /// A reason without a number.
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, code: None }
    }

    /// A reason with a code of the provider's; what does not look like a code is left out.
    pub(super) fn with_code(what: &'static str, code: &str) -> Self {
        let is_code = (1..=40).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            // A telephone number is longer than the digits of any code.
            && code.bytes().filter(u8::is_ascii_digit).count() <= 6;
        Self { what, code: is_code.then(|| code.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn codes_are_told_and_numbers_are_not() {
        assert_eq!(Reason::new("timed out").to_string(), "timed out");
        for (code, told) in [
            ("21610", "error 21610"),
            ("InvalidParameter", "error InvalidParameter"),
            ("REJECTED_NOT_ENOUGH_CREDITS", "error REJECTED_NOT_ENOUGH_CREDITS"),
            ("447700900001", "error"),
            ("The number +44", "error"),
            ("a\nb", "error"),
            ("", "error"),
        ] {
            assert_eq!(Reason::with_code("error", code).to_string(), told);
        }
    }
}
