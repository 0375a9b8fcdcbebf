//! The outcome of each documented answer, and the parts of error bodies.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Action, ErrorBody, Quota, escaped, interpret};
use crate::providers::outcome::Certainty::{Certain, Suspect};
use crate::providers::outcome::{Cause, Failure, Outcome};

/// The outcome and the action, without the detail of a mistake.
fn interpreted(status: u16, error: &ErrorBody) -> (Outcome, Action) {
    match interpret(status, error, None, "tok") {
        (Outcome::Failed(Failure { cause: Cause::Ours { .. }, reason, .. }), action) => (mistake(reason), action),
        other => other,
    }
}

fn mistake(reason: &'static str) -> Outcome {
    Failure::ours(reason, "").into()
}

fn outage(reason: &'static str) -> (Outcome, Action) {
    (Failure::outage(reason, None).into(), Action::Finish)
}

fn quota() -> (Outcome, Action) {
    let pause = Duration::from_secs(60);
    (Failure::pause("QUOTA_EXCEEDED", pause).into(), Action::Pause(pause, Quota::Unknown))
}

/// An error in Google's format, with FCM's own code if there is one.
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
fn every_documented_answer_has_its_outcome() {
    let finish = |outcome| (outcome, Action::Finish);
    let rejected = |reason, certainty| finish(Outcome::rejected(reason, certainty));
    let ours = |reason| finish(mistake(reason));
    let reduce = || (Outcome::Dropped("bad_payload"), Action::ReducePayload);
    let renew = || (mistake("UNAUTHENTICATED"), Action::RenewToken);
    let plain = |status| body(status, None, "m", &[]);
    let coded = |status, code| body(status, Some(code), "m", &[]);
    let argument = |message, fields: &[&str]| body("INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), message, fields);
    for (status, error, expected) in [
        (200, plain(""), finish(Outcome::Delivered)),
        (404, coded("NOT_FOUND", "UNREGISTERED"), rejected("UNREGISTERED", Certain)),
        (404, plain("NOT_FOUND"), ours("NOT_FOUND")),
        (404, coded("NOT_FOUND", "OTHER"), ours("NOT_FOUND")),
        // Not in the place of FCM's own code.
        (404, plain("UNREGISTERED"), ours("NOT_FOUND")),
        (403, coded("PERMISSION_DENIED", "SENDER_ID_MISMATCH"), rejected("SENDER_ID_MISMATCH", Suspect)),
        (403, plain("PERMISSION_DENIED"), ours("PERMISSION_DENIED")),
        (403, coded("PERMISSION_DENIED", "UNREGISTERED"), ours("PERMISSION_DENIED")),
        (400, argument("m", &["message.token"]), rejected("INVALID_ARGUMENT", Suspect)),
        (400, argument("m", &["message.fid"]), rejected("INVALID_ARGUMENT", Suspect)),
        (400, argument("m", &["message.ttl", "message.token"]), rejected("INVALID_ARGUMENT", Suspect)),
        (
            400,
            argument("The registration token is not a valid FCM registration token", &[]),
            rejected("INVALID_ARGUMENT", Suspect),
        ),
        (400, argument("m", &["message.data[0].key"]), reduce()),
        (400, argument("m", &["message.android.ttl"]), (mistake("INVALID_ARGUMENT"), Action::ReducePayload)),
        (400, argument("Android message is too big", &[]), reduce()),
        (400, body("FAILED_PRECONDITION", None, "m", &["message.token"]), reduce()),
        (400, coded("INVALID_ARGUMENT", "UNREGISTERED"), reduce()),
        (401, coded("UNAUTHENTICATED", "THIRD_PARTY_AUTH_ERROR"), ours("THIRD_PARTY_AUTH_ERROR")),
        (401, plain("UNAUTHENTICATED"), renew()),
        (401, coded("UNAUTHENTICATED", "SENDER_ID_MISMATCH"), renew()),
        (429, coded("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), quota()),
        (500, coded("INTERNAL", "INTERNAL"), outage("INTERNAL")),
        (503, coded("UNAVAILABLE", "UNAVAILABLE"), outage("UNAVAILABLE")),
        (502, plain(""), outage("gateway")),
        (504, plain("DEADLINE_EXCEEDED"), outage("gateway")),
    ] {
        assert_eq!(interpreted(status, &error), expected, "{status} {error:?}");
    }
}

#[test]
fn without_a_readable_body_the_status_alone_decides() {
    let finish = |reason| (mistake(reason), Action::Finish);
    for status in 100..=999 {
        let expected = match status {
            200..=299 => (Outcome::Delivered, Action::Finish),
            400 => (Outcome::Dropped("bad_payload"), Action::ReducePayload),
            401 => (mistake("UNAUTHENTICATED"), Action::RenewToken),
            403 => finish("PERMISSION_DENIED"),
            404 => finish("NOT_FOUND"),
            429 => quota(),
            500 => outage("INTERNAL"),
            502 | 504 => outage("gateway"),
            503 => outage("UNAVAILABLE"),
            300..=399 => finish("redirect"),
            _ => finish("unexpected_status"),
        };
        for text in ["", "<html><h1>Error</h1></html>", "{\"error\": {\"details\": [{}]}}"] {
            assert_eq!(interpreted(status, &ErrorBody::parse(text.as_bytes())), expected, "{status} {text}");
        }
    }
}

#[test]
fn only_400_403_and_404_can_reject() {
    let worst = body("INVALID_ARGUMENT", Some("UNREGISTERED"), "registration token", &["message.token"]);
    for status in (100..=999).filter(|status| ![400, 403, 404].contains(status)) {
        assert!(!matches!(interpreted(status, &worst).0, Outcome::Rejected(_)), "{status}");
    }
}

#[test]
fn a_pause_lasts_as_long_as_retry_after_up_to_an_hour() {
    for (retry_after, expected) in [(None, 60), (Some(7), 7), (Some(99_999_999), 3600)] {
        let retry_after = retry_after.map(Duration::from_secs);
        let (outcome, action) = interpret(429, &ErrorBody::default(), retry_after, "");
        let pause = Duration::from_secs(expected);
        assert_eq!(
            (outcome, action),
            (Failure::pause("QUOTA_EXCEEDED", pause).into(), Action::Pause(pause, Quota::Unknown))
        );
    }
}

fn parse(json: &Value) -> ErrorBody {
    ErrorBody::parse(json.to_string().as_bytes())
}

#[test]
fn the_code_the_status_and_the_fields_are_read_in_any_order_of_the_details() {
    let error = parse(&json!({"error": {
        "code": 400, "status": "INVALID_ARGUMENT", "message": "Request contains an invalid argument.",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.BadRequest",
             "fieldViolations": [{"field": "message.ttl"}, {"field": "message.token", "description": "no"}]},
            {"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"},
        ],
    }}));
    assert_eq!(error.code.as_deref(), Some("INVALID_ARGUMENT"));
    assert_eq!(error.status.as_deref(), Some("INVALID_ARGUMENT"));
    assert_eq!(error.fields, ["message.ttl", "message.token"]);
    assert!(error.blames_target());
}

#[test]
fn the_operators_options_are_recognized_by_their_names() {
    let blames = |field: &str| {
        let details = json!([{"fieldViolations": [{"field": field}]}]);
        parse(&json!({"error": {"status": "INVALID_ARGUMENT", "details": details}})).blames_options()
    };
    for (field, is_blamed) in [
        ("message.android.ttl", true),
        ("message.notification", true),
        ("message.apns.payload.aps", true),
        ("message.data[0].value", false),
        ("message.token", false),
        ("message.notifications", false),
        ("notification", false),
        ("", false),
    ] {
        assert_eq!(blames(field), is_blamed, "{field}");
    }
}

#[test]
fn fcms_own_code_takes_precedence_over_the_common_status() {
    let error =
        parse(&json!({"error": {"status": "PERMISSION_DENIED", "details": [{"errorCode": "SENDER_ID_MISMATCH"}]}}));
    assert_eq!(error.code_or_status(), Some("SENDER_ID_MISMATCH"));
    let error = parse(&json!({"error": {"status": "NOT_FOUND"}}));
    assert_eq!((error.code_or_status(), error.code.as_deref()), (Some("NOT_FOUND"), None));
}

#[test]
fn only_the_target_makes_an_invalid_argument_the_fault_of_the_device() {
    for (error, blames) in [
        (json!({"message": "The registration token is not a valid FCM registration token"}), true),
        (json!({"message": "Invalid registration token"}), true),
        (json!({"message": "The registration token is not a valid FCM registration token."}), true),
        // Quoted: the text of an event, not Google's own.
        (json!({"message": "Invalid value at 'message.data': \"Invalid registration token\""}), false),
        (json!({"message": "the registration token is fine, the data is not"}), false),
        (json!({"details": [{"fieldViolations": [{"field": "message.fid"}]}]}), true),
        (json!({"details": [{"fieldViolations": [{"field": "message.token.x"}]}]}), false),
        (json!({"details": [{"fieldViolations": [{"field": "message.data[0].value"}]}]}), false),
        (json!({"message": "Android message is too big"}), false),
        (json!({}), false),
    ] {
        assert_eq!(parse(&json!({"error": error})).blames_target(), blames, "{error}");
    }
}

/// An error that relays one of APNs.
fn relayed(status: u16, reason: &str) -> ErrorBody {
    let apns = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.ApnsError", "statusCode": status, "reason": reason});
    let own = json!({"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "INVALID_ARGUMENT"});
    parse(
        &json!({"error": {"status": "INVALID_ARGUMENT", "message": "Request contains an invalid argument.", "details": [own, apns]}}),
    )
}

#[test]
fn an_error_of_apns_decides_by_its_own_status_and_reason() {
    for (status, reason, expected) in [
        (410, "Unregistered", Outcome::rejected("Unregistered", Certain)),
        (410, "ExpiredToken", Outcome::rejected("ExpiredToken", Certain)),
        (400, "BadDeviceToken", Outcome::rejected("BadDeviceToken", Suspect)),
        (400, "DeviceTokenNotForTopic", Outcome::rejected("DeviceTokenNotForTopic", Suspect)),
        (403, "InvalidProviderToken", mistake("InvalidProviderToken")),
        (400, "TopicDisallowed", mistake("TopicDisallowed")),
        (400, "NewReason", mistake("other")),
    ] {
        for of_fcm in [400, 401, 404] {
            let (found, action) = interpreted(of_fcm, &relayed(status, reason));
            assert_eq!((found, action), (expected.clone(), Action::Finish), "{of_fcm}: {status} {reason}");
        }
    }
    let (outcome, action) = interpreted(429, &relayed(429, "TooManyRequests"));
    assert_eq!(outcome.labels(), ("temporary", "TooManyRequests"));
    assert_eq!(action, Action::Pause(Duration::from_secs(30), Quota::Device));
    let (outcome, action) = interpreted(503, &relayed(503, "ServiceUnavailable"));
    assert_eq!((outcome.labels(), action), (("temporary", "ServiceUnavailable"), Action::Finish));
    let disabled = body("INVALID_ARGUMENT", Some("INVALID_ARGUMENT"), "APNs device token is disabled.", &[]);
    assert_eq!(interpreted(400, &disabled).0, Outcome::rejected("Unregistered", Certain));
}

#[test]
fn the_quota_that_is_spent_is_read_from_the_details() {
    let quota = |details: Value| parse(&json!({"error": {"status": "RESOURCE_EXHAUSTED", "details": details}})).quota;
    let failure = |subject: &str| json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"subject": subject}]}]);
    assert_eq!(quota(failure("project:my-app")), Quota::Project);
    assert_eq!(quota(failure("device_token")), Quota::Device);
    assert_eq!(quota(failure("")), Quota::Unknown);
    let info = json!([{"metadata": {"quota_limit": "DefaultRequestsPerMinutePerProject"}}]);
    assert_eq!(quota(info), Quota::Project);
    assert_eq!(quota(json!([])), Quota::Unknown);
}

#[test]
fn a_body_in_any_other_format_is_an_error_without_parts() {
    for body in [
        "",
        "null",
        "[]",
        "5",
        "{}",
        r#"{"error": "NOT_FOUND"}"#,
        r#"{"error": null}"#,
        r#"{"error": {"details": 5, "status": 5, "message": []}}"#,
        r#"{"error": {"details": [5, null, {"errorCode": 5}, {"fieldViolations": {"field": "message.token"}}]}}"#,
        "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>",
        r#"{"error": {"status": "NOT_FO"#,
    ] {
        let error = ErrorBody::parse(body.as_bytes());
        assert_eq!((error.code_or_status(), error.blames_target()), (None, false), "{body}");
    }
    let deep = "[".repeat(16_000);
    assert_eq!(ErrorBody::parse(deep.as_bytes()).code, None);
    assert_eq!(ErrorBody::parse(b"\xff\xfe\x00").code, None);
}

#[test]
fn a_detail_is_one_short_line_without_the_pushkey() {
    let error = parse(&json!({"error": {"status": "NOT_FOUND", "message": "no \u{1b}[31m\n'tok-1'\u{202e}"}}));
    assert_eq!(error.detail("tok-1"), r"NOT_FOUND, no \u{1b}[31m\n'***'\u{202e}");
    let quoting = parse(&json!({"error": {"message": "Invalid value at 'message.data' (TYPE_STRING), \"meet me\""}}));
    assert_eq!(quoting.detail(""), "Invalid value at 'message.data' (TYPE_STRING),");
    assert_eq!(ErrorBody::parse(b"<html>\r\n").detail(""), r"<html>\r\n");
    assert_eq!(ErrorBody::parse(&[b'x'; 9_999]).detail("k").chars().count(), 100);
    assert_eq!(escaped(&"\n".repeat(500)).len(), 100);
    assert_eq!(escaped("é🦉"), "é🦉");
}
