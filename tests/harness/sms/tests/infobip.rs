//! Infobip, in both forms.

use serde_json::{Value, json};

use super::{Answer, JSON, ask, setting, sms, take_complaints};
use crate::sms::{SmsGateway, Vendor};

const SECOND: &str = "/sms/2/text/advanced";
const THIRD: &str = "/sms/3/messages";

async fn post(gateway: &SmsGateway, path: &str, body: &Value) -> Answer {
    let key = format!("App {}", setting(gateway, "api_key"));
    ask(gateway, "POST", path, &[JSON, ("Authorization", &key)], body.to_string().as_bytes()).await
}

fn second(to: &Value, from: &Value, text: &Value) -> Value {
    json!({"messages": [{"destinations": [{"to": to}], "from": from, "text": text}]})
}

fn third(to: &Value, from: &Value, text: &Value) -> Value {
    json!({"messages": [{"destinations": [{"to": to}], "sender": from, "content": {"text": text}}]})
}

#[tokio::test]
async fn it_takes_what_its_documentation_shows_in_both_forms() {
    let gateway = SmsGateway::start(Vendor::Infobip).await;
    assert_eq!(setting(&gateway, "url"), gateway.url());
    let (to, from, text) = (json!("41793026727"), json!("InfoSMS"), json!("This is a sample message"));
    let answer = post(&gateway, SECOND, &second(&to, &from, &text)).await;
    let message = answer.json()["messages"][0].clone();
    assert_eq!((answer.status, &message["to"]), (200, &to));
    assert_eq!((&message["status"]["groupId"], &message["status"]["groupName"]), (&json!(1), &json!("PENDING")));
    assert_eq!((&message["status"]["id"], &message["status"]["name"]), (&json!(26), &json!("PENDING_ACCEPTED")));

    let answer = post(&gateway, THIRD, &third(&to, &json!("447000000000"), &json!("код 123456"))).await;
    let message = answer.json()["messages"][0].clone();
    assert_eq!((answer.status, &message["destination"]), (200, &to));
    assert_eq!((&message["status"]["groupId"], message["messageId"].is_string()), (&json!(1), true));

    let body = json!({"messages": [{"destinations": [{"to": "41793026727", "messageId": "m"}], "text": "a"}]});
    assert_eq!(post(&gateway, SECOND, &body).await.status, 200);

    assert_eq!(gateway.complaints(), Vec::<String>::new());
    assert_eq!(
        gateway.accepted(),
        [
            sms("41793026727", "InfoSMS", "This is a sample message"),
            sms("41793026727", "447000000000", "код 123456"),
            sms("41793026727", "", "a"),
        ]
    );
}

#[tokio::test]
async fn it_rejects_a_wrong_number_or_sender_with_200_and_a_status() {
    let gateway = SmsGateway::start(Vendor::Infobip).await;
    for (to, from, name) in [
        ("+41793026727", "InfoSMS", "REJECTED_INVALID_DESTINATION"),
        ("0793026727", "InfoSMS", "REJECTED_INVALID_DESTINATION"),
        ("41793026727", "InfoSMSInfoSMS", "REJECTED_SOURCE"),
        ("41793026727", "+447000000000", "REJECTED_SOURCE"),
        ("41793026727", "", "REJECTED_SOURCE"),
    ] {
        for (path, body) in [
            (SECOND, second(&json!(to), &json!(from), &json!("a"))),
            (THIRD, third(&json!(to), &json!(from), &json!("a"))),
        ] {
            let answer = post(&gateway, path, &body).await;
            let status = answer.json()["messages"][0]["status"].clone();
            assert_eq!((answer.status, &status["name"]), (200, &json!(name)), "{body}");
            assert_eq!((&status["groupId"], &status["groupName"]), (&json!(5), &json!("REJECTED")));
            assert_eq!(take_complaints(&gateway).len(), 1);
        }
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_refuses_what_it_cannot_read_and_strangers() {
    let gateway = SmsGateway::start(Vendor::Infobip).await;
    for body in [
        json!({}),
        json!({"messages": []}),
        json!({"messages": [{"from": "InfoSMS", "text": "a"}]}),
        json!({"messages": [{"destinations": [], "text": "a"}]}),
        json!({"messages": [{"destinations": [{}], "text": "a"}]}),
        second(&json!(41_793_026_727_i64), &json!("InfoSMS"), &json!("a")),
        second(&json!("41793026727"), &json!("InfoSMS"), &json!("")),
        second(&json!("41793026727"), &json!("InfoSMS"), &Value::Null),
    ] {
        let answer = post(&gateway, SECOND, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["requestError"]["serviceException"]["messageId"], "BAD_REQUEST");
        assert_eq!(take_complaints(&gateway).len(), 1, "{body}");
    }
    let (key, body) =
        (setting(&gateway, "api_key"), second(&json!("41793026727"), &json!("I"), &json!("a")).to_string());
    let (app, basic) = (format!("App {key}"), format!("Basic {key}"));
    let good = ("Authorization", app.as_str());
    for (method, path, headers, status) in [
        ("POST", SECOND, vec![JSON], 401),
        ("POST", SECOND, vec![JSON, ("Authorization", key.as_str())], 401),
        ("POST", SECOND, vec![JSON, ("Authorization", basic.as_str())], 401),
        ("POST", SECOND, vec![JSON, ("Authorization", "App wrong")], 401),
        ("GET", SECOND, vec![JSON, good], 405),
        ("POST", "/sms/1/text/single", vec![JSON, good], 404),
        ("POST", SECOND, vec![good], 415),
    ] {
        assert_eq!(ask(&gateway, method, path, &headers, body.as_bytes()).await.status, status, "{method} {path}");
        assert_eq!(take_complaints(&gateway).len(), 1);
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_takes_but_complains_of_what_it_does_not_know() {
    let gateway = SmsGateway::start(Vendor::Infobip).await;
    let (to, from) = (json!("41793026727"), json!("InfoSMS"));
    let mut mixed = second(&to, &from, &json!("a"));
    mixed["messages"][0]["sender"] = json!("InfoSMS");
    let long = second(&to, &from, &json!("я".repeat(71)));
    for (body, complaint) in [(mixed, "no such member: sender"), (long, "the text takes 2 messages")] {
        assert_eq!(post(&gateway, SECOND, &body).await.status, 200);
        assert_eq!(take_complaints(&gateway), [complaint]);
    }
}
