//! What APNs answers, the outcome of each answer, and what the attempt does first.
//!
//! Invariant: a part of the body that is unreadable counts as missing.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::DEVICE_PAUSE;
use crate::providers::apns_error::{ApnsError, Meaning, look_up};
use crate::providers::outcome::{Certainty, Failure, Outcome, Reason};

/// A response of APNs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ApnsResponse {
    pub(super) status: u16,
    /// Not escaped.
    pub(super) reason: Option<String>,
    /// From when on the device has been unknown, in milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
    pub(super) retry_after: Option<Duration>,
}

/// What the attempt does before it ends with the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Finish,
    /// Resends to the other environment, if the app has one.
    OtherEnvironment,
    /// Resends with a new provider token, if the refused one is old enough.
    RenewToken,
    /// Resends with a smaller payload.
    ReducePayload,
    /// Compares the time at which the device disappeared with its registration.
    CheckRegistration,
    /// Sends nothing to this device for a while.
    PauseDevice,
    /// Makes no new provider token for a while.
    FreezeToken,
    /// Opens no new stream on this connection.
    RetireConnection,
}

use Action::{
    CheckRegistration, Finish, FreezeToken, OtherEnvironment, PauseDevice, ReducePayload, RenewToken, RetireConnection,
};

impl ApnsResponse {
    /// Reads the body of a response; an unreadable part counts as missing.
    pub(super) fn read(status: u16, body: &[u8], retry_after: Option<Duration>) -> Self {
        #[derive(Default, Deserialize)]
        struct Body {
            reason: Option<Value>,
            timestamp: Option<Value>,
        }
        // A 200 has no body, and the parser would allocate an error for it.
        let body = if body.is_empty() { None } else { serde_json::from_slice(body).ok() };
        let body: Body = body.unwrap_or_default();
        let reason = match body.reason {
            Some(Value::String(reason)) if !reason.is_empty() => Some(reason),
            _ => None,
        };
        Self { status, reason, timestamp: body.timestamp.and_then(|value| value.as_i64()), retry_after }
    }

    /// The outcome of an attempt with this response, and what to do first.
    pub(super) fn interpret(&self) -> (Outcome, Action) {
        let Some(ApnsError { reason, meaning, advice }) = look_up(self.status, self.reason.as_deref()) else {
            return (Outcome::Delivered, Finish);
        };
        let outage = |failure: Failure| Outcome::from(Failure { retry_in_request: true, ..failure });
        match meaning {
            Meaning::Gone => (Outcome::rejected(reason, Certainty::Certain), CheckRegistration),
            Meaning::Suspect => {
                let action = if reason == "BadDeviceToken" { OtherEnvironment } else { Finish };
                (Outcome::rejected(reason, Certainty::Suspect), action)
            }
            Meaning::TooLarge => (Outcome::Dropped("too_large"), ReducePayload),
            Meaning::TooManyPushes => (Failure::pause(reason, DEVICE_PAUSE).into(), PauseDevice),
            Meaning::TooManyTokens => {
                (Failure { is_rate_refused: true, ..Failure::upstream(reason, None) }.into(), FreezeToken)
            }
            Meaning::Connection => (outage(Failure::upstream(reason, self.retry_after)), RetireConnection),
            Meaning::Outage => {
                let action = if reason == "Shutdown" { RetireConnection } else { Finish };
                (outage(Failure::outage(reason, self.retry_after)), action)
            }
            Meaning::Ours => {
                let action = if reason == "ExpiredProviderToken" { RenewToken } else { Finish };
                (self.mistake(reason, advice).into(), action)
            }
        }
    }

    fn mistake(&self, reason: Reason, advice: &str) -> Failure {
        let received = self.escaped_reason();
        let received = if received.is_empty() { "without a reason" } else { &received };
        Failure::ours(reason, &format!("APNs answered {} {received}; {advice}", self.status))
    }

    /// Whether the device has registered again, at `pushkey_ts` (seconds), since it became unknown.
    pub(super) fn is_before(&self, pushkey_ts: Option<i64>) -> bool {
        self.timestamp.zip(pushkey_ts).is_some_and(|(gone, registered)| gone < registered.saturating_mul(1000))
    }

    /// The reason for a log: control characters escaped, at most 100 characters.
    pub(super) fn escaped_reason(&self) -> String {
        self.reason.iter().flat_map(|reason| reason.chars()).flat_map(char::escape_default).take(100).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Action::{
        self, CheckRegistration, Finish, FreezeToken, OtherEnvironment, PauseDevice, ReducePayload, RenewToken,
        RetireConnection,
    };
    use super::ApnsResponse;
    use crate::providers::apns_error::ERRORS;
    use crate::providers::outcome::Certainty::{Certain, Suspect};
    use crate::providers::outcome::{Cause, Failure, Outcome};

    fn interpret(status: u16, reason: Option<&str>) -> (Outcome, Action) {
        ApnsResponse { status, reason: reason.map(str::to_owned), ..ApnsResponse::default() }.interpret()
    }

    /// The label of a mistake of the gateway.
    #[track_caller]
    fn ours(status: u16, reason: Option<&str>) -> &'static str {
        match interpret(status, reason) {
            (Outcome::Failed(Failure { cause: Cause::Ours { .. }, reason, .. }), _) => reason,
            other => panic!("{status} {reason:?}: {other:?}"),
        }
    }

    fn failed(failure: Failure) -> Outcome {
        failure.into()
    }

    #[test]
    fn every_reason_of_apple_has_its_outcome() {
        let pause = std::time::Duration::from_secs(30);
        let connection = |reason| failed(Failure { retry_in_request: true, ..Failure::upstream(reason, None) });
        let outage = |reason| failed(Failure::outage(reason, None));
        let others = [
            (400, "BadDeviceToken", Outcome::rejected("BadDeviceToken", Suspect), OtherEnvironment),
            (400, "DeviceTokenNotForTopic", Outcome::rejected("DeviceTokenNotForTopic", Suspect), Finish),
            (400, "IdleTimeout", connection("IdleTimeout"), RetireConnection),
            (410, "Unregistered", Outcome::rejected("Unregistered", Certain), CheckRegistration),
            (410, "ExpiredToken", Outcome::rejected("ExpiredToken", Certain), CheckRegistration),
            (413, "PayloadTooLarge", Outcome::Dropped("too_large"), ReducePayload),
            (429, "TooManyRequests", failed(Failure::pause("TooManyRequests", pause)), PauseDevice),
            (
                429,
                "TooManyProviderTokenUpdates",
                failed(Failure { is_rate_refused: true, ..Failure::upstream("TooManyProviderTokenUpdates", None) }),
                FreezeToken,
            ),
            (500, "InternalServerError", outage("InternalServerError"), Finish),
            (503, "ServiceUnavailable", outage("ServiceUnavailable"), Finish),
            (503, "Shutdown", outage("Shutdown"), RetireConnection),
        ];
        for (status, reason, outcome, action) in &others {
            assert_eq!(interpret(*status, Some(reason)), (outcome.clone(), *action), "{status} {reason}");
        }
        let mistakes = [
            (400, "TopicDisallowed"),
            (400, "BadTopic"),
            (400, "MissingTopic"),
            (400, "BadPriority"),
            (400, "BadExpirationDate"),
            (400, "BadCollapseId"),
            (400, "BadMessageId"),
            (400, "InvalidPushType"),
            (400, "DuplicateHeaders"),
            (400, "MissingDeviceToken"),
            (400, "PayloadEmpty"),
            (404, "BadPath"),
            (405, "MethodNotAllowed"),
            (403, "ExpiredProviderToken"),
            (403, "InvalidProviderToken"),
            (403, "MissingProviderToken"),
            (403, "Forbidden"),
            (403, "BadCertificate"),
            (403, "BadCertificateEnvironment"),
            (403, "BadEnvironmentKeyIdInToken"),
            (403, "UnrelatedKeyIdInToken"),
        ];
        for (status, reason) in mistakes {
            assert_eq!(ours(status, Some(reason)), reason);
            let action = if reason == "ExpiredProviderToken" { RenewToken } else { Finish };
            assert_eq!(interpret(status, Some(reason)).1, action, "{reason}");
        }
        // The table has no row that this test leaves out.
        let rows = ERRORS.iter().filter(|(_, reason, ..)| *reason != "*").count();
        assert_eq!(rows, mistakes.len() + others.len());
    }

    #[test]
    fn an_unknown_reason_is_a_mistake_of_the_gateway_unless_the_status_suffices() {
        for reason in [None, Some("NewReason")] {
            assert_eq!(interpret(200, reason), (Outcome::Delivered, Finish));
            assert_eq!(interpret(413, reason), (Outcome::Dropped("too_large"), ReducePayload));
            let (outcome, action) = interpret(429, reason);
            assert_eq!((outcome.labels(), action), (("temporary", "other"), PauseDevice));
            for status in [500, 502, 503, 504, 599] {
                assert_eq!(interpret(status, reason), (failed(Failure::outage("other", None)), Finish));
            }
            for status in [301, 302, 400, 401, 403, 404, 405, 418] {
                assert_eq!(ours(status, reason), "other", "{status}");
            }
        }
        assert_eq!(interpret(410, None), (Outcome::rejected("none", Certain), CheckRegistration));
        assert_eq!(ours(410, Some("NewReason")), "other");
        // A reason counts with its own status only.
        assert_eq!(ours(400, Some("Unregistered")), "other");
        assert_eq!(ours(403, Some("BadDeviceToken")), "other");
    }

    #[test]
    fn an_unreadable_part_of_the_body_counts_as_missing() {
        let response = |reason: Option<&str>, timestamp| ApnsResponse {
            status: 410,
            reason: reason.map(str::to_owned),
            timestamp,
            retry_after: None,
        };
        for (body, expected) in [
            (
                r#"{"reason":"Unregistered","timestamp":1700000000123}"#,
                response(Some("Unregistered"), Some(1_700_000_000_123)),
            ),
            (r#"{"reason":"BadPath"}"#, response(Some("BadPath"), None)),
            (r#"{"reason":"Unregistered","timestamp":"soon"}"#, response(Some("Unregistered"), None)),
            (r#"{"reason":5,"timestamp":1.5}"#, response(None, None)),
            (r#"{"reason":""}"#, response(None, None)),
            (r#"{"reason":"Unreg"#, response(None, None)),
            ("", response(None, None)),
            ("<html>Bad Gateway</html>", response(None, None)),
            ("[]", response(None, None)),
            ("null", response(None, None)),
        ] {
            assert_eq!(ApnsResponse::read(410, body.as_bytes(), None), expected, "{body}");
        }
    }

    #[test]
    fn a_registration_after_the_device_disappeared_is_recognized() {
        for (timestamp, pushkey_ts, expected) in [
            (Some(1_700_000_000_000), Some(1_700_000_001), true),
            (Some(1_700_000_000_000), Some(1_700_000_000), false),
            (Some(1_700_000_000_001), Some(1_700_000_000), false),
            (Some(1_700_000_000_000), None, false),
            (None, Some(1_700_000_000), false),
            (Some(1_700_000_000_000), Some(i64::MAX), true),
            (Some(1_700_000_000_000), Some(i64::MIN), false),
        ] {
            let response = ApnsResponse { timestamp, ..ApnsResponse::default() };
            assert_eq!(response.is_before(pushkey_ts), expected, "{timestamp:?} {pushkey_ts:?}");
        }
    }

    #[test]
    fn a_reason_in_a_log_is_escaped_and_short() {
        let reason = Some(format!("a\n\u{1b}[31m{}", "x".repeat(300)));
        let text = ApnsResponse { reason, ..ApnsResponse::default() }.escaped_reason();
        assert_eq!(text.len(), 100);
        assert!(text.starts_with("a\\n\\u{1b}[31mxxx"));
    }
}
