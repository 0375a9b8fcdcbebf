//! Wrong and missing responses of Push Kit.
//!
//! Invariant: the errors have the form that Huawei documents; nothing is random.

use serde_json::json;

use crate::fake::Reply;

/// What happens to a request instead of the right response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A response of the test.
    Reply(Reply),
    /// No response, on a connection that stays open.
    Silence,
    /// The connection closes.
    Close,
}

impl Fault {
    /// Status 200 with this code and message, as Push Kit reports most errors.
    pub fn code(code: &str, message: &str) -> Self {
        Self::code_with(200, code, message)
    }

    /// The same with another status.
    pub fn code_with(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "code": code, "msg": message, "requestId": "172049000000000000000100" });
        Self::Reply(Reply::json(status, body))
    }

    /// This status, with a page of a front end.
    pub fn status(status: u16) -> Self {
        Self::Reply(Reply::of_type(status, "text/html", "<html><body>error</body></html>"))
    }
}
