//! Twilio Programmable Messaging: `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`.
//!
//! Invariant: a message has exactly one `+` in `To`, a sender or a messaging service, and a text.
//!
//! After <https://www.twilio.com/docs/messaging/api/message-resource> (request, reply),
//! <https://www.twilio.com/docs/usage/requests-to-twilio> (authentication, content type),
//! <https://www.twilio.com/docs/usage/twilios-response> and <https://www.twilio.com/docs/api/errors> (errors).

use serde_json::json;
use shared::random::Random;

use super::Sms;
use super::exchange::{Judgement, hex};
use super::form::Form;
use super::rules::{complain_of_length, e164, is_gsm, is_name, is_short_code, segments};
use crate::fake::{Reply, Request};

const ACCOUNT_SID: &str = "AC0123456789abcdef0123456789abcdef";

const AUTH_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// A key of the account, with which one may log in instead of with the account itself.
pub const API_KEY_SID: &str = "SK00112233445566778899aabbccddeeff";

/// Its secret.
pub const API_KEY_SECRET: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz012345";

/// A messaging service of the account.
pub const MESSAGING_SERVICE_SID: &str = "MGffeeddccbbaa99887766554433221100";

/// What may be said of a message that is only text.
const PARAMETERS: [&str; 16] = [
    "To",
    "From",
    "MessagingServiceSid",
    "Body",
    "StatusCallback",
    "ApplicationSid",
    "MaxPrice",
    "ProvideFeedback",
    "Attempt",
    "ValidityPeriod",
    "ForceDelivery",
    "ContentRetention",
    "AddressRetention",
    "SmartEncoded",
    "ShortenUrls",
    "RiskCheck",
];

const MAX_BODY: usize = 1600;

/// Code, HTTP status, message.
const ERRORS: [(&str, u16, &str); 20] = [
    ("20003", 401, "Authenticate"),
    ("20004", 405, "Method not allowed"),
    ("20404", 404, "The requested resource was not found"),
    ("20429", 429, "Too Many Requests"),
    ("20500", 500, "Internal Server Error"),
    ("20503", 503, "Service Unavailable"),
    ("21211", 400, "The 'To' number is not a valid phone number."),
    ("21212", 400, "The 'From' number is not a valid phone number, shortcode, or alphanumeric sender ID."),
    ("21408", 400, "Permission to send an SMS has not been enabled for the region indicated by the 'To' number"),
    ("21602", 400, "Message body is required."),
    ("21603", 400, "A 'From' phone number is required."),
    ("21604", 400, "A 'To' phone number is required."),
    ("21606", 400, "The 'From' phone number provided is not a valid message-capable Twilio phone number."),
    ("21608", 400, "The 'to' phone number provided is not yet verified for this account."),
    ("21610", 400, "Attempt to send to unsubscribed recipient"),
    ("21611", 429, "This 'From' number has exceeded the maximum number of queued messages"),
    ("21612", 400, "The 'To' phone number is not currently reachable using the 'From' phone number via SMS."),
    ("21614", 400, "'To' number is not a valid mobile number"),
    ("21617", 400, "The concatenated message body exceeds the 1600 character limit"),
    ("21701", 400, "The Messaging Service does not exist"),
];

pub(super) fn config(base: &str) -> String {
    format!("[sms.twilio]\nurl = {base:?}\naccount_sid = {ACCOUNT_SID:?}\nauth_token = {AUTH_TOKEN:?}\n")
}

pub(super) fn error(code: &str) -> Option<Reply> {
    let (code, status, message) = *ERRORS.iter().find(|(known, _, _)| *known == code)?;
    let reply = Reply::json(
        status,
        json!({
            "code": code.parse::<u32>().expect("the codes of the table are numbers"),
            "message": message,
            "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
            "status": status,
        }),
    );
    Some(if status == 401 { reply.with_header("www-authenticate", "Basic realm=\"Twilio API\"") } else { reply })
}

pub(super) fn status(status: u16) -> Reply {
    let code = if status == 401 { 20003 } else { 20000 + u32::from(status) };
    error(&code.to_string()).filter(|reply| reply.status == status).unwrap_or_else(|| {
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        Reply::json(status, json!({"code": code, "message": "Error", "more_info": more_info, "status": status}))
    })
}

pub(super) fn judge(request: &Request, complaints: &mut Vec<String>) -> Judgement {
    let refuse = |code: &str, complaint: String| error(code).expect("a code of the table").because(complaint);

    let account = request.path().strip_prefix("/2010-04-01/Accounts/");
    let Some(account) = account.and_then(|rest| rest.strip_suffix("/Messages.json")).filter(|sid| !sid.contains('/'))
    else {
        return Err(refuse("20404", format!("no such path: {}", request.path())));
    };
    if request.method != "POST" {
        return Err(refuse("20004", format!("not POST: {}", request.method)));
    }
    let logins = [(ACCOUNT_SID, AUTH_TOKEN), (API_KEY_SID, API_KEY_SECRET)];
    let login = request.basic();
    let is_known = login.is_some_and(|login| logins.contains(&(login.0.as_str(), login.1.as_str())));
    if !is_known || account != ACCOUNT_SID {
        return Err(refuse("20003", "not the account's credentials".into()));
    }
    if !request.is("application/x-www-form-urlencoded") {
        // Parameters that are nowhere to be found are missing.
        return Err(refuse("21604", "the content is not called a form".into()));
    }
    if !request.query().is_empty() {
        complaints.push("parameters belong into the body".into());
    }
    let form = Form::parse(&request.body).map_err(|complaint| refuse("21604", complaint))?;
    form.complain_of_strangers(|name| PARAMETERS.contains(&name), complaints);

    let Some(to) = form.field("To") else { return Err(refuse("21604", "no To".into())) };
    let Some(digits) = e164(to) else { return Err(refuse("21211", format!("To is not E.164: {to:?}"))) };
    let (from, service) = (form.field("From"), form.field("MessagingServiceSid"));
    if let Some(from) = from
        && e164(from).is_none()
        && !is_short_code(from)
        && !is_name(from, " +-_&")
    {
        return Err(refuse("21212", format!("From is no sender: {from:?}")));
    }
    if service.is_some_and(|service| service != MESSAGING_SERVICE_SID) {
        return Err(refuse("21701", "no such messaging service".into()));
    }
    let Some(sender) = from.or(service) else {
        return Err(refuse("21603", "neither From nor MessagingServiceSid".into()));
    };
    let Some(text) = form.field("Body").filter(|body| !body.trim().is_empty()) else {
        return Err(refuse("21602", "no Body".into()));
    };
    if text.chars().count() > MAX_BODY {
        return Err(refuse("21617", "the Body is too long".into()));
    }
    complain_of_length(text, !is_gsm(text), complaints);
    let sms = Sms { to: digits.to_owned(), from: sender.to_owned(), text: text.to_owned() };
    Ok((sms, created(to, from, service, text)))
}

/// The message as a resource. A service has not chosen the sender yet, nor counted.
fn created(to: &str, from: Option<&str>, service: Option<&str>, text: &str) -> Reply {
    let sid = format!("SM{}", hex(&Random.bytes::<16>()));
    let uri = format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages/{sid}");
    let segments = if service.is_some() { 0 } else { segments(text, !is_gsm(text)) };
    Reply::json(
        201,
        json!({
            "account_sid": ACCOUNT_SID,
            "api_version": "2010-04-01",
            "body": text,
            "date_created": "Thu, 24 Aug 2023 05:01:45 +0000",
            "date_sent": null,
            "date_updated": "Thu, 24 Aug 2023 05:01:45 +0000",
            "direction": "outbound-api",
            "error_code": null,
            "error_message": null,
            "from": from,
            "messaging_service_sid": service,
            "num_media": "0",
            "num_segments": segments.to_string(),
            "price": null,
            "price_unit": "USD",
            "sid": sid,
            "status": if service.is_some() { "accepted" } else { "queued" },
            "subresource_uris": {"media": format!("{uri}/Media.json")},
            "to": to,
            "uri": format!("{uri}.json"),
        }),
    )
}
