//! Infobip's SMS API: `POST /sms/2/text/advanced` and its successor `POST /sms/3/messages`.
//!
//! Invariant: a message that Infobip rejects is answered with 200; the truth is in `messages[0].status.groupId`.
//!
//! After <https://www.infobip.com/docs/api/channels/sms> (request, reply; the two forms as in the OpenAPI description
//! behind <https://github.com/infobip/infobip-api-python-client>),
//! <https://www.infobip.com/docs/essentials/api-essentials/api-authentication> (`App`) and
//! <https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes> (statuses).

use serde_json::{Value, json};
use shared::random::Random;

use super::Sms;
use super::exchange::{Judgement, Refusal, complain_of_strangers, hex};
use super::rules::{complain_of_length, is_gsm, is_name, is_number, is_short_code};
use crate::fake::{Reply, Request};

const API_KEY: &str = "0123456789abcdef0123456789abcdef-01234567-89ab-cdef-0123-456789abcdef";

/// Members of a message at `/sms/2/text/advanced`.
const MESSAGE_2: [&str; 14] = [
    "from",
    "destinations",
    "text",
    "callbackData",
    "deliveryTimeWindow",
    "flash",
    "intermediateReport",
    "language",
    "notifyContentType",
    "notifyUrl",
    "regional",
    "sendAt",
    "transliteration",
    "validityPeriod",
];

/// Members of a message at `/sms/3/messages`.
const MESSAGE_3: [&str; 5] = ["sender", "destinations", "content", "options", "webhooks"];

/// Name, id, group id and group name of what can become of a message.
const STATUSES: [(&str, u32, u32, &str); 17] = [
    ("PENDING_ACCEPTED", 26, 1, "PENDING"),
    ("UNDELIVERABLE_REJECTED_OPERATOR", 4, 2, "UNDELIVERABLE"),
    ("UNDELIVERABLE_NOT_DELIVERED", 9, 2, "UNDELIVERABLE"),
    ("EXPIRED_EXPIRED", 15, 4, "EXPIRED"),
    ("REJECTED_NETWORK", 6, 5, "REJECTED"),
    ("REJECTED_PREFIX_MISSING", 8, 5, "REJECTED"),
    ("REJECTED_DND", 10, 5, "REJECTED"),
    ("REJECTED_SOURCE", 11, 5, "REJECTED"),
    ("REJECTED_NOT_ENOUGH_CREDITS", 12, 5, "REJECTED"),
    ("REJECTED_SENDER", 13, 5, "REJECTED"),
    ("REJECTED_DESTINATION", 14, 5, "REJECTED"),
    ("REJECTED_PREPAID_PACKAGE_EXPIRED", 17, 5, "REJECTED"),
    ("REJECTED_DESTINATION_NOT_REGISTERED", 18, 5, "REJECTED"),
    ("REJECTED_ROUTE_NOT_AVAILABLE", 19, 5, "REJECTED"),
    ("REJECTED_FLOODING_FILTER", 20, 5, "REJECTED"),
    ("REJECTED_SYSTEM_ERROR", 21, 5, "REJECTED"),
    ("REJECTED_INVALID_DESTINATION", 52, 5, "REJECTED"),
];

/// HTTP status, `messageId`, `text`.
const ERRORS: [(u16, &str, &str); 6] = [
    (400, "BAD_REQUEST", "Bad Request"),
    (401, "UNAUTHORIZED", "Invalid login details"),
    (403, "FORBIDDEN", "Forbidden"),
    (404, "NOT_FOUND", "Requested URL not found"),
    (429, "TOO_MANY_REQUESTS", "Too many requests"),
    (500, "GENERAL_ERROR", "Something went wrong. Please contact support."),
];

pub(super) fn config(base: &str) -> String {
    format!("[sms.infobip]\nurl = {base:?}\napi_key = {API_KEY:?}\n")
}

/// A status of a message, by its name and in the older form, or an error, by its `messageId`.
pub(super) fn error(code: &str) -> Option<Reply> {
    let error = ERRORS.iter().find(|(_, id, _)| *id == code);
    let rejected = || STATUSES.iter().any(|(name, _, group, _)| *name == code && *group > 1);
    error
        .map(|(number, _, _)| status(*number))
        .or_else(|| rejected().then(|| answer(code, "41793026727", Form::Second)))
}

pub(super) fn status(status: u16) -> Reply {
    let known = ERRORS.iter().find(|(known, _, _)| *known == status);
    let (id, text) = known.map_or(("GENERAL_ERROR", "Error"), |(_, id, text)| (id, text));
    Reply::json(status, json!({"requestError": {"serviceException": {"messageId": id, "text": text}}}))
}

/// Which of the two forms a request and its answer have.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Second,
    Third,
}

pub(super) fn judge(request: &Request, complaints: &mut Vec<String>) -> Judgement {
    let bad = |complaint: &str| status(400).because(complaint);

    let form = match request.path() {
        "/sms/2/text/advanced" => Form::Second,
        "/sms/3/messages" => Form::Third,
        path => return Err(status(404).because(format!("no such path: {path}"))),
    };
    if request.method != "POST" {
        return Err(status(405).because(format!("not POST: {}", request.method)));
    }
    let key = request.header("authorization").and_then(|value| value.strip_prefix("App "));
    if key != Some(API_KEY) {
        return Err(status(401).because("not the account's key"));
    }
    if !request.is("application/json") {
        return Err(status(415).because("the content is not called JSON"));
    }
    let body = request.try_json().ok_or_else(|| bad("the content is no JSON"))?;
    let (known, envelope): (&[&str], &[&str]) = match form {
        Form::Second => (&MESSAGE_2, &["messages", "bulkId", "sendingSpeedLimit", "tracking", "urlOptions"]),
        Form::Third => (&MESSAGE_3, &["messages", "options"]),
    };
    complain_of_strangers(&body, envelope, complaints);
    let Some([message]) = body["messages"].as_array().map(Vec::as_slice) else {
        return Err(bad("not one message"));
    };
    complain_of_strangers(message, known, complaints);
    let Some([destination]) = message["destinations"].as_array().map(Vec::as_slice) else {
        return Err(bad("not one destination"));
    };
    complain_of_strangers(destination, &["to", "messageId", "networkId"], complaints);
    let (from, text) = match form {
        Form::Second => (&message["from"], &message["text"]),
        Form::Third => {
            complain_of_strangers(&message["content"], &["text", "transliteration", "language"], complaints);
            (&message["sender"], &message["content"]["text"])
        }
    };
    let to = destination["to"].as_str().ok_or_else(|| bad("no number to send to"))?;
    let text = text.as_str().filter(|text| !text.trim().is_empty()).ok_or_else(|| bad("no text"))?;
    let Some(from) = sender(from) else { return Err(rejected("REJECTED_SOURCE", to, form, "no such sender")) };
    if !is_number(to) {
        return Err(rejected("REJECTED_INVALID_DESTINATION", to, form, "the destination is no number"));
    }
    complain_of_length(text, !is_gsm(text), complaints);
    let sms = Sms { to: to.to_owned(), from, text: text.to_owned() };
    Ok((sms, answer("PENDING_ACCEPTED", to, form)))
}

/// The sender; empty if Infobip shall choose one.
fn sender(value: &Value) -> Option<String> {
    if value.is_null() {
        return Some(String::new());
    }
    let fits = |from: &&str| is_number(from) || is_short_code(from) || is_name(from, " ");
    value.as_str().filter(fits).map(str::to_owned)
}

fn rejected(name: &str, to: &str, form: Form, complaint: &str) -> Refusal {
    answer(name, to, form).because(complaint)
}

fn answer(name: &str, to: &str, form: Form) -> Reply {
    let (name, id, group, group_name) =
        STATUSES.iter().find(|(known, ..)| *known == name).expect("a status of the table");
    let description = if *group == 1 { "Message sent to next instance" } else { "Message rejected" };
    let status = json!({"groupId": group, "groupName": group_name, "id": id, "name": name, "description": description});
    let message_id = hex(&Random.bytes::<16>());
    let message = match form {
        Form::Second => json!({"to": to, "status": status, "messageId": message_id}),
        Form::Third => {
            json!({"messageId": message_id, "status": status, "destination": to, "details": {"messageCount": 1}})
        }
    };
    Reply::json(200, json!({"bulkId": hex(&Random.bytes::<16>()), "messages": [message]}))
}
