//! `push-gateway test-push`: sends one push to one device, and explains the outcome.
//!
//! Invariant: it uses the same provider, settings and keys as every push, but makes one attempt and remembers nothing.

use std::time::Instant;

use serde_json::{Map, Value, json};
use shared::clock::Clock;
use shared::random::Random;
use shared::telemetry::{self, Level, Log};

use crate::apps::registry::{AppsError, UNKNOWN_APP};
use crate::config::Config;
use crate::delivery::state::State;
use crate::notification::parse::{ParseError, Request, parse_forwarding};
use crate::providers::Delivery;
use crate::providers::outcome::{Cause, Failure, Outcome, Rejection};

/// The reason of a delivery that has no access token.
const NO_TOKEN: &str = "no_token";

/// The device to send to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) app_id: String,
    pub(crate) pushkey: String,
    /// Its `data`, as JSON text.
    pub(crate) data: Option<String>,
}

/// Why no push was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestPushError {
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error("--data: expected a JSON object")]
    Data,
    #[error("{0}")]
    Device(#[from] ParseError),
}

/// The report for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) is_delivered: bool,
    pub(crate) lines: Vec<String>,
}

/// Sends one push to `target`. The details of the response go to the log.
///
/// # Errors
/// [`TestPushError`] if nothing can be sent.
pub(crate) async fn test_push(config: Config, target: &Target) -> Result<Report, TestPushError> {
    let _log = telemetry::log(Log { level: Level::Debug, ..config.log }, &["push_gateway"]);
    let Request { notification, devices } = request(target, config.limits.max_devices)?;
    let deadline = Instant::now() + config.limits.request_deadline.get();
    let state = State::new(config, Clock::system(), Random)?;
    let setup = state.setup();
    let apps = &setup.apps;
    let Some(device) = devices.first() else { return Err(TestPushError::Data) };
    let mut lines = Vec::new();
    let mut credential_problem = None;
    let outcome = match apps.serving(device) {
        Ok(app) => {
            let sender = app.sender(device);
            let type_name = sender.map_or(app.own.type_name, |sender| sender.type_name);
            lines.push(format!("app: {} ({type_name})", app.pattern));
            match sender {
                Ok(sender) => {
                    let pushkey = sender.provider.canonical_pushkey(device);
                    let key = state.device_keys.pushkey(sender.provider.installation(&pushkey));
                    let delivery = Delivery::new(&notification, device, key, Random.bytes(), deadline);
                    let outcome = sender.provider.deliver(&delivery).await;
                    credential_problem = sender.provider.credential_problem();
                    outcome
                }
                Err(rejection) => Outcome::Rejected(rejection),
            }
        }
        Err(rejection) => Outcome::Rejected(rejection),
    };
    let (text, advice) = explain(&outcome, credential_problem.as_deref());
    lines.push(format!("outcome: {text}"));
    lines.push(format!("what to do: {advice}"));
    Ok(Report { is_delivered: outcome == Outcome::Delivered, lines })
}

/// The request that the "test push" of an app makes.
fn request(target: &Target, max_devices: usize) -> Result<Request, TestPushError> {
    let data: Map<String, Value> = match &target.data {
        Some(text) => serde_json::from_str(text).map_err(|_| TestPushError::Data)?,
        None => Map::new(),
    };
    let device = json!({ "app_id": target.app_id, "pushkey": target.pushkey, "data": data });
    let notification = json!({
        "event_id": "$THIS_IS_A_FAKE_EVENT_ID",
        "room_id": "!room:domain",
        "type": "m.room.message",
        "sender": "@push-gateway:domain",
        "sender_display_name": "Push gateway",
        "content": { "msgtype": "m.text", "body": "This is a test" },
        "devices": [device],
    });
    let body = json!({ "notification": notification }).to_string();
    Ok(parse_forwarding(body.as_bytes(), max_devices, |_| true)?)
}

/// The outcome in words, and what to do. `credential_problem` is why the provider has no access token.
fn explain(outcome: &Outcome, credential_problem: Option<&str>) -> (String, &'static str) {
    match outcome {
        Outcome::Failed(Failure { reason: NO_TOKEN, .. }) if credential_problem.is_some() => {
            let problem = credential_problem.unwrap_or_default();
            (format!("failed ({NO_TOKEN}): no access token: {problem}"), without_token(problem))
        }
        Outcome::Delivered => (
            "delivered: the push service has accepted it".to_owned(),
            "nothing. If the device shows nothing, check its permissions, focus modes and battery saver",
        ),
        Outcome::Dropped(reason) => {
            (format!("dropped ({reason}): there is nothing to send, or it is undeliverable"), dropped(reason))
        }
        Outcome::Rejected(Rejection { reason, .. }) => {
            (format!("rejected ({reason}): a homeserver would delete this pusher"), rejected(reason))
        }
        Outcome::Failed(Failure { reason, cause: Cause::Ours { detail }, .. }) => (
            format!("refused ({reason}): {detail}"),
            "correct the settings of this app: its key, topic or project. Homeservers keep the events meanwhile",
        ),
        Outcome::Failed(Failure { reason, retry_after, .. }) => {
            let wait = retry_after.map(|wait| format!(", retry in {} s", wait.as_secs().max(1)));
            (
                format!("failed ({reason}{}): a homeserver would keep the event and retry", wait.unwrap_or_default()),
                "check whether this machine reaches the push service (network, proxy, certificates), then try again",
            )
        }
    }
}

/// What to do if the token endpoint refuses the account or does not answer.
fn without_token(problem: &str) -> &'static str {
    if problem.contains("invalid_grant") {
        "Google does not accept this key: check the clock of this machine; if it is right, the service account or its key was \
         deleted or disabled: create a new key and replace service_account_file"
    } else if problem.starts_with("status 5") || problem.starts_with("status 429") {
        "the token endpoint is overloaded or out of order: try again later"
    } else if problem.starts_with("status ") {
        "the token endpoint refuses this account: check that it exists, belongs to this project and may use the push service, \
         and that its secret is right"
    } else {
        "check whether this machine reaches the token endpoint (network, proxy, certificates), then try again"
    }
}

fn dropped(reason: &str) -> &'static str {
    match reason {
        "not_a_call" => "VoIP apps get only calls: use the app_id of the app's ordinary notifications",
        "badge_disabled" => "the device has turned badge updates off",
        "endpoint_not_allowed" => "add the host of this endpoint to allowed_endpoints, if the app may use it",
        "events_only" => "the browser asks for events only, and this has none",
        _ => "see the log lines above",
    }
}

fn rejected(reason: &str) -> &'static str {
    match reason {
        UNKNOWN_APP => "no [apps.\"…\"] pattern matches this app_id: add one, or check the spelling and case",
        "invalid_pushkey" => "use a pushkey of 1 to 2048 bytes",
        "invalid_token" => {
            "expected a device token of the app's push service: for APNs 64 or more hexadecimal digits, or base64; for Huawei up to \
             512 printable characters"
        }
        "BadDeviceToken" | "DeviceTokenNotForTopic" => {
            "the token belongs to the other platform (production or sandbox) or to another topic: check both"
        }
        "invalid_endpoint" => {
            "expected an https URL at a public address, on port 80, 443 or above 1023; see [outbound] allow_cidrs and allow_http"
        }
        "invalid_subscription" => {
            "expected a browser's public key as pushkey with endpoint and auth in --data, or the subscription as JSON"
        }
        "vapid_mismatch" => "the browser subscribed with another VAPID key: check vapid_private_key",
        "endpoint_inactive" => "no distributor has been subscribed to this endpoint for half a day",
        "not_found" | "gone" => "the push service does not know this endpoint any more: subscribe again",
        "rejected" => "the receiver rejected the pushkey: look there",
        "noRight" => "the token belongs to another project of Huawei, or to HarmonyOS 4: check version and project_id",
        "tokenPlatformNotSupport" => {
            "the token is of the other version: version = 3 is for HarmonyOS 5, 1 for HMS Core"
        }
        "tokenFormatError" | "illegal_token" => "Push Kit does not know this token: use the newest pushkey",
        "SENDER_ID_MISMATCH" => "the token belongs to another Firebase project: check the service account",
        "Unregistered" | "ExpiredToken" | "UNREGISTERED" => {
            "the app was removed from the device, or has registered again: use the newest pushkey"
        }
        _ => "check that the pushkey is complete and belongs to this app",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Failure, Outcome, Target, TestPushError, explain, request};
    use crate::providers::outcome::Certainty;

    fn target(data: Option<&str>) -> Target {
        Target { app_id: "a".to_owned(), pushkey: "k".to_owned(), data: data.map(str::to_owned) }
    }

    #[test]
    fn the_request_contains_the_device_and_its_data() {
        let made = request(&target(Some(r#"{"default_payload":{"cs":"x"}}"#)), 500).unwrap();
        assert_eq!(made.devices[0].pushkey, "k");
        assert_eq!(made.devices[0].default_payload().unwrap()["cs"], "x");
        for wrong in ["5", "{", "[]"] {
            assert!(matches!(request(&target(Some(wrong)), 500), Err(TestPushError::Data)), "{wrong}");
        }
    }

    #[test]
    fn a_missing_access_token_is_explained_by_its_cause() {
        for (problem, advice) in [
            ("status 400 invalid_grant Invalid JWT Signature.", "create a new key"),
            ("status 401 unauthorized_client", "refuses this account"),
            ("status 503 ", "try again later"),
            ("its name does not resolve", "network"),
        ] {
            let outcome = Failure::upstream("no_token", None).into();
            let (found, action) = explain(&outcome, Some(problem));
            assert!(found.contains(problem) && action.contains(advice), "{found} / {action}");
        }
    }

    #[test]
    fn each_outcome_is_explained_with_an_action() {
        let rejected = |reason| Outcome::rejected(reason, Certainty::Suspect);
        for (outcome, text, advice) in [
            (Outcome::Delivered, "delivered", "nothing"),
            (Outcome::Dropped("not_a_call"), "not_a_call", "VoIP"),
            (rejected("unknown_app"), "unknown_app", "[apps."),
            (rejected("BadDeviceToken"), "BadDeviceToken", "sandbox"),
            (Failure::outage("timeout", Some(Duration::from_secs(7))).into(), "7 s", "network"),
            (Failure::ours("BadTopic", "APNs answered 400").into(), "APNs answered 400", "topic"),
        ] {
            let (found, action) = explain(&outcome, None);
            assert!(found.contains(text) && action.contains(advice), "{found} / {action}");
        }
    }
}
