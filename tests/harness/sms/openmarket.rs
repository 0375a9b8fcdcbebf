//! OpenMarket's HTTP Global SMS API, version 4, with JSON: `POST /sms/v4/mt`.
//!
//! Invariant: a message is taken with 202 and a `Location`, and with nothing else.
//!
//! After <https://openmarket.com/docs/Content/apis/v4http/send-json.htm> (request, reply) and
//! <https://openmarket.com/docs/Content/apis/v4http/things-to-know.htm>; the types of number are those of
//! <https://www.openmarket.com/docs/Content/apis/v3http/settings-each-region.htm>, the error codes those of
//! <https://www.openmarket.com/docs/Content/apis/rcs/rcs-response-codes.htm> and of the delivery receipts. How the body of
//! an error is built was not to be found: a client should go by the status alone.

use serde_json::{Value, json};
use shared::random::Random;

use super::Sms;
use super::exchange::{Judgement, complain_of_strangers, hex};
use super::rules::{complain_of_length, is_gsm, is_name, is_number, is_short_code};
use crate::fake::{Reply, Request};

const USERNAME: &str = "000-000-123-45678";

const PASSWORD: &str = "vErY5eCret";

const PATH: &str = "/sms/v4/mt";

/// Code, HTTP status, description.
const ERRORS: [(&str, u16, &str); 8] = [
    ("345", 400, "Mobile operator not found for the destination address"),
    ("351", 400, "Invalid destination address"),
    ("1000", 500, "An error occurred while processing the request. Please contact OpenMarket Support."),
    ("1010", 500, "An error occurred while processing the request. Please retry."),
    ("12001", 403, "Account is not authorized to use this API."),
    ("12002", 400, "Invalid JSON in the payload."),
    ("12003", 405, "Invalid HTTP method."),
    ("12005", 401, "Authentication failed."),
];

pub(super) fn config(base: &str) -> String {
    let url = format!("{base}{PATH}");
    format!("[sms.openmarket]\nurl = {url:?}\nusername = {USERNAME:?}\npassword = {PASSWORD:?}\n")
}

pub(super) fn error(code: &str) -> Option<Reply> {
    let (code, status, description) = *ERRORS.iter().find(|(known, _, _)| *known == code)?;
    let reply = failed(status, code, description);
    Some(if status == 401 { reply.with_header("www-authenticate", "Basic realm=\"OpenMarket\"") } else { reply })
}

pub(super) fn status(status: u16) -> Reply {
    let known = ERRORS.iter().find(|(_, known, _)| *known == status);
    let (code, description) = known.map_or(("1000", "Error"), |(code, _, description)| (code, description));
    failed(status, code, description)
}

fn failed(status: u16, code: &str, description: &str) -> Reply {
    let body = json!({"error": {"code": code, "description": description}});
    Reply::of_type(status, "application/json;charset=UTF-8", body.to_string())
}

pub(super) fn judge(request: &Request, base: &str, complaints: &mut Vec<String>) -> Judgement {
    let refuse = |code: &str, complaint: &str| error(code).expect("a code of the table").because(complaint);

    if request.path() != PATH {
        return Err(status(404).because(format!("no such path: {}", request.path())));
    }
    if request.method != "POST" {
        return Err(refuse("12003", "not POST"));
    }
    if request.basic() != Some((USERNAME.to_owned(), PASSWORD.to_owned())) {
        return Err(refuse("12005", "not the account's credentials"));
    }
    if !request.is("application/json") {
        return Err(status(415).because("the content is not called JSON"));
    }
    let body = request.try_json().ok_or_else(|| refuse("12002", "the content is no JSON"))?;
    complain_of_strangers(&body, &["mobileTerminate"], complaints);
    let terminate = &body["mobileTerminate"];
    let known = ["interaction", "promotional", "options", "destination", "source", "message", "delivery"];
    complain_of_strangers(terminate, &known, complaints);
    complain_of_strangers(&terminate["destination"], &["address", "mobileOperatorId"], complaints);
    complain_of_strangers(&terminate["source"], &["address", "ton"], complaints);
    complain_of_strangers(&terminate["message"], &["content", "type", "charset", "validityPeriod", "mlc"], complaints);

    let Some(to) = terminate["destination"]["address"].as_str() else {
        return Err(refuse("12002", "no destination"));
    };
    if !is_number(to) {
        return Err(refuse("351", &format!("the destination is no number: {to:?}")));
    }
    let from = sender(&terminate["source"]).ok_or_else(|| refuse("12002", "the source is no sender"))?;
    if terminate["message"]["type"] != "text" {
        return Err(refuse("12002", "the message's type is not text"));
    }
    let content = terminate["message"]["content"].as_str().filter(|content| !content.trim().is_empty());
    let Some(text) = content else { return Err(refuse("12002", "the message has no content")) };
    complain_of_length(text, !is_gsm(text), complaints);

    let sms = Sms { to: to.to_owned(), from, text: text.to_owned() };
    Ok((sms, accepted(base)))
}

/// The sender, of the type that is said; empty if OpenMarket shall choose one.
fn sender(source: &Value) -> Option<String> {
    if source.is_null() {
        return Some(String::new());
    }
    let address = source["address"].as_str()?;
    let fits = match source["ton"].as_u64()? {
        1 => is_number(address),
        3 => is_short_code(address),
        5 => is_name(address, " "),
        _ => false,
    };
    fits.then(|| address.to_owned())
}

fn accepted(base: &str) -> Reply {
    let ticket = hex(&Random.bytes::<10>()).to_uppercase();
    let parts = [&ticket[..5], &ticket[5..10], &ticket[10..15], &ticket[15..]];
    Reply::of_type(202, "application/json;charset=UTF-8", "")
        .with_header("location", format!("{base}{PATH}/{}", parts.join("-")))
        .with_header("x-request-id", hex(&Random.bytes::<16>()))
}
