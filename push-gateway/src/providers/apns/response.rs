//! What Apple's answers mean for a delivery: every fact about them in one table.
//!
//! Invariant: the status and the reason decide together, and what is not in the table decides against sending again and
//! against the device: it is taken for a mistake of ours.

use serde::Deserialize;
use serde_json::Value;

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Delivered,
    /// The device is gone: the app was removed, or the token replaced.
    Dead,
    /// The token is not one of this app in this environment, or we are not in the right one.
    Suspect,
    /// Our topic, key, certificate or request is wrong. For the operator: what to look at.
    Ours(&'static str),
    /// The provider token is too old.
    Expired,
    /// The payload is too large.
    TooLarge,
    /// Too many pushes for this device.
    TooMany,
    /// Too many provider tokens.
    TooManyTokens,
    /// Trouble at Apple.
    Trouble,
    /// Trouble with this connection.
    BadConnection {
        is_outage: bool,
    },
}

/// What Apple said beside the status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// Not escaped.
    pub(super) reason: Option<String>,
    /// From when on the device has been unknown, in milliseconds since the Unix epoch.
    pub(super) timestamp: Option<i64>,
}

use Verdict::{BadConnection, Dead, Expired, Ours, Suspect, TooLarge, TooMany, TooManyTokens, Trouble};

/// Status, reason (*Handling notification responses from APNs*), meaning. `*` is any reason that is not there or not in
/// the table, for the statuses that say enough by themselves.
const ANSWERS: &[(u16, &str, Verdict)] = &[
    (400, "BadCollapseId", Ours("this is a mistake of the gateway")),
    (400, "BadDeviceToken", Suspect),
    (400, "BadExpirationDate", Ours("this is a mistake of the gateway")),
    (400, "BadMessageId", Ours("this is a mistake of the gateway")),
    (400, "BadPriority", Ours("check push_type")),
    (400, "BadTopic", Ours("check topic")),
    (400, "DeviceTokenNotForTopic", Suspect),
    (400, "DuplicateHeaders", Ours("this is a mistake of the gateway")),
    (400, "IdleTimeout", BadConnection { is_outage: false }),
    (400, "InvalidPushType", Ours("check push_type")),
    (400, "MissingDeviceToken", Ours("this is a mistake of the gateway")),
    (400, "MissingTopic", Ours("check topic")),
    (400, "PayloadEmpty", Ours("check payload")),
    (400, "TopicDisallowed", Ours("check topic: the credentials are not for it")),
    (403, "BadCertificate", Ours("check cert_file")),
    (403, "BadCertificateEnvironment", Ours("check platform: the certificate is for the other one")),
    (403, "BadEnvironmentKeyIdInToken", Ours("check platform: the key is for the other one")),
    (403, "ExpiredProviderToken", Expired),
    (403, "Forbidden", Ours("check the credentials")),
    (403, "InvalidProviderToken", Ours("check key_file, key_id and team_id")),
    (403, "MissingProviderToken", Ours("check cert_file: Apple wants a key")),
    (403, "UnrelatedKeyIdInToken", Ours("check key_id: several keys are in use on one connection")),
    (404, "BadPath", Ours("check endpoint")),
    (405, "MethodNotAllowed", Ours("check endpoint")),
    (410, "ExpiredToken", Dead),
    (410, "Unregistered", Dead),
    (413, "PayloadTooLarge", TooLarge),
    (413, "*", TooLarge),
    (429, "TooManyProviderTokenUpdates", TooManyTokens),
    (429, "TooManyRequests", TooMany),
    (429, "*", TooMany),
    (500, "InternalServerError", Trouble),
    (503, "ServiceUnavailable", Trouble),
    (503, "Shutdown", BadConnection { is_outage: true }),
];

/// The meaning of an answer, with a label for its reason from a closed set.
pub(super) fn judge(status: u16, reason: Option<&str>) -> (Verdict, &'static str) {
    let row = |reason: &str| ANSWERS.iter().find(|(code, name, _)| *code == status && *name == reason);
    let found = reason.and_then(row).or_else(|| row("*"));
    match (found, status) {
        (Some((_, "*", verdict)), _) => (*verdict, "other"),
        (Some((_, reason, verdict)), _) => (*verdict, reason),
        (None, 200..=299) => (Verdict::Delivered, "none"),
        // Nothing else is said with this status.
        (None, 410) if reason.is_none() => (Dead, "none"),
        (None, 500..) => (Trouble, "other"),
        (None, _) => (Ours("Apple gives no reason that is known"), "other"),
    }
}

impl Words {
    /// Reads the body of an answer; whatever cannot be read is not there.
    pub(super) fn read(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            reason: Option<Value>,
            timestamp: Option<Value>,
        }
        let Ok(body) = serde_json::from_slice::<Body>(body) else { return Self::default() };
        let reason = match body.reason {
            Some(Value::String(reason)) if !reason.is_empty() => Some(reason),
            _ => None,
        };
        Self { reason, timestamp: body.timestamp.and_then(|value| value.as_i64()) }
    }

    /// Whether the device has registered again, at `pushkey_ts` (seconds), since it became unknown.
    pub(super) fn came_before(&self, pushkey_ts: Option<i64>) -> bool {
        self.timestamp.zip(pushkey_ts).is_some_and(|(gone, registered)| gone < registered.saturating_mul(1000))
    }

    /// For a log: without control characters, 200 characters at most.
    pub(super) fn escaped(&self) -> String {
        self.reason.iter().flat_map(|reason| reason.chars()).flat_map(char::escape_default).take(200).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{
        BadConnection, Dead, Delivered, Expired, Ours, Suspect, TooLarge, TooMany, TooManyTokens, Trouble,
    };
    use super::{ANSWERS, Verdict, Words, judge};

    fn is_ours(verdict: Verdict) -> bool {
        matches!(verdict, Ours(_))
    }

    #[test]
    fn every_reason_of_apple_has_its_meaning() {
        for (status, reasons, expected) in [
            (400, &["BadDeviceToken", "DeviceTokenNotForTopic"][..], Suspect),
            (400, &["IdleTimeout"], BadConnection { is_outage: false }),
            (403, &["ExpiredProviderToken"], Expired),
            (410, &["Unregistered", "ExpiredToken"], Dead),
            (413, &["PayloadTooLarge"], TooLarge),
            (429, &["TooManyRequests"], TooMany),
            (429, &["TooManyProviderTokenUpdates"], TooManyTokens),
            (500, &["InternalServerError"], Trouble),
            (503, &["ServiceUnavailable"], Trouble),
            (503, &["Shutdown"], BadConnection { is_outage: true }),
        ] {
            for reason in reasons {
                assert_eq!(judge(status, Some(reason)), (expected, *reason), "{status} {reason}");
            }
        }
        let ours = [
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
            (403, "InvalidProviderToken"),
            (403, "MissingProviderToken"),
            (403, "Forbidden"),
            (403, "BadCertificate"),
            (403, "BadCertificateEnvironment"),
            (403, "BadEnvironmentKeyIdInToken"),
            (403, "UnrelatedKeyIdInToken"),
        ];
        for (status, reason) in ours {
            let (verdict, label) = judge(status, Some(reason));
            assert!(is_ours(verdict), "{status} {reason}: {verdict:?}");
            assert_eq!(label, reason);
        }
        // Nothing is in the table that is not in this test.
        let others = 2 + 1 + 1 + 2 + 1 + 1 + 1 + 1 + 1 + 1;
        assert_eq!(ANSWERS.iter().filter(|(_, reason, _)| *reason != "*").count(), ours.len() + others);
    }

    #[test]
    fn a_status_without_a_known_reason_is_ours_unless_it_says_enough() {
        for reason in [None, Some("NewReason")] {
            assert_eq!(judge(200, reason), (Delivered, "none"));
            assert_eq!(judge(413, reason), (TooLarge, "other"));
            assert_eq!(judge(429, reason), (TooMany, "other"));
            for status in [500, 502, 503, 504, 599] {
                assert_eq!(judge(status, reason), (Trouble, "other"));
            }
            for status in [301, 302, 400, 401, 403, 404, 405, 418] {
                assert!(is_ours(judge(status, reason).0), "{status}");
            }
        }
        assert_eq!(judge(410, None), (Dead, "none"));
        assert!(is_ours(judge(410, Some("NewReason")).0));
        // A reason counts with its own status only.
        assert!(is_ours(judge(400, Some("Unregistered")).0));
        assert!(is_ours(judge(403, Some("BadDeviceToken")).0));
    }

    #[test]
    fn what_cannot_be_read_is_not_there() {
        let words = |reason: Option<&str>, timestamp| Words { reason: reason.map(str::to_owned), timestamp };
        for (body, expected) in [
            (
                r#"{"reason":"Unregistered","timestamp":1700000000123}"#,
                words(Some("Unregistered"), Some(1_700_000_000_123)),
            ),
            (r#"{"reason":"BadPath"}"#, words(Some("BadPath"), None)),
            (r#"{"reason":"Unregistered","timestamp":"soon"}"#, words(Some("Unregistered"), None)),
            (r#"{"reason":5,"timestamp":1.5}"#, words(None, None)),
            (r#"{"reason":""}"#, words(None, None)),
            (r#"{"reason":"Unreg"#, words(None, None)),
            ("", words(None, None)),
            ("<html>Bad Gateway</html>", words(None, None)),
            ("[]", words(None, None)),
            ("null", words(None, None)),
        ] {
            assert_eq!(Words::read(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_device_that_registered_later_is_not_the_one_that_is_gone() {
        let gone = |timestamp| Words { reason: None, timestamp };
        for (timestamp, pushkey_ts, expected) in [
            (Some(1_700_000_000_000), Some(1_700_000_001), true),
            (Some(1_700_000_000_000), Some(1_700_000_000), false),
            (Some(1_700_000_000_001), Some(1_700_000_000), false),
            (Some(1_700_000_000_000), None, false),
            (None, Some(1_700_000_000), false),
            (Some(1_700_000_000_000), Some(i64::MAX), true),
            (Some(1_700_000_000_000), Some(i64::MIN), false),
        ] {
            assert_eq!(gone(timestamp).came_before(pushkey_ts), expected, "{timestamp:?} {pushkey_ts:?}");
        }
    }

    #[test]
    fn words_in_a_log_are_escaped_and_short() {
        let words = Words { reason: Some(format!("a\n\u{1b}[31m{}", "x".repeat(300))), timestamp: None };
        let text = words.escaped();
        assert_eq!(text.len(), 200);
        assert!(text.starts_with("a\\n\\u{1b}[31mxxx"));
    }
}
