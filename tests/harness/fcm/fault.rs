//! Wrong responses of FCM or of a proxy before it.
//!
//! Invariant: the errors are those that Google documents, in their documented form; nothing is random.

use serde_json::{Value, json};

pub use crate::fake::Fault;

impl Fault {
    /// This status and JSON body.
    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    pub fn json(status: u16, body: Value) -> Self {
        Self::reply(status, body.to_string()).with_header("content-type", "application/json; charset=UTF-8")
    }

    /// A page for people, as front ends and proxies send it.
    pub fn html(status: u16) -> Self {
        let page = format!("<!DOCTYPE html><html lang=en><title>Error {status}</title><p><b>{status}.</b></html>");
        Self::reply(status, page).with_header("content-type", "text/html; charset=UTF-8")
    }

    /// An error with Google's common `status` alone.
    pub fn error(status: u16, name: &str) -> Self {
        Self::json(status, error(status, name, "The request could not be carried out.", &[]))
    }

    /// An error with FCM's own code besides.
    pub fn fcm_error(status: u16, name: &str, code: &str) -> Self {
        Self::json(status, error(status, name, "The request could not be carried out.", &[fcm_code(code)]))
    }

    /// 404 `UNREGISTERED`: the app was removed from the device.
    pub fn unregistered() -> Self {
        Self::json(404, error(404, "NOT_FOUND", "Requested entity was not found.", &[fcm_code("UNREGISTERED")]))
    }

    /// 403 `SENDER_ID_MISMATCH`: the token belongs to another project.
    pub fn sender_id_mismatch() -> Self {
        Self::json(403, error(403, "PERMISSION_DENIED", "SenderId mismatch", &[fcm_code("SENDER_ID_MISMATCH")]))
    }

    /// 400 `INVALID_ARGUMENT`, with this field at fault.
    pub fn invalid_argument(field: &str) -> Self {
        Self::json(400, invalid_argument(field, "Request contains an invalid argument."))
    }

    /// 429 `QUOTA_EXCEEDED`.
    pub fn quota_exceeded() -> Self {
        let text = "Quota exceeded for quota metric.";
        Self::json(429, error(429, "RESOURCE_EXHAUSTED", text, &[fcm_code("QUOTA_EXCEEDED")]))
    }

    /// 401 `THIRD_PARTY_AUTH_ERROR`: the key for Apple or for Web Push is wrong.
    pub fn third_party_auth_error() -> Self {
        let text = "Auth error from APNS or Web Push Service";
        Self::json(401, error(401, "UNAUTHENTICATED", text, &[fcm_code("THIRD_PARTY_AUTH_ERROR")]))
    }

    /// 401: the access token is not accepted.
    pub fn unauthenticated() -> Self {
        Self::json(401, unauthenticated())
    }

    /// 503 `UNAVAILABLE`.
    pub fn unavailable() -> Self {
        Self::json(503, error(503, "UNAVAILABLE", "The service is currently unavailable.", &[fcm_code("UNAVAILABLE")]))
    }

    /// 500 `INTERNAL`.
    pub fn internal() -> Self {
        Self::json(500, error(500, "INTERNAL", "Internal error encountered.", &[fcm_code("INTERNAL")]))
    }
}

/// A `google.rpc.Status` as JSON.
pub(super) fn error(code: u16, status: &str, message: &str, details: &[Value]) -> Value {
    let mut error = json!({"code": code, "message": message, "status": status});
    if !details.is_empty() {
        error["details"] = json!(details);
    }
    json!({"error": error})
}

pub(super) fn fcm_code(code: &str) -> Value {
    json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code})
}

pub(super) fn invalid_argument(field: &str, message: &str) -> Value {
    let violation = json!({"field": field, "description": message});
    let request = json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]});
    error(400, "INVALID_ARGUMENT", message, &[request, fcm_code("INVALID_ARGUMENT")])
}

pub(super) fn unauthenticated() -> Value {
    let text = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                valid authentication credential.";
    let reason =
        json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED"});
    error(401, "UNAUTHENTICATED", text, &[reason])
}
