//! Every row of the table.

use std::time::Duration;

use serde_json::json;

use super::{Action, Answer, interpret};
use crate::providers::outcome::{Cause, Certainty, Failure, Outcome};

const TOKEN: &str = "IQAAAACy0aYTAAA";

fn found(status: u16, code: &str, message: &str) -> (Outcome, Action) {
    let body = json!({ "code": code, "msg": message, "requestId": "1" }).to_string();
    interpret(status, &Answer::parse(body.as_bytes()), None, TOKEN)
}

#[test]
fn each_code_has_its_outcome() {
    let illegal = json!({ "success": 0, "failure": 1, "illegal_tokens": [TOKEN] }).to_string();
    let other = json!({ "success": 3, "failure": 1, "illegal_tokens": ["xxx"] }).to_string();
    for (code, message, outcome, reason, action) in [
        ("80000000", "Success", "delivered", "", Action::Finish),
        ("80100000", "tokenFormatError", "rejected", "tokenFormatError", Action::Finish),
        ("80300007", "{\"tokenPlatformNotSupport\":1}", "rejected", "tokenPlatformNotSupport", Action::Finish),
        ("80300007", "noRight", "rejected", "noRight", Action::Finish),
        ("80100000", "noPushTypeRight", "permanent", "noPushTypeRight", Action::Finish),
        (
            "80300007",
            "noRightToSendThisLiveNotificationEvent",
            "permanent",
            "noRightToSendThisLiveNotificationEvent",
            Action::Finish,
        ),
        ("80100000", "countryNotSupport", "permanent", "countryNotSupport", Action::Finish),
        ("80100000", &illegal, "rejected", "illegal_token", Action::Finish),
        ("80100000", &other, "delivered", "", Action::Finish),
        ("80100000", "?", "delivered", "", Action::Finish),
        ("80300007", "?", "rejected", "illegal_token", Action::Finish),
        ("80300007", &other, "rejected", "illegal_token", Action::Finish),
        ("80100001", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100003", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100013", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100016", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100018", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100022", "", "dropped", "bad_payload", Action::ReducePayload),
        ("80100004", "", "dropped", "expired", Action::Finish),
        ("80200001", "", "permanent", "unauthorized", Action::RenewToken),
        ("80200003", "", "permanent", "unauthorized", Action::RenewToken),
        ("80200005", "", "permanent", "unauthorized", Action::RenewToken),
        ("80300002", "", "permanent", "no_permission", Action::Finish),
        ("80300011", "", "permanent", "oauth_scope", Action::Finish),
        ("80300036", "", "permanent", "clock", Action::Finish),
        ("80300037", "", "permanent", "penalty", Action::Finish),
        ("80300008", "", "dropped", "too_large", Action::Shrink),
        ("80300010", "", "permanent", "too_many_tokens", Action::Finish),
        ("80300029", "", "temporary", "test_quota", Action::Finish),
        ("80300030", "", "temporary", "test_quota", Action::Finish),
        ("80600003", "", "temporary", "token_service", Action::Finish),
        ("81000001", "", "temporary", "internal_error", Action::Finish),
        ("99999999", "", "permanent", "unknown_code", Action::Finish),
        ("Success", "", "permanent", "unknown_code", Action::Finish),
    ] {
        for status in [200, 400] {
            let (found, then) = found(status, code, message);
            assert_eq!((found.labels(), then), ((outcome, reason), action), "{status} {code} {message}");
        }
    }
}

#[test]
fn no_rejection_is_certain() {
    for message in ["tokenFormatError", "tokenPlatformNotSupport", "noRight", ""] {
        let Outcome::Rejected(rejection) = found(200, "80300007", message).0 else { panic!() };
        assert_eq!(rejection.certainty, Certainty::Suspect);
    }
}

#[test]
fn the_status_decides_where_it_is_no_200() {
    for (status, code, labels, action) in [
        (401, "80000000", ("permanent", "unauthorized"), Action::RenewToken),
        (404, "80300007", ("permanent", "not_found"), Action::Finish),
        (429, "", ("temporary", "too_many_requests"), Action::Pause),
        (503, "80300007", ("temporary", "too_many_requests"), Action::Pause),
        (500, "80300007", ("temporary", "internal_error"), Action::Finish),
        (502, "", ("temporary", "gateway"), Action::Finish),
        (504, "", ("temporary", "gateway"), Action::Finish),
        (302, "80000000", ("permanent", "redirect"), Action::Finish),
        (400, "", ("dropped", "bad_payload"), Action::ReducePayload),
        (403, "", ("permanent", "unexpected_status"), Action::Finish),
        (403, "80300002", ("permanent", "no_permission"), Action::Finish),
    ] {
        let (outcome, then) = found(status, code, "");
        assert_eq!((outcome.labels(), then), (labels, action), "{status} {code}");
    }
    let is_retried = |outcome: Outcome| matches!(outcome, Outcome::Failed(Failure { retry_in_request: true, .. }));
    assert!(is_retried(found(500, "", "").0) && is_retried(found(200, "81000001", "").0));
    assert!(!is_retried(found(200, "80300029", "").0));
}

#[test]
fn a_body_that_cannot_be_read_is_no_success() {
    for body in ["", "<html>", "{\"code\":\"8000", "[]", "{}", "{\"code\":null}"] {
        let answer = Answer::parse(body.as_bytes());
        let (outcome, _) = interpret(200, &answer, Some(Duration::from_secs(1)), TOKEN);
        assert_eq!(outcome.labels(), ("temporary", "unreadable_response"), "{body}");
    }
    let number = Answer::parse(br#"{"code":80000000,"msg":"Success"}"#);
    assert_eq!(interpret(200, &number, None, TOKEN).0, Outcome::Delivered);
}

#[test]
fn a_token_is_no_reason_and_is_not_logged() {
    let message = "rejected noPushTypeRight x noRight";
    let answer = Answer::parse(json!({ "code": "80300007", "msg": message }).to_string().as_bytes());
    let (outcome, _) = interpret(200, &answer, None, "noRight");
    let Outcome::Failed(Failure { cause: Cause::Ours { detail }, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(detail.contains("x ***") && !detail.contains("noRight "), "{detail}");
}
