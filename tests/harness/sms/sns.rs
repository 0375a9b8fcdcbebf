//! Amazon Simple Notification Service: `Action=Publish` of its Query API, to a telephone number.
//!
//! Invariant: nothing is looked at before the signature has been verified.
//!
//! After <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html> (request, reply, errors; the service model in
//! <https://github.com/boto/botocore> has the errors' statuses),
//! <https://docs.aws.amazon.com/sns/latest/api/CommonErrors.html>,
//! <https://docs.aws.amazon.com/sns/latest/dg/sms_publish-to-phone.html> (attributes, sender).

use shared::clock::Clock;
use shared::random::Random;

use super::Sms;
use super::exchange::{Judgement, hex};
use super::form::Form;
use super::rules::{complain_of_length, e164, is_gsm, is_name, is_number, is_short_code};
use super::signature::{self, Account};
use crate::fake::{Reply, Request};

/// The example account of Amazon's documentation.
const ACCOUNT: Account = Account {
    id: "AKIAIOSFODNN7EXAMPLE",
    secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    region: "eu-central-1",
    service: "sns",
};

const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// What may be said of a message to a number, besides its attributes.
const PARAMETERS: [&str; 4] = ["Action", "Version", "PhoneNumber", "Message"];

const MAX_MESSAGE: usize = 1600;

/// Code, HTTP status, message.
const ERRORS: [(&str, u16, &str); 19] = [
    ("AuthorizationError", 403, "User is not authorized to perform: SNS:Publish"),
    ("EndpointDisabled", 400, "Endpoint is disabled"),
    ("IncompleteSignature", 400, "The request signature does not conform to AWS standards."),
    ("InternalError", 500, "Internal error"),
    ("InternalFailure", 500, "The request processing has failed because of an unknown error."),
    ("InvalidAction", 400, "The action or operation requested is invalid."),
    ("InvalidClientTokenId", 403, "The security token included in the request is invalid."),
    ("InvalidParameter", 400, "Invalid parameter"),
    ("MissingAuthenticationToken", 403, "Request is missing Authentication Token"),
    ("MissingParameter", 400, "A required parameter for the specified action is not supplied."),
    ("OptedOut", 400, "Phone number is opted out"),
    ("OptInRequired", 403, "The AWS Access Key Id needs a subscription for the service"),
    ("ParameterValueInvalid", 400, "Invalid parameter value"),
    ("ServiceUnavailable", 503, "The request has failed due to a temporary failure of the server."),
    ("SignatureDoesNotMatch", 403, "The request signature we calculated does not match the signature you provided."),
    ("Throttled", 429, "Rate exceeded"),
    ("Throttling", 400, "Rate exceeded"),
    ("UserError", 400, "User error"),
    ("ValidationError", 400, "The input fails to satisfy the constraints specified by an AWS service."),
];

pub(super) fn config(base: &str) -> String {
    let Account { id, secret, region, .. } = ACCOUNT;
    format!("[sms.sns]\nurl = {base:?}\nregion = {region:?}\naccess_key_id = {id:?}\nsecret_access_key = {secret:?}\n")
}

pub(super) fn error(code: &str) -> Option<Reply> {
    let (code, status, message) = *ERRORS.iter().find(|(known, _, _)| *known == code)?;
    Some(failed(status, code, message))
}

pub(super) fn status(status: u16) -> Reply {
    match status {
        403 => failed(status, "AuthorizationError", "User is not authorized to perform: SNS:Publish"),
        429 => failed(status, "Throttled", "Rate exceeded"),
        503 => failed(status, "ServiceUnavailable", "The request has failed due to a temporary failure of the server."),
        400..500 => failed(status, "InvalidParameter", "Invalid parameter"),
        _ => failed(status, "InternalFailure", "The request processing has failed because of an unknown error."),
    }
}

fn failed(status: u16, code: &str, message: &str) -> Reply {
    let fault = if status < 500 { "Sender" } else { "Receiver" };
    let id = uuid();
    xml(
        status,
        &id,
        format!(
            "<ErrorResponse xmlns=\"{NAMESPACE}\">\n  <Error>\n    <Type>{fault}</Type>\n    <Code>{code}</Code>\n    \
             <Message>{message}</Message>\n  </Error>\n  <RequestId>{id}</RequestId>\n</ErrorResponse>\n"
        ),
    )
}

fn published() -> Reply {
    let (id, message_id) = (uuid(), uuid());
    xml(
        200,
        &id,
        format!(
            "<PublishResponse xmlns=\"{NAMESPACE}\">\n  <PublishResult>\n    <MessageId>{message_id}</MessageId>\n  \
             </PublishResult>\n  <ResponseMetadata>\n    <RequestId>{id}</RequestId>\n  </ResponseMetadata>\n\
             </PublishResponse>\n"
        ),
    )
}

fn xml(status: u16, request_id: &str, body: String) -> Reply {
    Reply::of_type(status, "text/xml", body).with_header("x-amzn-requestid", request_id)
}

pub(super) fn judge(request: &Request, complaints: &mut Vec<String>) -> Judgement {
    let refuse = |code: &str, complaint: String| error(code).expect("a code of the table").because(complaint);
    let invalid = |complaint: String| refuse("InvalidParameter", complaint);

    if request.path() != "/" {
        return Err(status(404).because(format!("no such path: {}", request.path())));
    }
    if request.method != "POST" {
        return Err(status(405).because(format!("not POST: {}", request.method)));
    }
    signature::check(request, Clock::system().now(), &ACCOUNT).map_err(|(code, why)| refuse(code, why))?;
    if !request.is("application/x-www-form-urlencoded") {
        return Err(refuse("InvalidAction", "the content is not called a form".into()));
    }
    let form = Form::parse(&request.body).map_err(|complaint| refuse("ValidationError", complaint))?;
    let is_attribute = |name: &str| name.starts_with("MessageAttributes.entry.");
    form.complain_of_strangers(|name| PARAMETERS.contains(&name) || is_attribute(name), complaints);

    if (form.field("Action"), form.field("Version")) != (Some("Publish"), Some("2010-03-31")) {
        return Err(refuse("InvalidAction", "not Publish of 2010-03-31".into()));
    }
    let Some(number) = form.field("PhoneNumber") else { return Err(invalid("no PhoneNumber".into())) };
    let Some(to) = e164(number) else { return Err(invalid(format!("PhoneNumber is not E.164: {number:?}"))) };
    let message = form.field("Message").filter(|message| !message.trim().is_empty());
    let Some(text) = message else { return Err(invalid("no Message".into())) };
    if text.chars().count() > MAX_MESSAGE {
        return Err(invalid("the Message is too long".into()));
    }
    let from = sender(&form, complaints).map_err(invalid)?;
    complain_of_length(text, !is_gsm(text), complaints);
    Ok((Sms { to: to.to_owned(), from, text: text.to_owned() }, published()))
}

/// The sender that the attributes name; empty if they name none.
fn sender(form: &Form, complaints: &mut Vec<String>) -> Result<String, String> {
    let mut from = String::new();
    for index in 1.. {
        let part = |part: &str| form.field(&format!("MessageAttributes.entry.{index}.{part}"));
        let Some(name) = part("Name") else { break };
        let (Some(kind), Some(value)) = (part("Value.DataType"), part("Value.StringValue")) else {
            return Err(format!("the attribute {name} has no type or no value"));
        };
        let (expected, fits) = match name {
            "AWS.SNS.SMS.SenderID" => ("String", is_name(value, "")),
            "AWS.SNS.SMS.SMSType" => ("String", matches!(value, "Promotional" | "Transactional")),
            "AWS.SNS.SMS.MaxPrice" => ("Number", value.parse::<f64>().is_ok()),
            "AWS.MM.SMS.OriginationNumber" => {
                let digits = value.strip_prefix('+').unwrap_or(value);
                ("String", is_number(digits) || is_short_code(value))
            }
            "AWS.MM.SMS.EntityId" | "AWS.MM.SMS.TemplateId" => ("String", !value.is_empty()),
            other => {
                complaints.push(format!("no such attribute: {other}"));
                continue;
            }
        };
        if kind != expected || !fits {
            return Err(format!("the attribute {name} cannot be {kind} {value:?}"));
        }
        if matches!(name, "AWS.SNS.SMS.SenderID" | "AWS.MM.SMS.OriginationNumber") {
            value.clone_into(&mut from);
        }
    }
    Ok(from)
}

fn uuid() -> String {
    let digits = hex(&Random.bytes::<16>());
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}
