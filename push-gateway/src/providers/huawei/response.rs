//! The responses of Push Kit and the outcome of each, in one table (*push-scenariozed-api-response*, *https-send-api*).
//!
//! Invariant: Push Kit reports success and failure with status 200, so the code decides. No code proves that a token is dead:
//! a wrong project looks the same, so every rejection is suspect. No part of a response is trusted.

use std::time::Duration;

use serde_json::Value;

use crate::providers::log_throttle::escaped;
use crate::providers::outcome::{Certainty, Failure, Outcome, Reason};

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What the attempt does before it ends with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Finish,
    /// Resends with a new access token, once.
    RenewToken,
    /// Resends the identifiers alone, once.
    ReducePayload,
    /// Resends a smaller message, once.
    Shrink,
    /// Sends nothing for this app for a while.
    Pause,
}

/// Reasons of a token that Push Kit does not deliver to.
const DEAD: [Reason; 3] = ["tokenFormatError", "tokenPlatformNotSupport", "noRight"];

/// Reasons that concern the rights of the app.
const RIGHTS: [Reason; 8] = [
    "noPushTypeRight",
    "atomicUnableSendUnsubscribedMsg",
    "countryNotSupport",
    "disableSendHuaweiMsgBecauseOfPenalty",
    "differentImgVerifyPolicy",
    "appinfoError",
    "notSupportPlayVoice",
    "noRightToSendThisLiveNotificationEvent",
];

/// The body of a response, as far as it has the expected form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    code: String,
    message: String,
    /// `illegal_tokens` in the message, if it is JSON text.
    illegal_tokens: Option<Vec<String>>,
}

/// The outcome of an attempt with this response, and what to do first. `pushkey` is removed from the details.
pub(super) fn interpret(
    status: u16,
    answer: &Answer,
    retry_after: Option<Duration>,
    pushkey: &str,
) -> (Outcome, Action) {
    let outage = |reason| (Failure::outage(reason, retry_after).into(), Action::Finish);
    let ours = |reason| {
        let detail = format!("{}; Push Kit says: {status} {}", advice(reason), answer.detail(pushkey));
        Outcome::from(Failure::ours(reason, &detail))
    };
    match status {
        401 => (ours("unauthorized"), Action::RenewToken),
        404 => (ours("not_found"), Action::Finish),
        // The app's own pause replaces this one.
        429 | 503 => {
            let wait = retry_after.unwrap_or_default().min(MAX_PAUSE);
            (Failure::pause("too_many_requests", wait).into(), Action::Pause)
        }
        500 => outage("internal_error"),
        502 | 504 => outage("gateway"),
        505.. | 501 => outage("server_error"),
        300..=399 => (ours("redirect"), Action::Finish),
        400 if answer.code.is_empty() => (Outcome::Dropped("bad_payload"), Action::ReducePayload),
        // A response that cannot be read does not say that the message was accepted.
        200..=299 if answer.code.is_empty() => outage("unreadable_response"),
        // A proxy in front of Push Kit.
        408 if answer.code.is_empty() => outage("timeout"),
        413 if answer.code.is_empty() => (Outcome::Dropped("too_large"), Action::Shrink),
        _ if answer.code.is_empty() => (ours("unexpected_status"), Action::Finish),
        _ => by_code(answer, retry_after, pushkey, ours),
    }
}

/// The outcome of a response with a code.
fn by_code(
    answer: &Answer,
    retry_after: Option<Duration>,
    pushkey: &str,
    ours: impl Fn(Reason) -> Outcome,
) -> (Outcome, Action) {
    let finish = |outcome: Outcome| (outcome, Action::Finish);
    match answer.code.as_str() {
        "80000000" => finish(Outcome::Delivered),
        "80100000" | "80300007" => finish(of_token(answer, pushkey, ours)),
        "80100001" | "80100003" | "80100013" | "80100016" | "80100018" | "80100022" => {
            (Outcome::Dropped("bad_payload"), Action::ReducePayload)
        }
        "80100004" => finish(Outcome::Dropped("expired")),
        "80200001" | "80200003" | "80200005" => (ours("unauthorized"), Action::RenewToken),
        "80300002" => finish(ours("no_permission")),
        "80300011" => finish(ours("oauth_scope")),
        "80300036" => finish(ours("clock")),
        "80300037" => finish(ours("penalty")),
        "80300008" => (Outcome::Dropped("too_large"), Action::Shrink),
        "80300010" => finish(ours("too_many_tokens")),
        "80300029" | "80300030" => finish(Failure::upstream("test_quota", retry_after).into()),
        "80600003" => finish(Failure::outage("token_service", retry_after).into()),
        "81000001" => finish(Failure::outage("internal_error", retry_after).into()),
        _ => finish(ours("unknown_code")),
    }
}

/// The outcome if Push Kit accepted the message and not the token.
fn of_token(answer: &Answer, pushkey: &str, ours: impl Fn(Reason) -> Outcome) -> Outcome {
    let rejected = |reason| Outcome::rejected(reason, Certainty::Suspect);
    let is_all = answer.code == "80300007";
    let is_listed = answer.illegal_tokens.as_ref().map(|tokens| tokens.iter().any(|token| token == pushkey));
    let names = |reasons: &[Reason]| reasons.iter().copied().find(|reason| answer.names(reason, pushkey));
    // Our message has one token: a list without it concerns another message.
    if !is_all && is_listed == Some(false) {
        return Outcome::Delivered;
    }
    if let Some(reason) = names(&DEAD) {
        return rejected(reason);
    }
    if let Some(reason) = names(&RIGHTS) {
        return ours(reason);
    }
    if is_all || is_listed == Some(true) { rejected("illegal_token") } else { Outcome::Delivered }
}

/// What the operator has to check after a mistake with this reason.
fn advice(reason: Reason) -> &'static str {
    match reason {
        "unauthorized" => "access tokens are not accepted: check the credential and the clock",
        "not_found" => "check base_url, and the project or app_id_number: there is no such app",
        "no_permission" => "the app may not send: enable Push Kit for it in AppGallery Connect",
        "oauth_scope" => "the credential is not for Push Kit: check client_id, or the service account",
        "clock" => "check the clock: the token's lifetime is wrong",
        "penalty" => "Huawei has suspended the app: see AppGallery Connect",
        "too_many_tokens" => "check base_url: Push Kit counts other tokens than the one that was sent",
        "redirect" | "unexpected_status" => "check base_url: the response is not from Push Kit",
        "unknown_code" => "this code is in no documentation that the gateway knows",
        _ => {
            "the app lacks a right in AppGallery Connect: check push_type, category and the self-classification of messages"
        }
    }
}

impl Answer {
    /// Reads the members that have the expected form.
    pub(super) fn parse(body: &[u8]) -> Self {
        let Ok(Value::Object(json)) = serde_json::from_slice::<Value>(body) else { return Self::default() };
        let text = |key: &str| match json.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let (code, message) = (text("code"), text("msg"));
        let inner: Value = serde_json::from_str(&message).unwrap_or_default();
        let list = inner.get("illegal_tokens").and_then(Value::as_array).filter(|list| !list.is_empty());
        let illegal_tokens =
            list.map(|list| list.iter().filter_map(|token| token.as_str().map(str::to_owned)).collect());
        Self { code, message, illegal_tokens }
    }

    /// The code if it has the form of one, so that no other remote text reaches a debug line.
    pub(super) fn label(&self) -> &str {
        let is_code = self.code.len() <= 10 && self.code.bytes().all(|byte| byte.is_ascii_digit());
        if is_code { &self.code } else { "" }
    }

    /// Whether the message contains this word, outside the token.
    fn names(&self, word: &str, pushkey: &str) -> bool {
        self.without(pushkey).split(|c: char| !c.is_ascii_alphanumeric()).any(|other| other == word)
    }

    fn without(&self, pushkey: &str) -> String {
        if pushkey.is_empty() { self.message.clone() } else { self.message.replace(pushkey, "***") }
    }

    /// The text for the operator's log: one line, at most 100 characters, without `pushkey`.
    pub(super) fn detail(&self, pushkey: &str) -> String {
        escaped(format!("{} {}", self.code, self.without(pushkey)).trim())
    }
}

#[cfg(test)]
mod tests;
