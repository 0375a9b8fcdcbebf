//! A request, the answer to it, and what a vendor has to say in between.
//!
//! Invariant: a request is kept byte for byte, as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::Sms;
use crate::fake::{Reply, Request};

/// The message with the answer of a vendor that takes it, or why it does not.
pub(super) type Judgement = Result<(Sms, Reply), Refusal>;

/// Why a vendor does not take a message.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// The response.
    pub(super) reply: Reply,
    /// The complaint, for the test.
    pub(super) complaint: String,
}

impl Request {
    /// User and password (RFC 7617), if that is how it is authorised.
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let (scheme, encoded) = self.header("authorization")?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }

    /// Whether the body is said to be of this type, in UTF-8 if anything is said of that.
    pub(super) fn is(&self, media_type: &str) -> bool {
        let Some(value) = self.header("content-type") else { return false };
        let mut parts = value.split(';').map(str::trim);
        parts.next().is_some_and(|first| first.eq_ignore_ascii_case(media_type))
            && parts.all(|parameter| parameter.eq_ignore_ascii_case("charset=utf-8"))
    }

    /// The body as JSON, if it is JSON.
    pub(super) fn try_json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl Reply {
    /// This response, for this reason.
    pub(super) fn because(self, complaint: impl Into<String>) -> Refusal {
        Refusal { reply: self, complaint: complaint.into() }
    }
}

/// `bytes` in lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Complains of members that the documentation does not know, such as misspelt ones.
pub(super) fn complain_of_strangers(object: &Value, known: &[&str], complaints: &mut Vec<String>) {
    for key in object.as_object().into_iter().flat_map(|members| members.keys()) {
        if !known.contains(&key.as_str()) {
            complaints.push(format!("no such member: {key}"));
        }
    }
}
