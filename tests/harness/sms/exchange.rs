//! A request, the answer to it, and what a vendor has to say in between.
//!
//! Invariant: a request is kept byte for byte, as it came.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::Sms;

/// A request that arrived in full.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target: path and query, as sent.
    pub target: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// The message with the answer of a vendor that takes it, or why it does not.
pub(super) type Judgement = Result<(Sms, Reply), Refusal>;

/// Why a vendor does not take a message.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// What the client is told.
    pub(super) reply: Reply,
    /// What the test is told.
    pub(super) complaint: String,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Request {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, as sent; empty without one.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

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

    /// The body as JSON, if it is some.
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: body.into() }
    }

    #[expect(clippy::needless_pass_by_value, reason = "the vendors write json!(…) in place")]
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub(super) fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// This answer, because of that.
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
