//! OpenMarket, by requests as its documentation shows them.

use serde_json::{Value, json};

use super::{Answer, JSON, ask, basic, setting, sms, take_complaints};
use crate::sms::{SmsGateway, Vendor};

const PATH: &str = "/sms/v4/mt";

fn login(gateway: &SmsGateway) -> String {
    basic(&setting(gateway, "username"), &setting(gateway, "password"))
}

async fn post(gateway: &SmsGateway, body: &Value) -> Answer {
    let login = login(gateway);
    let headers = [("Content-Type", "application/json; charset=UTF-8"), ("Authorization", &login)];
    ask(gateway, "POST", PATH, &headers, body.to_string().as_bytes()).await
}

fn good() -> Value {
    json!({"mobileTerminate": {
        "message": {"content": "Hello", "type": "text"},
        "destination": {"address": "12515550145"},
        "source": {"ton": 5, "address": "ACME SHOES"},
    }})
}

/// The right body with the value at this place set, or taken away if it is null.
fn with(pointer: &str, value: &Value) -> Value {
    let mut body = good();
    let (place, name) = pointer.rsplit_once('/').unwrap();
    let object = body.pointer_mut(place).unwrap().as_object_mut().unwrap();
    if value.is_null() {
        object.remove(name).unwrap();
    } else {
        object.insert(name.to_owned(), value.clone());
    }
    body
}

#[tokio::test]
async fn it_takes_what_its_documentation_shows() {
    let gateway = SmsGateway::start(Vendor::OpenMarket).await;
    assert_eq!(setting(&gateway, "url"), format!("{}{PATH}", gateway.url()));
    for body in [
        good(),
        with("/mobileTerminate/source", &json!({"ton": 1, "address": "447000000000"})),
        with("/mobileTerminate/source", &json!({"ton": 3, "address": "12345"})),
        with("/mobileTerminate/source", &Value::Null),
        with("/mobileTerminate/interaction", &json!("two-way")),
    ] {
        let answer = post(&gateway, &body).await;
        assert_eq!((answer.status, answer.text.as_str()), (202, ""), "{body}");
        let location = answer.headers["location"].to_str().unwrap();
        assert!(location.starts_with(&format!("{}{PATH}/", gateway.url())), "{location}");
        assert!(answer.headers.contains_key("x-request-id"));
    }
    assert_eq!(gateway.complaints(), Vec::<String>::new());
    let senders: Vec<String> = gateway.accepted().into_iter().map(|sms| sms.from).collect();
    assert_eq!(senders, ["ACME SHOES", "447000000000", "12345", "", "ACME SHOES"]);
    assert_eq!(gateway.accepted()[0], sms("12515550145", "ACME SHOES", "Hello"));
}

#[tokio::test]
async fn it_refuses_a_wrong_body() {
    let gateway = SmsGateway::start(Vendor::OpenMarket).await;
    for (pointer, value, code) in [
        ("/mobileTerminate", json!({}), "12002"),
        ("/mobileTerminate/destination", Value::Null, "12002"),
        ("/mobileTerminate/destination/address", json!("+12515550145"), "351"),
        ("/mobileTerminate/destination/address", json!("02515550145"), "351"),
        ("/mobileTerminate/destination/address", json!(12_515_550_145_i64), "12002"),
        ("/mobileTerminate/source/ton", json!(0), "12002"),
        ("/mobileTerminate/source/ton", json!(1), "12002"),
        ("/mobileTerminate/source/ton", json!(3), "12002"),
        ("/mobileTerminate/source/ton", Value::Null, "12002"),
        ("/mobileTerminate/source/address", json!("ACME SHOES CO"), "12002"),
        ("/mobileTerminate/source/address", json!("447000000000"), "12002"),
        ("/mobileTerminate/message/type", json!("binary"), "12002"),
        ("/mobileTerminate/message/type", Value::Null, "12002"),
        ("/mobileTerminate/message/content", json!(""), "12002"),
        ("/mobileTerminate/message/content", Value::Null, "12002"),
    ] {
        let answer = post(&gateway, &with(pointer, &value)).await;
        assert_eq!(answer.status, 400, "{pointer} {value}");
        let error: Value = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(error["error"]["code"], code, "{pointer} {value}");
        assert_eq!(take_complaints(&gateway).len(), 1, "{pointer} {value}");
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_refuses_a_stranger_and_what_is_no_json() {
    let gateway = SmsGateway::start(Vendor::OpenMarket).await;
    let (login, wrong) = (login(&gateway), basic("000-000-123-45678", "wrong"));
    let good_login = ("Authorization", login.as_str());
    let body = good().to_string();
    for (method, path, headers, body, status) in [
        ("POST", PATH, vec![JSON], body.as_str(), 401),
        ("POST", PATH, vec![JSON, ("Authorization", wrong.as_str())], &body, 401),
        ("PUT", PATH, vec![JSON, good_login], &body, 405),
        ("POST", "/sms/v4/mt/", vec![JSON, good_login], &body, 404),
        ("POST", PATH, vec![good_login], &body, 415),
        ("POST", PATH, vec![("Content-Type", "text/json"), good_login], &body, 415),
        ("POST", PATH, vec![JSON, good_login], "{\"mobileTerminate\":", 400),
    ] {
        let answer = ask(&gateway, method, path, &headers, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {path} {headers:?}");
        assert_eq!(take_complaints(&gateway).len(), 1);
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_takes_but_complains_of_what_it_does_not_know() {
    let gateway = SmsGateway::start(Vendor::OpenMarket).await;
    for (pointer, value, complaint) in [
        ("/mobileTerminate/message/text", json!("x"), "no such member: text"),
        ("/mobileTerminate/destinations", json!([]), "no such member: destinations"),
        ("/mobileTerminate/source/npi", json!(1), "no such member: npi"),
        ("/mobileTerminate/message/content", json!("a".repeat(161)), "the text takes 2 messages"),
    ] {
        assert_eq!(post(&gateway, &with(pointer, &value)).await.status, 202);
        assert_eq!(take_complaints(&gateway), [complaint]);
    }
}
