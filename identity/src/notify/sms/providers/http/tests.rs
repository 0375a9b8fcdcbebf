//! Tests of the operator's templates, of escaping, and of the success rules.

use super::super::super::tests::{asked, config, sms, taken};
use super::Http;

fn http(toml: &str) -> Result<Http, String> {
    let config = config(&format!("[http]\n{toml}")).map_err(|error| error.to_string())?;
    Http::new(config.http.as_ref().unwrap()).map_err(|error| error.to_string())
}

const NASTY: &str = "a\"b\\c&to=1<d>\n{secret}%ä'+ {to}";

#[test]
fn each_value_is_escaped_for_its_place() {
    let from = "long:447000000000".parse().unwrap();
    for (content_type, body, expected) in [
        (
            "application/json; charset=utf-8",
            r#"{"to":"+{to}","from":"{from}","text":"{text}","extra":{"a":1}}"#,
            r#"{"to":"+447700900001","from":"447000000000","text":"a\"b\\c&to=1<d>\n{secret}%ä'+ {to}","extra":{"a":1}}"#,
        ),
        (
            "application/x-www-form-urlencoded",
            "to=%2B{to}&text={text}&key={secret}",
            "to=%2B447700900001&text=a%22b%5Cc%26to%3D1%3Cd%3E%0A%7Bsecret%7D%25%C3%A4%27%2B%20%7Bto%7D&key=s%26t",
        ),
        (
            "text/xml",
            "<sms to=\"{to}\">{text}</sms>",
            "<sms to=\"447700900001\">a&quot;b\\c&amp;to=1&lt;d&gt;\n{secret}%ä&apos;+ {to}</sms>",
        ),
        ("text/plain", "{to} {text}", "447700900001 a\"b\\c&to=1<d> {secret}%ä'+ {to}"),
    ] {
        let toml = format!(
            "url = 'https://g.example/send'\ncontent_type = '{content_type}'\nbody = '{body}'\nsecret = 's&t'\n\
             headers.Authorization = 'Bearer {{secret}}'"
        );
        let (target, headers, body) = asked(&http(&toml).unwrap(), &sms(&from, NASTY));
        assert_eq!(target, "POST https://g.example/send");
        assert_eq!(headers, format!("content-type: {content_type}\nauthorization: Bearer s&t"));
        assert_eq!(body, expected);
    }
}

#[test]
fn a_url_may_have_every_placeholder() {
    let from = "alpha:Matrix".parse().unwrap();
    let toml =
        "url = 'http://g.example/send?u=me&p={secret}&to={to}&from={from}&text={text}'\nmethod = 'GET'\nsecret = 'a b'";
    let (target, headers, body) = asked(&http(toml).unwrap(), &sms(&from, "1 & ä"));
    assert_eq!(target, "GET http://g.example/send?u=me&p=a%20b&to=447700900001&from=Matrix&text=1%20%26%20%C3%A4");
    assert_eq!((headers.as_str(), body.as_str()), ("", ""));
}

#[test]
fn a_wrong_setting_is_rejected_with_its_key() {
    for (toml, expected) in [
        ("", "[sms.http] url: missing"),
        ("url = 'g.example'\nbody = '{to}{text}'", "[sms.http] url: expected a URL"),
        ("url = 'https://g.example'", "[sms.http] body: missing"),
        ("url = 'https://g.example'\nbody = '{to}'", "are required in one of them"),
        ("url = 'https://g.example'\nbody = '{text}'", "are required in one of them"),
        ("url = 'https://g.example'\nbody = '{to}{text}{secret}'", "[sms.http] secret: missing"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nmethod = 'DELETE'", "[sms.http] method: expected"),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\ncontent_type = 'image/png'",
            "[sms.http] content_type: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nheaders.'a b' = 'x'",
            "[sms.http] headers: not a header name",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.status = ['9xx']",
            "[sms.http] success.status: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.status = ['0200']",
            "[sms.http] success.status: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.json.status = 'ok'",
            "[sms.http] success.json: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nheaders.Content-Length = '3'",
            "[sms.http] headers: the server sets",
        ),
        ("url = 'https://g.example'\nbody = 'x'\nheaders.X = '{to}{text}'", "are required in one of them"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nmethod = 'GET'", "[sms.http] body: a GET has none"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nsucces.status = ['200']", "did you mean"),
    ] {
        let said = http(toml).err().unwrap_or_else(|| panic!("{toml} is accepted"));
        assert!(said.contains(expected), "{toml}: {said}");
    }
}

#[test]
fn the_success_rules_decide_the_outcome() {
    let rule = |rule: &str| http(&format!("url = 'https://g.example'\nbody = '{{to}}{{text}}'\n{rule}")).unwrap();
    for (toml, status, body, expected) in [
        ("", 200, "", "accepted"),
        ("", 299, "error", "accepted"),
        ("", 302, "", "unclear: unexpected response: 302"),
        ("", 503, "", "unclear: server error: 503"),
        ("", 400, "", "not_sent: request rejected: 400"),
        ("", 500, "", "unclear: server error: 500"),
        ("success.status = ['201', '202']", 202, "", "accepted"),
        ("success.status = '201'", 200, "", "unclear: unexpected response: 200"),
        ("success.contains = 'OK'", 200, "id: OK 1", "accepted"),
        ("success.contains = 'OK'", 200, "ERR", "unclear: response without success.contains"),
        ("success.contains = 'OK'", 500, "OK", "unclear: server error: 500"),
        ("success.json.'/a/0/status' = '0'", 200, r#"{"a":[{"status":"0"}]}"#, "accepted"),
        ("success.json.'/a/0/status' = '0'", 200, r#"{"a":[{"status":0}]}"#, "accepted"),
        ("success.json.'/ok' = 'true'", 200, r#"{"ok":true}"#, "accepted"),
        ("success.json.'/ok' = 'true'", 200, r#"{"ok":false}"#, "unclear: response without success.json"),
        ("success.json.'/ok' = 'true'", 200, "<html>", "unclear: response without success.json"),
        ("success.json.'/ok' = 'true'", 200, "{}", "unclear: response without success.json"),
    ] {
        assert_eq!(taken(&rule(toml), status, body), expected, "{toml} {status} {body}");
    }
}
