//! A finished mail: envelope and message bytes, ready to send or to queue.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a mail; the label `kind` of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Validates an address.
    Verification,
    /// Invites into a room.
    Invite,
    /// Reports that an association has ended.
    Migration,
}

impl MessageKind {
    /// The kind's name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Invite => "invite",
            Self::Migration => "migration",
        }
    }
}

/// A mail with its envelope. Every attempt sends the same bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingMail {
    pub(in crate::notify) kind: MessageKind,
    pub(in crate::notify) from: String,
    pub(in crate::notify) to: String,
    pub(in crate::notify) message: String,
}

impl OutgoingMail {
    /// The mail's kind.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The header and the body.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Serializes the mail for a queue. The bytes hold the address and the token: encrypt them before storing.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Three strings and an enum always serialize to JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the bytes of [`OutgoingMail::to_bytes`].
    ///
    /// # Errors
    /// [`StoredMailError`] if the bytes are not a mail.
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

#[cfg(test)]
mod tests {
    use super::{MessageKind, OutgoingMail};

    #[test]
    fn a_mail_survives_the_queue_unchanged_and_debug_hides_its_content() {
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
