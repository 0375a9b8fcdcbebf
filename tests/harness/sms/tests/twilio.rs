//! Twilio, by requests as its documentation shows them.

use serde_json::{Value, json};

use super::{Answer, FORM, ask, basic, setting, sms, take_complaints};
use crate::sms::{SmsGateway, TWILIO_API_KEY_SECRET, TWILIO_API_KEY_SID, TWILIO_MESSAGING_SERVICE_SID, Vendor};

const GOOD: &str = "To=%2B447700900001&From=%2B15017122661&Body=123456+is+your+code";

fn path(gateway: &SmsGateway) -> String {
    format!("/2010-04-01/Accounts/{}/Messages.json", setting(gateway, "account_sid"))
}

fn login(gateway: &SmsGateway) -> String {
    basic(&setting(gateway, "account_sid"), &setting(gateway, "auth_token"))
}

async fn post(gateway: &SmsGateway, body: &str) -> Answer {
    let login = login(gateway);
    ask(gateway, "POST", &path(gateway), &[FORM, ("Authorization", &login)], body.as_bytes()).await
}

/// Status, code and complaints.
fn refusal(gateway: &SmsGateway, answer: &Answer) -> (u16, Value, Vec<String>) {
    let error = answer.json();
    assert_eq!(error["status"], json!(answer.status));
    assert_eq!(error["more_info"], json!(format!("https://www.twilio.com/docs/errors/{}", error["code"])));
    assert!(error["message"].is_string());
    (answer.status, error["code"].clone(), take_complaints(gateway))
}

#[tokio::test]
async fn it_takes_what_its_documentation_shows() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    assert!(gateway.config().starts_with("[sms.twilio]\n"));
    assert_eq!(setting(&gateway, "url"), gateway.url());

    let answer = post(&gateway, GOOD).await;
    assert_eq!(answer.status, 201);
    let message = answer.json();
    assert!(message["sid"].as_str().unwrap().starts_with("SM") && message["sid"].as_str().unwrap().len() == 34);
    assert_eq!((&message["status"], &message["num_segments"]), (&json!("queued"), &json!("1")));
    assert_eq!((&message["to"], &message["error_code"]), (&json!("+447700900001"), &Value::Null));

    // By a messaging service, with a key; in the other alphabet; from a name; from a short code.
    let key = basic(TWILIO_API_KEY_SID, TWILIO_API_KEY_SECRET);
    let body = format!("To=%2B447700900002&MessagingServiceSid={TWILIO_MESSAGING_SERVICE_SID}&Body=%D0%BA%D0%BE%D0%B4");
    let headers = [("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"), ("Authorization", &key)];
    let answer = ask(&gateway, "POST", &path(&gateway), &headers, body.as_bytes()).await;
    let message = answer.json();
    assert_eq!((answer.status, &message["status"], &message["from"]), (201, &json!("accepted"), &Value::Null));
    assert_eq!(post(&gateway, "To=%2B447700900003&From=My+Matrix&Body=a").await.status, 201);
    assert_eq!(post(&gateway, "To=%2B447700900004&From=12345&Body=a&ValidityPeriod=600").await.status, 201);

    assert_eq!(gateway.complaints(), Vec::<String>::new());
    assert_eq!(gateway.requests(), 4);
    assert_eq!(
        gateway.accepted(),
        [
            sms("447700900001", "+15017122661", "123456 is your code"),
            sms("447700900002", TWILIO_MESSAGING_SERVICE_SID, "код"),
            sms("447700900003", "My Matrix", "a"),
            sms("447700900004", "12345", "a"),
        ]
    );
}

#[tokio::test]
async fn it_refuses_a_wrong_body_with_its_own_code() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    let long = format!("To=%2B447700900001&From=Matrix&Body={}", "a".repeat(1601));
    for (body, status, code) in [
        ("", 400, 21604),
        ("From=Matrix&Body=a", 400, 21604),
        ("To=447700900001&From=Matrix&Body=a", 400, 21211),
        ("To=+447700900001&From=Matrix&Body=a", 400, 21211),
        ("To=%2B%2B447700900001&From=Matrix&Body=a", 400, 21211),
        ("To=%2B07700900001&From=Matrix&Body=a", 400, 21211),
        ("to=%2B447700900001&From=Matrix&Body=a", 400, 21604),
        ("To=%2B447700900001&From=MatrixMatrix&Body=a", 400, 21212),
        ("To=%2B447700900001&From=15017122661&Body=a", 400, 21212),
        ("To=%2B447700900001&From=M%C3%A4trix&Body=a", 400, 21212),
        ("To=%2B447700900001&From=&Body=a", 400, 21212),
        ("To=%2B447700900001&Body=a", 400, 21603),
        ("To=%2B447700900001&MessagingServiceSid=MG00&Body=a", 400, 21701),
        ("To=%2B447700900001&From=Matrix", 400, 21602),
        ("To=%2B447700900001&From=Matrix&Body=", 400, 21602),
        ("To=%2B447700900001&From=Matrix&Body=a b", 400, 21604),
        ("To=%2B447700900001&From=Matrix&Body=%FC", 400, 21604),
        (&long, 400, 21617),
    ] {
        let answer = post(&gateway, body).await;
        let (found, found_code, complaints) = refusal(&gateway, &answer);
        assert_eq!((found, found_code), (status, json!(code)), "{body}");
        assert!(!complaints.is_empty(), "{body}");
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_refuses_a_stranger_and_what_is_no_form() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    let (path, login) = (path(&gateway), login(&gateway));
    let other = path.replace("AC0", "AC1");
    let wrong = basic(&setting(&gateway, "account_sid"), "wrong");
    let good = ("Authorization", login.as_str());
    for (method, target, headers, status, code) in [
        ("POST", path.as_str(), vec![FORM], 401, 20003),
        ("POST", &path, vec![FORM, ("Authorization", wrong.as_str())], 401, 20003),
        ("POST", &path, vec![FORM, ("Authorization", "Bearer x")], 401, 20003),
        ("POST", &other, vec![FORM, good], 401, 20003),
        ("GET", &path, vec![FORM, good], 405, 20004),
        ("POST", "/2010-04-01/Messages.json", vec![FORM, good], 404, 20404),
        ("POST", &path.replace(".json", ""), vec![FORM, good], 404, 20404),
        ("POST", &path, vec![good], 400, 21604),
        ("POST", &path, vec![("Content-Type", "application/json"), good], 400, 21604),
        ("POST", &path, vec![("Content-Type", "application/x-www-form-urlencoded; charset=latin1"), good], 400, 21604),
    ] {
        let answer = ask(&gateway, method, target, &headers, GOOD.as_bytes()).await;
        assert_eq!(answer.status == 401, answer.headers.contains_key("www-authenticate"));
        let (found, found_code, complaints) = refusal(&gateway, &answer);
        assert_eq!((found, found_code), (status, json!(code)), "{method} {target} {headers:?}");
        assert_eq!(complaints.len(), 1, "{complaints:?}");
    }
    assert!(gateway.accepted().is_empty());
    assert_eq!(gateway.requests(), 10);
}

#[tokio::test]
async fn it_takes_but_complains_of_what_is_merely_unwise() {
    let gateway = SmsGateway::start(Vendor::Twilio).await;
    for (body, complaint) in [
        (format!("{GOOD}&Colour=red"), "no such parameter: Colour"),
        (format!("{GOOD}&Body=b"), "twice: Body"),
        (format!("To=%2B447700900001&From=Matrix&Body={}", "a".repeat(161)), "the text takes 2 messages"),
        (format!("To=%2B447700900001&From=Matrix&Body={}", "%D0%BA".repeat(71)), "the text takes 2 messages"),
    ] {
        assert_eq!(post(&gateway, &body).await.status, 201);
        assert_eq!(take_complaints(&gateway), [complaint]);
    }
    let target = format!("{}?To=1", path(&gateway));
    let login = login(&gateway);
    let answer = ask(&gateway, "POST", &target, &[FORM, ("Authorization", &login)], GOOD.as_bytes()).await;
    assert_eq!((answer.status, take_complaints(&gateway)), (201, vec!["parameters belong into the body".to_owned()]));
    assert_eq!(gateway.accepted().len(), 5);
}
