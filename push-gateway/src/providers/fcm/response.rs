//! The responses of FCM and the outcome of each, in one table (*ErrorCode*, *FCM Error Codes*, *Sending FCM messages at
//! scale*).
//!
//! Invariant: a pushkey is rejected only for `UNREGISTERED`, `SENDER_ID_MISMATCH`, or `INVALID_ARGUMENT` that names the
//! token. A wrong Firebase project can cause the last two: the mass-rejection guard limits the damage. No part of a
//! response is trusted.

use std::time::Duration;

use serde_json::Value;

use crate::providers::apns_error::{ApnsError, Meaning, look_up};
use crate::providers::log_throttle::escaped;
use crate::providers::outcome::{Certainty, Failure, Outcome, Reason};

/// A pause without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(60);

/// A pause that APNs asks for, as far as Google relays no `Retry-After`.
const APNS_PAUSE: Duration = Duration::from_secs(30);

/// Google's sentences about a registration token of the wrong form. Another text may quote this one, so only the whole
/// message counts.
const INVALID_TOKEN: [&str; 2] =
    ["The registration token is not a valid FCM registration token", "Invalid registration token"];

/// Google's sentence about an iPhone whose APNs token is dead.
const DISABLED_IPHONE: &str = "APNs device token is disabled";

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// What the attempt does before it ends with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Finish,
    /// Resends with a new access token, once.
    RenewToken,
    /// Resends a reduced message, once.
    ReducePayload,
    /// Sends nothing to this device for so long, nor to the project if its quota is spent.
    Pause(Duration, Quota),
}

/// Whose quota is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Quota {
    Project,
    Device,
    /// Google does not say.
    #[default]
    Unknown,
}

/// The outcome of an attempt with this response, and what to do first. `pushkey` is removed from the details.
pub(super) fn interpret(
    status: u16,
    error: &ErrorBody,
    retry_after: Option<Duration>,
    pushkey: &str,
) -> (Outcome, Action) {
    let rejected = |reason, certainty| (Outcome::rejected(reason, certainty), Action::Finish);
    let ours = |reason| {
        let detail = format!("{}; Google says: {}", advice(reason), error.detail(pushkey));
        Outcome::from(Failure::ours(reason, &detail))
    };
    let mistake = |reason| (ours(reason), Action::Finish);
    let outage = |reason| (Failure::outage(reason, retry_after).into(), Action::Finish);
    if status >= 300
        && let Some(apns) = error.of_apns()
    {
        return from_apns(&apns, error, retry_after, pushkey);
    }
    match (status, error.code_or_status()) {
        (200..=299, _) => (Outcome::Delivered, Action::Finish),
        // Only FCM's own code: a project that does not exist is "NOT_FOUND" as well.
        (404, _) if error.code.as_deref() == Some("UNREGISTERED") => rejected("UNREGISTERED", Certainty::Certain),
        (404, _) => mistake("NOT_FOUND"),
        (403, Some("SENDER_ID_MISMATCH")) => rejected("SENDER_ID_MISMATCH", Certainty::Suspect),
        (403, _) => mistake("PERMISSION_DENIED"),
        (400, Some("INVALID_ARGUMENT")) if error.blames_target() => rejected("INVALID_ARGUMENT", Certainty::Suspect),
        // The operator can correct the options, so the event is not lost.
        (400, _) if error.blames_options() => (ours("INVALID_ARGUMENT"), Action::ReducePayload),
        (400, _) => (Outcome::Dropped("bad_payload"), Action::ReducePayload),
        (401, Some("THIRD_PARTY_AUTH_ERROR")) => mistake("THIRD_PARTY_AUTH_ERROR"),
        (401, _) => (ours("UNAUTHENTICATED"), Action::RenewToken),
        (429, _) => {
            let pause = retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE);
            (Failure::pause("QUOTA_EXCEEDED", pause).into(), Action::Pause(pause, error.quota))
        }
        (500, _) => outage("INTERNAL"),
        (503, _) => outage("UNAVAILABLE"),
        (502 | 504, _) => outage("gateway"),
        (300..=399, _) => mistake("redirect"),
        (_, _) => mistake("unexpected_status"),
    }
}

/// The outcome if Google could not deliver to an iPhone, by the error of APNs that it relays.
fn from_apns(apns: &ApnsError, error: &ErrorBody, retry_after: Option<Duration>, pushkey: &str) -> (Outcome, Action) {
    let reason = apns.reason;
    match apns.meaning {
        Meaning::Gone => (Outcome::rejected(reason, Certainty::Certain), Action::Finish),
        Meaning::Suspect => (Outcome::rejected(reason, Certainty::Suspect), Action::Finish),
        Meaning::TooLarge => (Outcome::Dropped("too_large"), Action::ReducePayload),
        Meaning::TooManyPushes => {
            let pause = retry_after.unwrap_or(APNS_PAUSE).min(MAX_PAUSE);
            (Failure::pause(reason, pause).into(), Action::Pause(pause, Quota::Device))
        }
        Meaning::TooManyTokens => {
            let failure = Failure { is_rate_refused: true, ..Failure::upstream(reason, retry_after) };
            (failure.into(), Action::Finish)
        }
        // An outage of Apple's says nothing about Google: no circuit counts it.
        Meaning::Connection | Meaning::Outage => {
            let failure = Failure { retry_in_request: true, ..Failure::upstream(reason, retry_after) };
            (failure.into(), Action::Finish)
        }
        Meaning::Ours => {
            let detail = format!(
                "Apple refuses what Firebase sends: check the key for Apple in Firebase's console, its topic and environment; \
                 Google says: {}",
                error.detail(pushkey)
            );
            (Failure::ours(reason, &detail).into(), Action::Finish)
        }
    }
}

/// What the operator has to check after a mistake with this reason.
fn advice(reason: Reason) -> &'static str {
    match reason {
        "NOT_FOUND" => "check project_id and base_url: there is no such project",
        "PERMISSION_DENIED" => {
            "the service account may not send for this project: check both, its role, and that the API is on"
        }
        "THIRD_PARTY_AUTH_ERROR" => "Firebase has no valid key for Apple or Web Push: upload one in its console",
        "INVALID_ARGUMENT" => "check fcm_options: Google rejects messages with these options",
        "UNAUTHENTICATED" => "access tokens are not accepted: check service_account_file and the clock",
        _ => "check base_url: the response is not from FCM",
    }
}

impl Quota {
    /// Reads the subjects of violations, such as `project:my-app` or `device`, and names of limits, such as
    /// `DefaultRequestsPerMinutePerProject`.
    fn of(names: impl Iterator<Item = String>) -> Self {
        let mut quota = Self::Unknown;
        for name in names.map(|name| name.to_ascii_lowercase()) {
            if name.contains("device") || name.contains("token") || name.contains("registration") {
                return Self::Device;
            }
            if name.contains("project") {
                quota = Self::Project;
            }
        }
        quota
    }
}

/// How much of a body in another format is read.
const MAX_UNREADABLE: usize = 800;

/// An error of FCM: a `google.rpc.Status` as JSON, or a proxy's response (HTML, half a body, nothing). Its parts are
/// empty if they are missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// `details[].errorCode`, FCM's own code, such as `UNREGISTERED`.
    pub(super) code: Option<String>,
    /// `status`, the code of all Google APIs, such as `NOT_FOUND`.
    pub(super) status: Option<String>,
    /// `message`
    pub(super) message: Option<String>,
    /// `details[].fieldViolations[].field`, such as `message.token`.
    pub(super) fields: Vec<String>,
    /// `statusCode` and `reason` of APNs, from `details[]` of the type `ApnsError`.
    pub(super) apns: Option<(u16, String)>,
    /// Whose quota is spent, by `details[]` of the types `QuotaFailure` and `ErrorInfo`.
    pub(super) quota: Quota,
    /// The start of a body in any other format.
    other: String,
}

impl ErrorBody {
    /// Reads the parts that have the expected form.
    pub(super) fn parse(body: &[u8]) -> Self {
        let Ok(json) = serde_json::from_slice::<Value>(body) else { return Self::unreadable(body) };
        // The error of a stream is a list with one member.
        let Some(error) = json.get("error").or_else(|| json.get(0)?.get("error")).filter(|error| error.is_object())
        else {
            return Self::unreadable(body);
        };
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let details = || error.get("details").and_then(Value::as_array).into_iter().flatten();
        let violations = details().filter_map(|detail| detail.get("fieldViolations")?.as_array()).flatten();
        let of_apns = |detail: &Value| {
            let status = detail.get("statusCode")?.as_u64()?;
            Some((u16::try_from(status).ok()?, text(detail, "reason").unwrap_or_default()))
        };
        let violations_of = |detail: &Value| detail.get("violations").and_then(Value::as_array).cloned();
        let subjects =
            details().filter_map(violations_of).flatten().filter_map(|violation| text(&violation, "subject"));
        let limits = details().filter_map(|detail| text(detail.get("metadata")?, "quota_limit"));
        let is_of_apns = |detail: &&Value| text(detail, "@type").is_some_and(|name| name.ends_with(".ApnsError"));
        Self {
            quota: Quota::of(subjects.chain(limits)),
            apns: details().filter(is_of_apns).find_map(of_apns),
            code: details().find_map(|detail| text(detail, "errorCode")),
            status: text(error, "status"),
            message: text(error, "message"),
            fields: violations.filter_map(|violation| text(violation, "field")).collect(),
            other: String::new(),
        }
    }

    fn unreadable(body: &[u8]) -> Self {
        let start = &body[..body.len().min(MAX_UNREADABLE)];
        Self { other: String::from_utf8_lossy(start).into_owned(), ..Self::default() }
    }

    /// FCM's own code, else the common status.
    pub(super) fn code_or_status(&self) -> Option<&str> {
        self.code.as_deref().or(self.status.as_deref())
    }

    /// The code if it has the form of one, so that no other remote text reaches a debug line.
    pub(super) fn label(&self) -> &str {
        let is_code = |text: &&str| text.len() < 40 && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        self.code_or_status().filter(is_code).unwrap_or("")
    }

    /// Whether the error names the registration token or installation ID.
    pub(super) fn blames_target(&self) -> bool {
        let names_target = |field: &String| matches!(field.as_str(), "message.token" | "message.fid");
        self.fields.iter().any(names_target) || INVALID_TOKEN.iter().any(|sentence| self.says(sentence))
    }

    /// The error of APNs that the body relays.
    fn of_apns(&self) -> Option<ApnsError> {
        match &self.apns {
            Some((status, reason)) => look_up(*status, Some(reason.as_str()).filter(|reason| !reason.is_empty())),
            None if self.says(DISABLED_IPHONE) => look_up(410, Some("Unregistered")),
            None => None,
        }
    }

    /// Whether the whole message is this sentence.
    fn says(&self, sentence: &str) -> bool {
        self.message.as_deref().is_some_and(|message| message.trim_end_matches('.') == sentence)
    }

    /// Whether the error names a part of the message that only the operator's `fcm_options` fill in the reduced form.
    pub(super) fn blames_options(&self) -> bool {
        const PARTS: [&str; 5] = ["notification", "android", "apns", "webpush", "fcm_options"];
        let is_option = |field: &String| {
            field
                .strip_prefix("message.")
                .is_some_and(|path| PARTS.contains(&path.split(['.', '[']).next().unwrap_or_default()))
        };
        self.fields.iter().any(is_option)
    }

    /// The text for the operator's log: one line, at most 100 characters, without `pushkey`. Google quotes a refused value
    /// in double quotes, and the value may be a message, so the text ends there.
    pub(super) fn detail(&self, pushkey: &str) -> String {
        let message = self.message.as_deref().map(|text| text.split('"').next().unwrap_or_default().trim_end());
        let mut parts: Vec<&str> =
            [self.status.as_deref(), self.code.as_deref(), message].into_iter().flatten().collect();
        parts.dedup();
        parts.extend(self.fields.iter().map(String::as_str));
        if !self.other.is_empty() {
            parts.push(&self.other);
        }
        let mut text = parts.join(", ");
        if !pushkey.is_empty() {
            text = text.replace(pushkey, "***");
        }
        escaped(&text)
    }
}

#[cfg(test)]
mod tests;
