//! Amazon SNS. The signature has tests of its own; here requests are signed by a second, plain reading of Amazon's text.

use aws_lc_rs::{digest, hmac};
use shared::clock::Clock;

use super::{Answer, FORM, ask, setting, sms, take_complaints};
use crate::sms::{SmsGateway, Vendor};

const GOOD: &str = "Action=Publish&Version=2010-03-31&PhoneNumber=%2B447700900001&Message=123456%20is%20your%20code";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hash(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// The present time as `20150830T123600Z`, by counting days.
fn date() -> String {
    let seconds = Clock::system().now().as_millis() / 1000;
    let (mut days, rest) = (seconds / 86400, seconds % 86400);
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while days >= 365 + i64::from(is_leap(year)) {
        days -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{:02}{:02}T{hour:02}{minute:02}{second:02}Z", month + 1, days + 1)
}

/// The `Authorization` for a body sent at `date`.
fn authorization(gateway: &SmsGateway, date: &str, body: &str) -> String {
    let (id, secret) = (setting(gateway, "access_key_id"), setting(gateway, "secret_access_key"));
    let scope = format!("{}/{}/sns/aws4_request", &date[..8], setting(gateway, "region"));
    let canonical =
        format!("POST\n/\n\nhost:{}\nx-amz-date:{date}\n\nhost;x-amz-date\n{}", gateway.address(), hash(body));
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec();
    }
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hash(&canonical));
    let signature = hex(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), to_sign.as_bytes()).as_ref());
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=host;x-amz-date, Signature={signature}")
}

async fn post(gateway: &SmsGateway, body: &str) -> Answer {
    let date = date();
    let authorization = authorization(gateway, &date, body);
    let headers = [FORM, ("X-Amz-Date", date.as_str()), ("Authorization", &authorization)];
    ask(gateway, "POST", "/", &headers, body.as_bytes()).await
}

/// What stands in this element.
fn element<'a>(answer: &'a Answer, name: &str) -> &'a str {
    assert_eq!(answer.headers["content-type"], "text/xml");
    let (_, rest) = answer.text.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("{}", answer.text));
    rest.split_once(&format!("</{name}>")).unwrap().0
}

fn attribute(index: usize, name: &str, kind: &str, value: &str) -> String {
    let entry = format!("MessageAttributes.entry.{index}");
    format!("&{entry}.Name={name}&{entry}.Value.DataType={kind}&{entry}.Value.StringValue={value}")
}

#[tokio::test]
async fn it_takes_what_its_documentation_shows() {
    let gateway = SmsGateway::start(Vendor::Sns).await;
    assert_eq!(setting(&gateway, "url"), gateway.url());
    let answer = post(&gateway, GOOD).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text.starts_with("<PublishResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">"));
    assert_eq!((element(&answer, "MessageId").len(), element(&answer, "RequestId").len()), (36, 36));

    let kind = attribute(1, "AWS.SNS.SMS.SMSType", "String", "Transactional");
    let name = format!("{GOOD}{kind}{}", attribute(2, "AWS.SNS.SMS.SenderID", "String", "Matrix"));
    assert_eq!(post(&gateway, &name).await.status, 200);
    let number = format!("{GOOD}{}", attribute(1, "AWS.MM.SMS.OriginationNumber", "String", "%2B12065550101"));
    assert_eq!(post(&gateway, &number).await.status, 200);

    assert_eq!(gateway.complaints(), Vec::<String>::new());
    let expected = ["", "Matrix", "+12065550101"].map(|from| sms("447700900001", from, "123456 is your code"));
    assert_eq!(gateway.accepted(), expected);
}

#[tokio::test]
async fn it_refuses_a_wrong_body_in_xml() {
    let gateway = SmsGateway::start(Vendor::Sns).await;
    let attributes = [
        attribute(1, "AWS.SNS.SMS.SenderID", "String", "MatrixMatrix"),
        attribute(1, "AWS.SNS.SMS.SenderID", "String", "My%20Matrix"),
        attribute(1, "AWS.SNS.SMS.SenderID", "String", "12345"),
        attribute(1, "AWS.SNS.SMS.SenderID", "Binary", "Matrix"),
        attribute(1, "AWS.SNS.SMS.SMSType", "String", "transactional"),
        attribute(1, "AWS.MM.SMS.OriginationNumber", "String", "Matrix"),
        String::from("&MessageAttributes.entry.1.Name=AWS.SNS.SMS.SenderID"),
    ];
    let mut wrong: Vec<(String, &str)> =
        attributes.iter().map(|attribute| (format!("{GOOD}{attribute}"), "InvalidParameter")).collect();
    for (from, to, code) in [
        ("Action=Publish", "Action=Subscribe", "InvalidAction"),
        ("2010-03-31", "2010-03-30", "InvalidAction"),
        ("%2B44", "44", "InvalidParameter"),
        ("%2B44", "+44", "InvalidParameter"),
        ("%2B44", "%2B0", "InvalidParameter"),
        ("PhoneNumber", "phoneNumber", "InvalidParameter"),
        ("&Message=123456%20is%20your%20code", "&Message=", "InvalidParameter"),
        ("&Message=123456%20is%20your%20code", "", "InvalidParameter"),
        ("%20is", " is", "ValidationError"),
    ] {
        wrong.push((GOOD.replace(from, to), code));
    }
    wrong.push((format!("{GOOD}{}", "a".repeat(1600)), "InvalidParameter"));
    for (body, code) in &wrong {
        let answer = post(&gateway, body).await;
        assert_eq!((answer.status, element(&answer, "Code")), (400, *code), "{body}");
        assert!(answer.text.starts_with("<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\">"));
        assert_eq!(element(&answer, "Type"), "Sender");
        assert!(!take_complaints(&gateway).is_empty(), "{body}");
    }
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_refuses_what_is_not_signed_by_its_account() {
    let gateway = SmsGateway::start(Vendor::Sns).await;
    let now = date();
    let good = authorization(&gateway, &now, GOOD);
    let old = authorization(&gateway, "20150830T123600Z", GOOD);
    let other_key = good.replace("AKIA", "AKIB");
    let other_body = authorization(&gateway, &now, "Action=Publish");
    for (date, authorization, status, code) in [
        (now.as_str(), "", 403, "MissingAuthenticationToken"),
        (&now, "Basic eDp5", 400, "IncompleteSignature"),
        (&now, &other_key, 403, "InvalidClientTokenId"),
        (&now, &other_body, 403, "SignatureDoesNotMatch"),
        ("20150830T123600Z", &old, 403, "SignatureDoesNotMatch"),
    ] {
        let mut headers = vec![FORM, ("X-Amz-Date", date)];
        headers.extend((!authorization.is_empty()).then_some(("Authorization", authorization)));
        let answer = ask(&gateway, "POST", "/", &headers, GOOD.as_bytes()).await;
        assert_eq!((answer.status, element(&answer, "Code")), (status, code));
        assert_eq!(take_complaints(&gateway).len(), 1);
    }
    let headers = [("Content-Type", "application/json"), ("X-Amz-Date", now.as_str()), ("Authorization", &good)];
    let answer = ask(&gateway, "POST", "/", &headers, GOOD.as_bytes()).await;
    assert_eq!((answer.status, element(&answer, "Code")), (400, "InvalidAction"));
    assert_eq!(ask(&gateway, "POST", "/sns", &headers, GOOD.as_bytes()).await.status, 404);
    assert_eq!(ask(&gateway, "GET", "/", &headers, GOOD.as_bytes()).await.status, 405);
    assert_eq!(take_complaints(&gateway).len(), 3);
    assert!(gateway.accepted().is_empty());
}

#[tokio::test]
async fn it_takes_but_complains_of_what_it_does_not_know() {
    let gateway = SmsGateway::start(Vendor::Sns).await;
    let stranger = attribute(1, "AWS.SNS.SMS.Sender", "String", "Matrix");
    for (body, complaint) in [
        (format!("{GOOD}{stranger}"), "no such attribute: AWS.SNS.SMS.Sender"),
        (format!("{GOOD}&Colour=red"), "no such parameter: Colour"),
        (format!("{GOOD}{}", "a".repeat(160)), "the text takes 2 messages"),
    ] {
        assert_eq!(post(&gateway, &body).await.status, 200);
        assert_eq!(take_complaints(&gateway), [complaint]);
    }
}
