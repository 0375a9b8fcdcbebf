//! Each fault does what it says.

use std::time::{Duration, Instant};

use reqwest::{Certificate, Client};
use serde_json::{Value, json};

use super::{FORM, ask, basic, request, setting, take_complaints};
use crate::certificates::Authority;
use crate::sms::{Fault, SmsGateway, Vendor};
use crate::wait::wait_until;

const BODY: &[u8] = b"to=447700900001&from=Matrix&text=a";

/// How long an answer is waited for that must not come.
const PATIENCE: Duration = Duration::from_millis(100);

const DEADLINE: Duration = Duration::from_secs(10);

fn send(gateway: &SmsGateway) -> reqwest::RequestBuilder {
    request(gateway, "POST", "/send", &[FORM], BODY)
}

fn counts(gateway: &SmsGateway) -> (usize, usize) {
    (gateway.requests(), gateway.accepted().len())
}

#[tokio::test]
async fn a_fault_that_hangs_gives_no_answer_and_keeps_the_connection() {
    for (fault, accepted) in [(Fault::Hang, 0), (Fault::AcceptAndHang, 1)] {
        let gateway = SmsGateway::start(Vendor::Generic).await;
        gateway.fail_next(1, fault.clone());
        let mut waiting = tokio::spawn(send(&gateway).send());
        wait_until("the request", DEADLINE, || gateway.requests() == 1).await;
        assert!(tokio::time::timeout(PATIENCE, &mut waiting).await.is_err(), "{fault:?} answers");
        waiting.abort();
        assert_eq!(counts(&gateway), (1, accepted), "{fault:?}");
        assert_eq!(send(&gateway).send().await.unwrap().status(), 200);
        assert_eq!(counts(&gateway), (2, accepted + 1), "{fault:?}");
    }
}

#[tokio::test]
async fn a_fault_that_resets_gives_an_error_at_once() {
    for (fault, requests, accepted) in
        [(Fault::Reset, 1, 0), (Fault::AcceptAndReset, 1, 1), (Fault::ResetBeforeReading, 0, 0)]
    {
        let gateway = SmsGateway::start(Vendor::Generic).await;
        gateway.fail(fault.clone());
        let error = send(&gateway).timeout(DEADLINE).send().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        // What is reset so early may look like a pipe that broke.
        assert!(requests == 0 || format!("{error:?}").contains("ConnectionReset"), "{error:?}");
        assert_eq!(counts(&gateway), (requests, accepted), "{fault:?}");
        gateway.heal();
        assert_eq!(send(&gateway).send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_connection_that_is_there_already_is_reset_unread_too() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let send = || client.post(format!("{}/send", gateway.url())).body(BODY).send();
    assert_eq!(send().await.unwrap().text().await.unwrap(), r#"{"status":"ok"}"#);
    gateway.fail(Fault::ResetBeforeReading);
    send().await.unwrap_err();
    assert_eq!(counts(&gateway), (1, 1));
}

#[tokio::test]
async fn an_answer_that_drips_or_breaks_off_belongs_to_a_message_that_was_taken() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.set_success(200, "text/plain", "abc");
    gateway.fail(Fault::Drip);
    let start = Instant::now();
    let answer = send(&gateway).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().as_str()), (200, "abc"));
    assert!(start.elapsed() >= Duration::from_millis(500));
    assert_eq!(counts(&gateway), (1, 1));

    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.fail_next(1, Fault::TruncatedBody);
    let mut answer = send(&gateway).send().await.unwrap();
    assert_eq!(answer.headers()["content-length"], "15");
    assert_eq!(answer.chunk().await.unwrap().unwrap().as_ref(), br#"{"statu"#);
    answer.chunk().await.unwrap_err();
    assert_eq!(counts(&gateway), (1, 1));

    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.set_success(202, "text/plain", "");
    gateway.fail(Fault::TruncatedBody);
    send(&gateway).send().await.unwrap().text().await.unwrap_err();
    assert_eq!(gateway.accepted().len(), 1);
}

#[tokio::test]
async fn a_message_is_taken_under_a_fault_only_if_it_is_in_order() {
    let gateway = SmsGateway::start(Vendor::Vonage).await;
    for fault in [Fault::AcceptAndHang, Fault::AcceptAndReset, Fault::Drip, Fault::TruncatedBody] {
        gateway.fail_next(1, fault);
        let answer = ask(&gateway, "POST", "/sms/json", &[FORM], b"to=447700900001").await;
        assert_eq!(answer.json()["messages"][0]["status"], "2");
        assert_eq!(take_complaints(&gateway), ["no api_key"]);
    }
    assert_eq!(counts(&gateway), (4, 0));
}

#[tokio::test]
async fn what_is_wrong_is_complained_of_under_a_fault_too() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    gateway.fail(Fault::Status(503));
    assert_eq!(ask(&gateway, "POST", "/", &[], b"").await.status, 503);
    assert_eq!(take_complaints(&gateway), ["no such path: /"]);
}

#[tokio::test]
async fn garbage_retry_after_and_redirect_look_as_they_should() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.fail_next(1, Fault::Garbage);
    let answer = ask(&gateway, "POST", "/send", &[FORM], BODY).await;
    assert_eq!((answer.status, &answer.headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
    assert!(answer.text.starts_with("<!DOCTYPE html>"));
    gateway.fail_next(1, Fault::RetryAfter(7));
    let answer = ask(&gateway, "POST", "/send", &[FORM], BODY).await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (429, &"7".parse().unwrap()));
    assert_eq!(gateway.complaints(), Vec::<String>::new());

    // This client follows.
    gateway.fail_next(1, Fault::Redirect);
    assert_eq!(ask(&gateway, "POST", "/send", &[FORM], BODY).await.status, 404);
    assert_eq!(take_complaints(&gateway), ["the client followed a redirect: POST /moved"]);
    assert_eq!(counts(&gateway), (4, 0));
}

#[tokio::test]
async fn the_newest_fault_counts_until_it_is_spent_or_healed() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.fail(Fault::Status(500));
    gateway.fail_next(2, Fault::Status(503));
    let mut found = Vec::new();
    for _ in 0..4 {
        found.push(ask(&gateway, "POST", "/send", &[FORM], BODY).await.status);
    }
    gateway.heal();
    found.push(ask(&gateway, "POST", "/send", &[FORM], BODY).await.status);
    assert_eq!(found, [503, 503, 500, 500, 200]);
    assert_eq!(counts(&gateway), (5, 1));
}

#[tokio::test]
async fn each_vendor_fails_in_its_own_words() {
    for (vendor, fault, status, pointer, value) in [
        (Vendor::Twilio, Fault::Error("21610"), 400, "/code", json!(21610)),
        (Vendor::Twilio, Fault::RetryAfter(1), 429, "/code", json!(20429)),
        (Vendor::Twilio, Fault::Status(401), 401, "/code", json!(20003)),
        (Vendor::Twilio, Fault::Status(502), 502, "/status", json!(502)),
        (Vendor::Vonage, Fault::Error("1"), 200, "/messages/0/status", json!("1")),
        (Vendor::Vonage, Fault::Status(503), 503, "/title", json!("HTTP 503")),
        (Vendor::OpenMarket, Fault::Error("1010"), 500, "/error/code", json!("1010")),
        (Vendor::OpenMarket, Fault::Status(401), 401, "/error/code", json!("12005")),
        (Vendor::Infobip, Fault::Error("REJECTED_DESTINATION"), 200, "/messages/0/status/groupId", json!(5)),
        (
            Vendor::Infobip,
            Fault::Error("UNAUTHORIZED"),
            401,
            "/requestError/serviceException/messageId",
            json!("UNAUTHORIZED"),
        ),
        (Vendor::Infobip, Fault::Status(500), 500, "/requestError/serviceException/messageId", json!("GENERAL_ERROR")),
        (Vendor::Generic, Fault::Error("blocked"), 400, "/error", json!("blocked")),
    ] {
        let gateway = SmsGateway::start(vendor).await;
        gateway.fail(fault.clone());
        let answer = ask(&gateway, "POST", "/", &[], b"").await;
        let body: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!((answer.status, body.pointer(pointer)), (status, Some(&value)), "{vendor:?} {fault:?}");
    }
    for (fault, status, code, kind) in [
        (Fault::Error("OptedOut"), 400, "OptedOut", "Sender"),
        (Fault::Error("Throttled"), 429, "Throttled", "Sender"),
        (Fault::Status(503), 503, "ServiceUnavailable", "Receiver"),
        (Fault::Status(500), 500, "InternalFailure", "Receiver"),
    ] {
        let gateway = SmsGateway::start(Vendor::Sns).await;
        gateway.fail(fault);
        let answer = ask(&gateway, "POST", "/", &[], b"").await;
        assert_eq!(answer.status, status);
        assert!(answer.text.contains(&format!("<Code>{code}</Code>")), "{}", answer.text);
        assert!(answer.text.contains(&format!("<Type>{kind}</Type>")), "{}", answer.text);
    }
}

#[tokio::test]
#[should_panic(expected = "Twilio has no error 4711")]
async fn an_error_that_the_vendor_does_not_have_is_a_mistake_of_the_test() {
    SmsGateway::start(Vendor::Twilio).await.fail(Fault::Error("4711"));
}

#[tokio::test]
async fn over_tls_it_is_the_same_and_only_for_those_who_trust_its_authority() {
    let authority = Authority::new("the vendors' authority");
    let gateway = SmsGateway::start_tls(Vendor::Twilio, &authority).await;
    assert!(gateway.url().starts_with("https://127.0.0.1:"));
    let certificate = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let client = || Client::builder().no_proxy().tls_certs_only([certificate.clone()]).build().unwrap();
    let login = basic(&setting(&gateway, "account_sid"), &setting(&gateway, "auth_token"));
    let url = format!("{}/2010-04-01/Accounts/{}/Messages.json", gateway.url(), setting(&gateway, "account_sid"));
    let send = || {
        let request = client().post(&url).header("Authorization", &login).header(FORM.0, FORM.1);
        request.body("To=%2B447700900001&From=Matrix&Body=code+123456").timeout(DEADLINE).send()
    };
    assert_eq!(send().await.unwrap().status(), 201);
    assert_eq!(gateway.wait_for("447700900001", 1, DEADLINE).await.code(), "123456");
    for (fault, accepted) in [(Fault::ResetBeforeReading, 1), (Fault::Reset, 1), (Fault::AcceptAndReset, 2)] {
        gateway.fail_next(1, fault);
        let error = send().await.unwrap_err();
        assert!(!error.is_timeout(), "{error:?}");
        assert_eq!(gateway.accepted().len(), accepted);
    }
    request(&gateway, "POST", "/", &[], b"").send().await.unwrap_err();
    assert_eq!(gateway.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn what_hangs_ends_with_its_gateway() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.fail(Fault::Hang);
    let waiting = tokio::spawn(send(&gateway).timeout(DEADLINE).send());
    wait_until("the request", DEADLINE, || gateway.requests() == 1).await;
    drop(gateway);
    assert!(!waiting.await.unwrap().unwrap_err().is_timeout());
}
