//! What each answer of Google's means: the one table with the facts about FCM's errors (*ErrorCode*, *FCM Error Codes*,
//! *Sending FCM messages at scale*).
//!
//! Invariant: a pushkey is dead only if Google says so of this very key. A wrong project, key or payload of ours never
//! looks like that.

use super::error_body::ErrorBody;
use crate::providers::Certainty;

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Google has accepted the message.
    Delivered,
    /// The pushkey is dead.
    Rejected(&'static str, Certainty),
    /// Our project, key or address is wrong.
    Permanent(&'static str),
    /// Google finds fault with the message: send less of it.
    Reduce,
    /// The access token is not accepted: get another one.
    Renew,
    /// Too much was sent.
    Pause,
    /// Google is in trouble.
    Outage(&'static str),
}

/// The meaning of an answer with this status and body.
pub(super) fn verdict(status: u16, error: &ErrorBody) -> Verdict {
    match (status, error.code_or_status()) {
        (200..=299, _) => Verdict::Delivered,
        // Only FCM's own code: a project that does not exist is "NOT_FOUND" as well.
        (404, _) if error.code.as_deref() == Some("UNREGISTERED") => {
            Verdict::Rejected("UNREGISTERED", Certainty::Certain)
        }
        (404, _) => Verdict::Permanent("NOT_FOUND"),
        (403, Some("SENDER_ID_MISMATCH")) => Verdict::Rejected("SENDER_ID_MISMATCH", Certainty::Suspect),
        (403, _) => Verdict::Permanent("PERMISSION_DENIED"),
        (400, Some("INVALID_ARGUMENT")) if error.blames_target() => {
            Verdict::Rejected("INVALID_ARGUMENT", Certainty::Suspect)
        }
        (400, _) => Verdict::Reduce,
        (401, Some("THIRD_PARTY_AUTH_ERROR")) => Verdict::Permanent("THIRD_PARTY_AUTH_ERROR"),
        (401, _) => Verdict::Renew,
        (429, _) => Verdict::Pause,
        (500, _) => Verdict::Outage("INTERNAL"),
        (503, _) => Verdict::Outage("UNAVAILABLE"),
        (502 | 504, _) => Verdict::Outage("gateway"),
        (300..=399, _) => Verdict::Permanent("redirect"),
        (_, _) => Verdict::Permanent("unexpected_status"),
    }
}

/// What an operator has to do so that no answer comes out as `Verdict::Permanent(reason)` any more.
pub(super) fn advice(reason: &str) -> &'static str {
    match reason {
        "NOT_FOUND" => "check project_id and base_url: there is no such project",
        "PERMISSION_DENIED" => {
            "the service account may not send for this project: check both, its role, and that the API is on"
        }
        "THIRD_PARTY_AUTH_ERROR" => "Firebase has no good key for Apple or Web Push: upload one in its console",
        "INVALID_ARGUMENT" => "check fcm_options: Google takes no message with them",
        "UNAUTHENTICATED" => "access tokens are not accepted: check service_account_file and the clock",
        _ => "check base_url: this is not how Google answers",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Verdict, verdict};
    use crate::providers::Certainty;
    use crate::providers::fcm::error_body::ErrorBody;

    /// An error as Google writes it, with FCM's own code if there is one.
    fn body(status: &str, code: Option<&str>, message: &str, fields: &[&str]) -> ErrorBody {
        let mut details: Vec<Value> = Vec::new();
        if !fields.is_empty() {
            let violations: Vec<Value> = fields.iter().map(|field| json!({"field": field})).collect();
            details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}));
        }
        if let Some(code) = code {
            details.push(json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}));
        }
        let error = json!({"error": {"code": 0, "message": message, "status": status, "details": details}});
        ErrorBody::parse(error.to_string().as_bytes())
    }

    #[test]
    fn every_answer_that_google_documents_has_its_meaning() {
        use Verdict::{Delivered, Outage, Pause, Permanent, Reduce, Rejected, Renew};
        let plain = |status| body(status, None, "m", &[]);
        let coded = |status, code| body(status, Some(code), "m", &[]);
        let argument = |message, fields: &[&str]| body("INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), message, fields);
        for (status, error, expected) in [
            (200, plain(""), Delivered),
            (404, coded("NOT_FOUND", "UNREGISTERED"), Rejected("UNREGISTERED", Certainty::Certain)),
            (404, plain("NOT_FOUND"), Permanent("NOT_FOUND")),
            (404, coded("NOT_FOUND", "OTHER"), Permanent("NOT_FOUND")),
            // Not where FCM says it.
            (404, plain("UNREGISTERED"), Permanent("NOT_FOUND")),
            (403, coded("PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Rejected("SENDER_ID_MISMATCH", Certainty::Suspect)),
            (403, plain("PERMISSION_DENIED"), Permanent("PERMISSION_DENIED")),
            (403, coded("PERMISSION_DENIED", "UNREGISTERED"), Permanent("PERMISSION_DENIED")),
            (400, argument("m", &["message.token"]), Rejected("INVALID_ARGUMENT", Certainty::Suspect)),
            (400, argument("m", &["message.fid"]), Rejected("INVALID_ARGUMENT", Certainty::Suspect)),
            (400, argument("m", &["message.ttl", "message.token"]), Rejected("INVALID_ARGUMENT", Certainty::Suspect)),
            (
                400,
                argument("The registration token is not a valid FCM registration token", &[]),
                Rejected("INVALID_ARGUMENT", Certainty::Suspect),
            ),
            (400, argument("m", &["message.data[0].key"]), Reduce),
            (400, argument("Android message is too big", &[]), Reduce),
            (400, body("FAILED_PRECONDITION", None, "m", &["message.token"]), Reduce),
            (400, coded("INVALID_ARGUMENT", "UNREGISTERED"), Reduce),
            (401, coded("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), Permanent("THIRD_PARTY_AUTH_ERROR")),
            (401, plain("UNAUTHENTICATED"), Renew),
            (401, coded("UNAUTHENTICATED", "SENDER_ID_MISMATCH"), Renew),
            (429, coded("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), Pause),
            (500, coded("INTERNAL", "INTERNAL"), Outage("INTERNAL")),
            (503, coded("UNAVAILABLE", "UNAVAILABLE"), Outage("UNAVAILABLE")),
            (502, plain(""), Outage("gateway")),
            (504, plain("DEADLINE_EXCEEDED"), Outage("gateway")),
        ] {
            assert_eq!(verdict(status, &error), expected, "{status} {error:?}");
        }
    }

    #[test]
    fn without_a_readable_body_the_status_alone_decides() {
        use Verdict::{Delivered, Outage, Pause, Permanent, Reduce, Renew};
        for status in 100..=999 {
            let expected = match status {
                200..=299 => Delivered,
                400 => Reduce,
                401 => Renew,
                403 => Permanent("PERMISSION_DENIED"),
                404 => Permanent("NOT_FOUND"),
                429 => Pause,
                500 => Outage("INTERNAL"),
                502 | 504 => Outage("gateway"),
                503 => Outage("UNAVAILABLE"),
                300..=399 => Permanent("redirect"),
                _ => Permanent("unexpected_status"),
            };
            for text in ["", "<html><h1>Error</h1></html>", "{\"error\": {\"details\": [{}]}}"] {
                assert_eq!(verdict(status, &ErrorBody::parse(text.as_bytes())), expected, "{status} {text}");
            }
        }
    }

    #[test]
    fn no_status_but_400_403_and_404_can_ever_reject() {
        let worst = body("INVALID_ARGUMENT", Some("UNREGISTERED"), "registration token", &["message.token"]);
        for status in (100..=999).filter(|status| ![400, 403, 404].contains(status)) {
            assert!(!matches!(verdict(status, &worst), Verdict::Rejected(..)), "{status}");
        }
    }
}
