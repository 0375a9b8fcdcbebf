//! An SMS provider: takes one message for one number and returns the outcome.
//!
//! Invariant: a provider returns [`Outcome::NotSent`] only if it certainly sent nothing, because another provider may
//! then send the message.

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::domain::originator::Originator;
use crate::domain::sms_text::Encoding;

/// One message that fits into one SMS.
#[derive(Clone, Copy)]
pub(super) struct Sms<'a> {
    /// The recipient, in the digits of E.164 without `+`.
    pub(super) to: &'a str,
    pub(super) from: &'a Originator,
    pub(super) text: &'a str,
    pub(super) encoding: Encoding,
    /// The token in `text`.
    pub(super) token: &'a str,
}

/// A way to send SMS.
pub(super) trait Provider: Send + Sync {
    /// Sends one message, once.
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome>;

    /// Checks the credential without a message; `None` if the provider has no request for that.
    ///
    /// # Errors
    /// Why the provider does not accept it.
    fn check_online(&self) -> BoxFuture<'_, Option<Result<(), String>>> {
        async { None }.boxed()
    }
}

/// The outcome of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The provider accepted the message.
    Accepted,
    /// The provider certainly sent nothing.
    NotSent {
        reason: Reason,
        /// Whether the same attempt may soon succeed.
        can_retry: bool,
    },
    /// Nothing was sent, and no provider can reach this number: it has opted out, or receives no SMS.
    NumberRefused(Reason),
    /// The provider may have sent the message. No provider may send it again.
    Unclear(Reason),
}

impl Outcome {
    /// Nothing was sent, and a retry would fail alike.
    pub(super) fn refused(reason: Reason) -> Self {
        Self::NotSent { reason, can_retry: false }
    }

    /// Nothing was sent, and a retry may succeed.
    pub(super) fn busy(reason: Reason) -> Self {
        Self::NotSent { reason, can_retry: true }
    }

    /// The metric label.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NotSent { .. } => "not_sent",
            Self::NumberRefused(_) => "number_refused",
            Self::Unclear(_) => "unclear",
        }
    }
}

/// The reason in the log. It keeps only a provider's code, because a provider's text often quotes the number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}{}", .code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
pub(super) struct Reason {
    what: &'static str,
    code: Option<String>,
}

impl Reason {
    pub(super) const fn new(what: &'static str) -> Self {
        Self { what, code: None }
    }

    /// A reason with the provider's code; a value that does not look like a code is dropped.
    pub(super) fn with_code(what: &'static str, code: &str) -> Self {
        let is_code = (1..=40).contains(&code.len())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            // A telephone number has more digits than any code.
            && code.bytes().filter(u8::is_ascii_digit).count() <= 6;
        Self { what, code: is_code.then(|| code.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn a_reason_shows_codes_and_no_numbers() {
        assert_eq!(Reason::new("timed out").to_string(), "timed out");
        for (code, shown) in [
            ("21610", "error 21610"),
            ("InvalidParameter", "error InvalidParameter"),
            ("REJECTED_NOT_ENOUGH_CREDITS", "error REJECTED_NOT_ENOUGH_CREDITS"),
            ("447700900001", "error"),
            ("The number +44", "error"),
            ("a\nb", "error"),
            ("", "error"),
        ] {
            assert_eq!(Reason::with_code("error", code).to_string(), shown);
        }
    }
}
