//! The SMS API of Vonage: `POST /sms/json`.
//!
//! Invariant: whatever becomes of a message, the HTTP status is 200; the truth is in `messages[0].status`.
//!
//! After <https://developer.vonage.com/en/api/sms> (its OpenAPI description: request, reply),
//! <https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms> and
//! <https://developer.vonage.com/api-errors/sms> (errors),
//! <https://developer.vonage.com/messaging/sms/guides/concatenation-and-encoding> (`type`),
//! <https://help.nexmo.com/entries/20294031-originator-from-field-parameter-encoding> (`from`).

use serde_json::json;
use shared::random::Random;

use super::Sms;
use super::exchange::{Judgement, hex};
use super::form::Form;
use super::rules::{complain_of_length, is_gsm, is_name, is_number, is_short_code, segments};
use crate::fake::{Reply, Request};

const API_KEY: &str = "a1b2c3d4";

const API_SECRET: &str = "A1b2C3d4E5f6G7h8";

/// What may be said of a message that is only text.
const PARAMETERS: [&str; 13] = [
    "api_key",
    "api_secret",
    "from",
    "to",
    "text",
    "type",
    "ttl",
    "status-report-req",
    "callback",
    "message-class",
    "client-ref",
    "account-ref",
    "entity-id",
];

/// `status`, `error-text`.
const ERRORS: [(&str, &str); 19] = [
    ("1", "Throughput Rate Exceeded - please wait [ 250 ] and retry"),
    ("2", "Missing to param"),
    ("3", "Invalid value for param: to"),
    ("4", "Bad Credentials"),
    ("5", "Internal Error"),
    ("6", "Unroutable message - rejected"),
    ("7", "Number barred"),
    ("8", "Partner account barred"),
    ("9", "Quota Exceeded - rejected"),
    ("10", "Too many existing binds"),
    ("11", "Account not enabled for HTTP"),
    ("12", "Message too long"),
    ("14", "Invalid Signature"),
    ("15", "Illegal Sender Address - rejected"),
    ("22", "Invalid network code"),
    ("23", "Invalid callback URL"),
    ("29", "Non White-listed Destination - rejected"),
    ("32", "Signature And API Secret Disallowed"),
    ("33", "Number De-activated"),
];

pub(super) fn config(base: &str) -> String {
    let url = format!("{base}/sms/json");
    format!("[sms.vonage]\nurl = {url:?}\napi_key = {API_KEY:?}\napi_secret = {API_SECRET:?}\n")
}

pub(super) fn error(code: &str) -> Option<Reply> {
    ERRORS.iter().find(|(status, _)| *status == code).map(|(status, text)| failed(status, text))
}

/// What stands before the API speaks of problems in the general form of Vonage's APIs (RFC 7807).
pub(super) fn status(status: u16) -> Reply {
    let problem = json!({
        "type": "https://developer.vonage.com/api-errors",
        "title": format!("HTTP {status}"),
        "detail": "The request could not be carried out.",
        "instance": hex(&Random.bytes::<16>()),
    });
    Reply::of_type(status, "application/problem+json", problem.to_string())
}

pub(super) fn judge(request: &Request, complaints: &mut Vec<String>) -> Judgement {
    let missing = |name: &str| failed("2", &format!("Missing {name} param")).because(format!("no {name}"));
    let invalid = |name: &str, value: &str| {
        failed("3", &format!("Invalid value for param: {name}")).because(format!("{name} cannot be {value:?}"))
    };

    if request.path() != "/sms/json" {
        return Err(status(404).because(format!("no such path: {}", request.path())));
    }
    if request.method != "POST" {
        return Err(status(405).because(format!("not POST: {}", request.method)));
    }
    if !request.is("application/x-www-form-urlencoded") {
        // Parameters that are nowhere to be found are missing.
        let refusal = failed("2", "Missing api_key param");
        return Err(refusal.because("the content is not called a form"));
    }
    if !request.query().is_empty() {
        complaints.push("parameters belong into the body".into());
    }
    let form = Form::parse(&request.body).map_err(|complaint| failed("3", "Invalid parameters").because(complaint))?;
    form.complain_of_strangers(|name| PARAMETERS.contains(&name), complaints);

    let login = request.basic();
    let (key, secret) = match &login {
        Some((key, secret)) => (key.as_str(), secret.as_str()),
        None => (
            form.field("api_key").ok_or_else(|| missing("api_key"))?,
            form.field("api_secret").ok_or_else(|| missing("api_secret"))?,
        ),
    };
    if (key, secret) != (API_KEY, API_SECRET) {
        return Err(failed("4", "Bad Credentials").because("not the account's credentials"));
    }
    let from = form.field("from").filter(|from| !from.is_empty()).ok_or_else(|| missing("from"))?;
    let to = form.field("to").filter(|to| !to.is_empty()).ok_or_else(|| missing("to"))?;
    let text = form.field("text").filter(|text| !text.trim().is_empty()).ok_or_else(|| missing("text"))?;
    if !is_number(to) {
        return Err(invalid("to", to));
    }
    // Spaces in a name are ignored.
    if !is_number(from) && !is_short_code(from) && !is_name(from, " ") {
        return Err(failed("15", "Illegal Sender Address - rejected").because(format!("from is no sender: {from:?}")));
    }
    let is_unicode = match form.field("type") {
        None | Some("text") => false,
        Some("unicode") => true,
        Some(other) => return Err(invalid("type", other)),
    };
    if !is_unicode && !is_gsm(text) {
        complaints.push("the text needs type=unicode".into());
    }
    complain_of_length(text, is_unicode, complaints);
    let sms = Sms { to: to.to_owned(), from: from.to_owned(), text: text.to_owned() };
    Ok((sms, sent(to, segments(text, is_unicode))))
}

/// One entry for each part.
fn sent(to: &str, parts: usize) -> Reply {
    let message = || {
        json!({
            "to": to,
            "message-id": hex(&Random.bytes::<8>()).to_uppercase(),
            "status": "0",
            "remaining-balance": "15.53590000",
            "message-price": "0.03330000",
            "network": "23410",
        })
    };
    let messages: Vec<_> = (0..parts).map(|_| message()).collect();
    Reply::json(200, json!({"message-count": parts.to_string(), "messages": messages}))
}

fn failed(status: &str, text: &str) -> Reply {
    Reply::json(200, json!({"message-count": "1", "messages": [{"status": status, "error-text": text}]}))
}
