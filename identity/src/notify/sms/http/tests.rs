//! What an operator writes, what is made of it, and that no message breaks out of its place.

use super::super::tests::{asked, config, sms, taken};
use super::Http;

fn http(toml: &str) -> Result<Http, String> {
    let config = config(&format!("[http]\n{toml}")).map_err(|error| error.to_string())?;
    Http::new(config.http.as_ref().unwrap()).map_err(|error| error.to_string())
}

const NASTY: &str = "a\"b\\c&to=1<d>\n{secret}%ä'+ {to}";

#[test]
fn a_value_stays_within_its_place() {
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
fn everything_may_stand_in_the_url() {
    let from = "alpha:Matrix".parse().unwrap();
    let toml =
        "url = 'http://g.example/send?u=me&p={secret}&to={to}&from={from}&text={text}'\nmethod = 'GET'\nsecret = 'a b'";
    let (target, headers, body) = asked(&http(toml).unwrap(), &sms(&from, "1 & ä"));
    assert_eq!(target, "GET http://g.example/send?u=me&p=a%20b&to=447700900001&from=Matrix&text=1%20%26%20%C3%A4");
    assert_eq!((headers.as_str(), body.as_str()), ("", ""));
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    for (toml, told) in [
        ("", "sms.http.url: set it"),
        ("url = 'g.example'\nbody = '{to}{text}'", "sms.http.url: expected a URL"),
        ("url = 'https://g.example'", "sms.http.body: set it"),
        ("url = 'https://g.example'\nbody = '{to}'", "must stand in the url or the body"),
        ("url = 'https://g.example'\nbody = '{text}'", "must stand in the url or the body"),
        ("url = 'https://g.example'\nbody = '{to}{text}{secret}'", "sms.http.secret: set it"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nmethod = 'DELETE'", "sms.http.method: expected"),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\ncontent_type = 'image/png'",
            "sms.http.content_type: expected",
        ),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nheaders.'a b' = 'x'", "sms.http.headers: not the name"),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.status = ['9xx']",
            "sms.http.success.status: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.status = ['0200']",
            "sms.http.success.status: expected",
        ),
        (
            "url = 'https://g.example'\nbody = '{to}{text}'\nsuccess.json.status = 'ok'",
            "sms.http.success.json: expected",
        ),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nheaders.Content-Length = '3'", "sms.http.headers: a header"),
        ("url = 'https://g.example'\nbody = 'x'\nheaders.X = '{to}{text}'", "must stand in the url or the body"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nmethod = 'GET'", "sms.http.body: a GET has none"),
        ("url = 'https://g.example'\nbody = '{to}{text}'\nsucces.status = ['200']", "did you mean"),
    ] {
        let said = http(toml).err().unwrap_or_else(|| panic!("{toml} is taken"));
        assert!(said.contains(told), "{toml}: {said}");
    }
}

#[test]
fn the_operator_says_what_success_is() {
    let rule = |rule: &str| http(&format!("url = 'https://g.example'\nbody = '{{to}}{{text}}'\n{rule}")).unwrap();
    for (toml, status, body, expected) in [
        ("", 200, "", "accepted"),
        ("", 299, "error", "accepted"),
        ("", 302, "", "not_sent: it refused: 302"),
        ("", 400, "", "not_sent: it refused: 400"),
        ("", 500, "", "unclear: it failed: 500"),
        ("success.status = ['201', '202']", 202, "", "accepted"),
        ("success.status = '201'", 200, "", "unclear: it answered something unheard of: 200"),
        ("success.contains = 'OK'", 200, "id: OK 1", "accepted"),
        ("success.contains = 'OK'", 200, "ERR", "unclear: success.contains is not in its answer"),
        ("success.contains = 'OK'", 500, "OK", "unclear: it failed: 500"),
        ("success.json.'/a/0/status' = '0'", 200, r#"{"a":[{"status":"0"}]}"#, "accepted"),
        ("success.json.'/a/0/status' = '0'", 200, r#"{"a":[{"status":0}]}"#, "accepted"),
        ("success.json.'/ok' = 'true'", 200, r#"{"ok":true}"#, "accepted"),
        ("success.json.'/ok' = 'true'", 200, r#"{"ok":false}"#, "unclear: success.json does not hold"),
        ("success.json.'/ok' = 'true'", 200, "<html>", "unclear: success.json does not hold"),
        ("success.json.'/ok' = 'true'", 200, "{}", "unclear: success.json does not hold"),
    ] {
        assert_eq!(taken(&rule(toml), status, body), expected, "{toml} {status} {body}");
    }
}
