//! Vonage, by requests as its documentation shows them.

use serde_json::{Value, json};

use super::{Answer, FORM, ask, basic, setting, sms, take_complaints};
use crate::sms::{SmsGateway, Vendor};

fn credentials(gateway: &SmsGateway) -> String {
    format!("api_key={}&api_secret={}", setting(gateway, "api_key"), setting(gateway, "api_secret"))
}

async fn post(gateway: &SmsGateway, rest: &str) -> Answer {
    let body = format!("{}&{rest}", credentials(gateway));
    ask(gateway, "POST", "/sms/json", &[FORM], body.as_bytes()).await
}

fn first(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200);
    answer.json()["messages"][0].clone()
}

#[tokio::test]
async fn it_takes_what_its_documentation_shows() {
    let gateway = SmsGateway::start(Vendor::Vonage).await;
    assert_eq!(setting(&gateway, "url"), format!("{}/sms/json", gateway.url()));

    let answer = post(&gateway, "from=AcmeInc&to=447700900000&text=Hello+World%21").await;
    assert_eq!(answer.json()["message-count"], "1");
    let message = first(&answer);
    assert_eq!((&message["status"], &message["to"]), (&json!("0"), &json!("447700900000")));
    assert!(message["message-id"].is_string() && message["remaining-balance"].is_string());

    let text = "%E3%81%93%E3%82%93";
    assert_eq!(
        first(&post(&gateway, &format!("from=12345&to=447700900001&text={text}&type=unicode")).await)["status"],
        "0"
    );
    let login = basic(&setting(&gateway, "api_key"), &setting(&gateway, "api_secret"));
    let body = b"from=447700900009&to=447700900002&text=a&type=text&ttl=900000";
    let answer = ask(&gateway, "POST", "/sms/json", &[FORM, ("Authorization", &login)], body).await;
    assert_eq!(first(&answer)["status"], "0");

    assert_eq!(gateway.complaints(), Vec::<String>::new());
    assert_eq!(
        gateway.accepted(),
        [
            sms("447700900000", "AcmeInc", "Hello World!"),
            sms("447700900001", "12345", "こん"),
            sms("447700900002", "447700900009", "a"),
        ]
    );
}

#[tokio::test]
async fn it_refuses_what_is_wrong_with_200_and_a_status() {
    let gateway = SmsGateway::start(Vendor::Vonage).await;
    for (rest, status, text) in [
        ("to=447700900000&text=a", "2", "Missing from param"),
        ("from=Acme&text=a", "2", "Missing to param"),
        ("from=Acme&to=447700900000", "2", "Missing text param"),
        ("from=Acme&to=447700900000&text=", "2", "Missing text param"),
        ("from=Acme&to=%2B447700900000&text=a", "3", "Invalid value for param: to"),
        ("from=Acme&to=07700900000&text=a", "3", "Invalid value for param: to"),
        ("from=Acme&to=447700900000&text=a&type=sms", "3", "Invalid value for param: type"),
        ("from=Acme&to=447700900000&text=a b", "3", "Invalid parameters"),
        ("from=AcmeAcmeAcme&to=447700900000&text=a", "15", "Illegal Sender Address - rejected"),
        ("from=%2B447700900009&to=447700900000&text=a", "15", "Illegal Sender Address - rejected"),
        ("from=Acme%21&to=447700900000&text=a", "15", "Illegal Sender Address - rejected"),
    ] {
        let message = first(&post(&gateway, rest).await);
        assert_eq!((&message["status"], &message["error-text"]), (&json!(status), &json!(text)), "{rest}");
        assert_eq!(take_complaints(&gateway).len(), 1, "{rest}");
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_refuses_a_stranger_and_what_is_no_form() {
    let gateway = SmsGateway::start(Vendor::Vonage).await;
    let good = format!("{}&from=Acme&to=447700900000&text=a", credentials(&gateway));
    let wrong = good.replace("api_secret=A", "api_secret=B");
    let login = basic("a1b2c3d4", "wrong");
    for (headers, body, status) in [
        (vec![FORM], "from=Acme&to=447700900000&text=a", "2"),
        (vec![FORM], wrong.as_str(), "4"),
        (vec![FORM, ("Authorization", login.as_str())], good.as_str(), "4"),
        (vec![], good.as_str(), "2"),
        (vec![("Content-Type", "application/json")], "{}", "2"),
    ] {
        let answer = ask(&gateway, "POST", "/sms/json", &headers, body.as_bytes()).await;
        assert_eq!(first(&answer)["status"], status, "{headers:?} {body}");
        assert_eq!(take_complaints(&gateway).len(), 1);
    }
    assert_eq!(ask(&gateway, "GET", "/sms/json", &[FORM], good.as_bytes()).await.status, 405);
    assert_eq!(ask(&gateway, "POST", "/sms/xml", &[FORM], good.as_bytes()).await.status, 404);
    assert_eq!(take_complaints(&gateway).len(), 2);
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_takes_but_complains_of_a_text_of_the_wrong_type() {
    let gateway = SmsGateway::start(Vendor::Vonage).await;
    for (rest, complaint) in [
        (String::from("from=Acme&to=447700900000&text=%E3%81%93"), "the text needs type=unicode"),
        (format!("from=Acme&to=447700900000&text={}&type=unicode", "a".repeat(71)), "the text takes 2 messages"),
        (format!("from=Acme&to=447700900000&text={}", "a".repeat(161)), "the text takes 2 messages"),
        (String::from("from=Acme&to=447700900000&text=a&body=b"), "no such parameter: body"),
    ] {
        assert_eq!(first(&post(&gateway, &rest).await)["status"], "0", "{rest}");
        assert_eq!(take_complaints(&gateway), [complaint], "{rest}");
    }
}
