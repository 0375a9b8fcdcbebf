//! Amazon's signature, by the example that Amazon published.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use shared::clock::Timestamp;

use crate::sms::Request;
use crate::sms::signature::{Account, check};

/// The account of the published test suite.
const ACCOUNT: Account = Account {
    id: "AKIDEXAMPLE",
    secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
    region: "us-east-1",
    service: "service",
};

/// 2015-08-30 12:36:00 UTC.
const TIME: Timestamp = Timestamp::from_millis(1_440_938_160_000);

/// `post-x-www-form-urlencoded` of that suite, with these headers in the place of its own or besides them.
fn example(headers: &[(&str, &str)], body: &'static str) -> Request {
    let mut request = Request::post("/", body);
    let own = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", "example.amazonaws.com"),
        ("x-amz-date", "20150830T123600Z"),
        (
            "authorization",
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    for (name, value) in own.iter().chain(headers) {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// The code of what is wrong with the example after these changes.
fn flaw(headers: &[(&str, &str)], body: &'static str, now: Timestamp) -> Option<&'static str> {
    check(&example(headers, body), now, &ACCOUNT).err().map(|(code, _)| code)
}

#[test]
fn the_published_example_is_verified() {
    assert_eq!(flaw(&[], "Param1=value1", TIME), None);
    assert_eq!(flaw(&[("content-type", " application/x-www-form-urlencoded ")], "Param1=value1", TIME), None);
    let (early, late) = (TIME.minus(Duration::from_secs(300)), TIME.plus(Duration::from_secs(300)));
    assert_eq!((flaw(&[], "Param1=value1", early), flaw(&[], "Param1=value1", late)), (None, None));
}

#[test]
fn any_change_to_what_was_signed_is_seen() {
    const MISMATCH: Option<&str> = Some("SignatureDoesNotMatch");
    assert_eq!(flaw(&[], "Param1=value2", TIME), MISMATCH);
    assert_eq!(flaw(&[("host", "example.amazonaws.com:8443")], "Param1=value1", TIME), MISMATCH);
    assert_eq!(flaw(&[("content-type", "text/plain")], "Param1=value1", TIME), MISMATCH);
    assert_eq!(flaw(&[("x-amz-date", "20150830T123601Z")], "Param1=value1", TIME), MISMATCH);
    assert_eq!(flaw(&[("x-amz-security-token", "x")], "Param1=value1", TIME), MISMATCH);
    assert_eq!(flaw(&[], "Param1=value1", TIME.plus(Duration::from_secs(301))), MISMATCH);
    assert_eq!(flaw(&[], "Param1=value1", TIME.minus(Duration::from_secs(301))), MISMATCH);
}

#[test]
fn a_header_that_is_no_signature_is_refused() {
    let good = example(&[], "");
    let good = good.header("authorization").unwrap();
    for (from, to, code) in [
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512", "IncompleteSignature"),
        ("Signature=", "signature=", "IncompleteSignature"),
        ("SignedHeaders=content-type;host;x-amz-date, ", "", "IncompleteSignature"),
        ("AKIDEXAMPLE/", "AKIDOTHER/", "InvalidClientTokenId"),
        ("/20150830/", "/20150831/", "SignatureDoesNotMatch"),
        ("/us-east-1/", "/eu-central-1/", "SignatureDoesNotMatch"),
        ("/service/", "/sns/", "SignatureDoesNotMatch"),
        ("content-type;host;", "host;content-type;", "SignatureDoesNotMatch"),
        ("content-type;host;", "content-type;", "SignatureDoesNotMatch"),
        ("=ff11", "=FF11", "SignatureDoesNotMatch"),
    ] {
        let header = good.replace(from, to);
        assert_ne!(header, good);
        assert_eq!(flaw(&[("authorization", &header)], "Param1=value1", TIME), Some(code), "{header}");
    }
    assert_eq!(flaw(&[("x-amz-date", "Sun, 30 Aug 2015")], "Param1=value1", TIME), Some("IncompleteSignature"));
    let mut unsigned = example(&[], "Param1=value1");
    unsigned.headers.remove("authorization");
    assert_eq!(check(&unsigned, TIME, &ACCOUNT).unwrap_err().0, "MissingAuthenticationToken");
}
