//! The responses of push services and the outcome of each, in one table (RFC 8030 §5, and what each service documents).
//!
//! Invariant: a pushkey is rejected only for 404 and 410, for a subscription that was made with another VAPID key, and for an
//! endpoint without a subscriber for half a day. No part of a response is trusted.

use std::time::Duration;

use http::header::{HeaderMap, RETRY_AFTER};
use serde_json::Value;

use crate::providers::log_throttle::escaped;
use crate::providers::outcome::{Certainty, Failure, Outcome, Reason};
use crate::upstream::no_response::NoResponse;

/// A pause without `Retry-After`.
const DEFAULT_PAUSE: Duration = Duration::from_secs(30);
/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// Google's sentence about a subscription that was made with another VAPID key.
const OTHER_KEY: &str = "do not correspond to the credentials used to create";
/// Apple's reason for the same.
const OTHER_KEY_REASON: &str = "VapidPkHashMismatch";
/// Microsoft's push service.
const WNS: &str = "notify.windows.com";

/// The headers with which push services explain a failure.
const EXPLANATIONS: [&str; 4] = ["x-wns-error-description", "x-wns-status", "x-wns-notificationstatus", "apns-id"];

/// What the attempt does before it ends with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Finish,
    /// Resends a smaller payload, once.
    Shrink,
    /// Sends nothing to this endpoint for so long.
    Pause(Duration),
    /// The endpoint has no subscriber at present.
    NoSubscriber,
}

/// A response.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The delay from `Retry-After`.
    pub(super) retry_after: Option<Duration>,
    pub(super) headers: HeaderMap,
    /// The beginning of the body.
    pub(super) body: Vec<u8>,
}

/// The outcome of an attempt with this response of `host`, and what to do first.
pub(super) fn interpret(answer: &Answer, host: &str) -> (Outcome, Action) {
    let rejected = |reason, certainty| (Outcome::rejected(reason, certainty), Action::Finish);
    let is_wns = host == WNS || host.strip_suffix(WNS).is_some_and(|rest| rest.ends_with('.'));
    match answer.status {
        200..=299 => (Outcome::Delivered, Action::Finish),
        404 => rejected("not_found", Certainty::Suspect),
        410 => rejected("gone", Certainty::Certain),
        400 | 403 if answer.names_other_key() => rejected("vapid_mismatch", Certainty::Suspect),
        413 => (Outcome::Dropped("too_large"), Action::Shrink),
        429 => pause(answer, "too_many_requests"),
        406 if is_wns => pause(answer, "throttled"),
        // The endpoint's own state: it says nothing about the push service.
        507 => {
            let failure = Failure::upstream("no_subscriber", answer.retry_after);
            (Failure { retry_in_request: true, ..failure }.into(), Action::NoSubscriber)
        }
        500.. => (Failure::outage(outage_reason(answer.status), answer.retry_after).into(), Action::Finish),
        status => {
            let reason = mistake_reason(status);
            let detail = format!("{}; {host} answered {}", advice(status), answer.detail());
            (Failure::ours(reason, &detail).into(), Action::Finish)
        }
    }
}

/// A name that leads nowhere, or where it must not: says nothing about a push service.
pub(super) fn unreachable_name(reason: Reason) -> Failure {
    Failure::upstream(reason, Some(Duration::from_secs(60)))
}

/// The failure of a request without a response.
pub(super) fn network_failure(missing: NoResponse) -> Failure {
    match missing.reason() {
        reason @ ("blocked" | "dns") => unreachable_name(reason),
        "connect_timeout" => Failure::outage("timeout", None),
        "not_processed" => Failure::outage("connection_lost", None),
        reason => Failure::outage(reason, None),
    }
}

fn pause(answer: &Answer, reason: Reason) -> (Outcome, Action) {
    let asks_for_none = answer.headers.get(RETRY_AFTER).is_some_and(|value| value.as_bytes().trim_ascii() == b"0");
    if asks_for_none {
        let failure = Failure { is_rate_refused: true, retry_in_request: true, ..Failure::upstream(reason, None) };
        return (failure.into(), Action::Pause(Duration::ZERO));
    }
    let pause = answer.retry_after.unwrap_or(DEFAULT_PAUSE).min(MAX_PAUSE);
    (Failure::pause(reason, pause).into(), Action::Pause(pause))
}

fn outage_reason(status: u16) -> Reason {
    match status {
        500 => "internal_error",
        502 | 504 => "gateway",
        503 => "unavailable",
        _ => "server_error",
    }
}

fn mistake_reason(status: u16) -> Reason {
    match status {
        300..=399 => "redirect",
        400 => "bad_request",
        401 => "unauthorized",
        403 => "forbidden",
        _ => "unexpected_status",
    }
}

/// What the operator has to check after this status.
fn advice(status: u16) -> &'static str {
    match status {
        300..=399 => "the push service redirects, and a redirect is not followed",
        401 | 403 => "check vapid_private_key, vapid_contact and the clock",
        _ => "check vapid_contact, ttl and the clock: the push service does not accept the request",
    }
}

impl Answer {
    /// Whether the subscription was made with another VAPID key, so that it can never work.
    fn names_other_key(&self) -> bool {
        self.member("reason").is_some_and(|reason| reason == OTHER_KEY_REASON)
            || String::from_utf8_lossy(&self.body).contains(OTHER_KEY)
    }

    fn member(&self, name: &str) -> Option<String> {
        match serde_json::from_slice::<Value>(&self.body).ok()?.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The text for the operator's log: the status and how the push service explains it, at most 100 characters.
    pub(super) fn detail(&self) -> String {
        let mut parts = vec![self.status.to_string()];
        parts.extend(["reason", "errno"].iter().filter_map(|name| self.member(name)));
        let header = |name: &&str| {
            let value = self.headers.get(*name)?;
            Some(format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        };
        parts.extend(EXPLANATIONS.iter().filter_map(header));
        escaped(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderMap;

    use super::{Action, Answer, interpret};
    use crate::providers::outcome::{Certainty, Failure, Outcome};

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, body: body.as_bytes().to_vec(), ..Answer::default() }
    }

    fn labels(status: u16, body: &str, host: &str) -> (&'static str, &'static str) {
        interpret(&answer(status, body), host).0.labels()
    }

    #[test]
    fn each_status_has_its_outcome() {
        let other = r#"{"reason":"VapidPkHashMismatch"}"#;
        let google = "the VAPID credentials in the authorization header do not correspond to the credentials used to create \
                      the subscriptions.";
        for (status, body, host, expected) in [
            (200, "{}", "ntfy.sh", ("delivered", "")),
            (201, "", "x.example", ("delivered", "")),
            (404, "", "x.example", ("rejected", "not_found")),
            (410, "<html>", "x.example", ("rejected", "gone")),
            (400, other, "web.push.apple.com", ("rejected", "vapid_mismatch")),
            (403, other, "web.push.apple.com", ("rejected", "vapid_mismatch")),
            (403, google, "fcm.googleapis.com", ("rejected", "vapid_mismatch")),
            (401, google, "x.example", ("permanent", "unauthorized")),
            (403, r#"{"reason":"BadJwtToken"}"#, "web.push.apple.com", ("permanent", "forbidden")),
            (400, r#"{"errno":108}"#, "x.example", ("permanent", "bad_request")),
            (302, "", "x.example", ("permanent", "redirect")),
            (405, "", "x.example", ("permanent", "unexpected_status")),
            (406, "", "db5p.notify.windows.com", ("temporary", "throttled")),
            (406, "", "evilnotify.windows.com", ("permanent", "unexpected_status")),
            (413, "", "x.example", ("dropped", "too_large")),
            (429, "", "x.example", ("temporary", "too_many_requests")),
            (500, "", "x.example", ("temporary", "internal_error")),
            (502, "", "x.example", ("temporary", "gateway")),
            (503, "", "x.example", ("temporary", "unavailable")),
            (507, "", "ntfy.sh", ("temporary", "no_subscriber")),
        ] {
            assert_eq!(labels(status, body, host), expected, "{status} {body}");
        }
        let certainty = |status| match interpret(&answer(status, ""), "x.example").0 {
            Outcome::Rejected(rejection) => Some(rejection.certainty),
            _ => None,
        };
        assert_eq!([certainty(404), certainty(410)], [Some(Certainty::Suspect), Some(Certainty::Certain)]);
    }

    #[test]
    fn a_pause_is_as_long_as_asked_for_within_an_hour() {
        let pause = |retry_after: Option<u64>| {
            let retry_after = retry_after.map(Duration::from_secs);
            let (outcome, action) = interpret(&Answer { retry_after, ..answer(429, "") }, "x.example");
            let Outcome::Failed(Failure { retry_after: Some(wait), retry_in_request, .. }) = outcome else { panic!() };
            assert_eq!(action, Action::Pause(wait));
            (wait.as_secs(), retry_in_request)
        };
        assert_eq!(
            [pause(None), pause(Some(120)), pause(Some(5)), pause(Some(99_999))],
            [(30, false), (120, false), (5, true), (3600, false)]
        );
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "0".parse().unwrap());
        let (outcome, action) = interpret(&Answer { headers, ..answer(429, "") }, "x.example");
        let Outcome::Failed(Failure { retry_after, retry_in_request, .. }) = outcome else { panic!() };
        assert_eq!((retry_after, retry_in_request, action), (None, true, Action::Pause(Duration::ZERO)));
    }

    #[test]
    fn a_failure_is_logged_with_the_words_of_the_push_service_escaped_and_cut() {
        let mut headers = HeaderMap::new();
        headers.insert("x-wns-error-description", "Ttl value conflicts".parse().unwrap());
        let answer = Answer { headers, ..answer(400, r#"{"errno":109,"reason":"Bad\n\u001b[31m","secret":"x"}"#) };
        assert_eq!(answer.detail(), "400, Bad\\n\\u{1b}[31m, 109, x-wns-error-description: Ttl value conflicts");
    }
}
