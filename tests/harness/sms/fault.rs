//! Wrong, slow and missing responses of a vendor or of a proxy before it.
//!
//! Invariant: each fault says whether the vendor accepted the message; nothing is random.

/// What happens to a request instead of the right response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status (300 and more), with the vendor's usual body for it. Not accepted.
    Status(u16),
    /// The vendor's own error of this name or number: `21610`, `OptedOut`. Not accepted.
    Error(&'static str),
    /// No response, on a connection that stays open. Not accepted.
    Hang,
    /// A valid message is accepted, then no response comes, on a connection that stays open.
    AcceptAndHang,
    /// A valid message is accepted, then the connection is reset.
    AcceptAndReset,
    /// The connection is reset after the request was read. Not accepted.
    Reset,
    /// The connection is reset before the server reads: a new one when it is accepted, an open one at the head of the
    /// next request. Not accepted, not recorded as a request.
    ResetBeforeReading,
    /// The right response, with one byte of the body each quarter of a second. Accepted.
    Drip,
    /// 200 with an HTML page, as a captive portal or a proxy sends it. Not accepted.
    Garbage,
    /// The right response, but the connection ends in the middle of the body. Accepted.
    TruncatedBody,
    /// 429 with the vendor's usual body and a `Retry-After` of this many seconds. Not accepted.
    RetryAfter(u32),
    /// 307 to another path here. Not accepted; a client that follows causes a complaint.
    Redirect,
}
