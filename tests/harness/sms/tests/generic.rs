//! The gateway of which nothing is documented.

use super::{FORM, JSON, ask, setting, sms};
use crate::sms::{SmsGateway, Vendor};

#[tokio::test]
async fn it_keeps_what_comes_byte_for_byte_and_makes_out_the_message() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    assert_eq!(setting(&gateway, "url"), format!("{}/send", gateway.url()));
    assert_eq!(setting(&gateway, "body"), "to={to}&from={from}&text={text}&code={token}");

    ask(&gateway, "POST", "/send", &[FORM, ("X-Api-Key", "k")], b"to=447700900001&from=Matrix&text=a+%26+b").await;
    ask(&gateway, "PUT", "/v1", &[JSON], br#"{"to":"+447700900002","from":"Matrix","text":"b \"c\""}"#).await;
    ask(&gateway, "GET", "/send?to=447700900003&text=c&from=x", &[], b"").await;
    let answer = ask(&gateway, "PATCH", "/", &[], b"<sms>\xff</sms>").await;
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"status":"ok"}"#));

    assert_eq!(
        gateway.accepted(),
        [
            sms("447700900001", "Matrix", "a & b"),
            sms("447700900002", "Matrix", "b \"c\""),
            sms("447700900003", "x", "c"),
            sms("", "", "<sms>\u{fffd}</sms>"),
        ]
    );
    let received = gateway.received();
    assert_eq!((received[0].method.as_str(), received[0].target.as_str()), ("POST", "/send"));
    assert_eq!(received[0].header("x-api-key"), Some("k"));
    assert_eq!((received[2].path(), received[2].query()), ("/send", "to=447700900003&text=c&from=x"));
    assert_eq!(received[3].body.as_ref(), b"<sms>\xff</sms>");
    assert_eq!(gateway.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn it_says_taken_in_the_words_that_the_test_gives_it() {
    let gateway = SmsGateway::start(Vendor::Generic).await;
    gateway.set_success(202, "text/plain", "OK 17");
    let answer = ask(&gateway, "POST", "/send", &[FORM], b"to=1").await;
    assert_eq!((answer.status, answer.text.as_str()), (202, "OK 17"));
    assert_eq!(answer.headers["content-type"], "text/plain");
}
