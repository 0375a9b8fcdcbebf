//! `push-gateway test-push`: one push to one device, and in words what came of it and what to do.
//!
//! Invariant: it goes the way of every push, with the same settings and keys, but makes one attempt and remembers
//! nothing.

use std::time::Instant;

use serde_json::{Map, Value, json};
use shared::clock::Clock;
use shared::random::Random;
use shared::telemetry::{self, Level, Log};

use crate::apps::registry::{AppsError, Unserved};
use crate::config::Config;
use crate::delivery::state::State;
use crate::notification::parse::{ParseError, Request, parse};
use crate::providers::{Certainty, Delivery, Outcome, Provider, ProviderError, Rejection};

/// The device to send to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its `app_id`.
    pub(crate) app_id: String,
    /// Its pushkey.
    pub(crate) pushkey: String,
    /// Its `data`, as JSON text.
    pub(crate) data: Option<String>,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestPushError {
    /// An app cannot be served.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The data are no JSON object.
    #[error("--data: expected a JSON object")]
    Data,
    /// The device is of no use.
    #[error("{0}")]
    Device(#[from] ParseError),
}

/// What came of it, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// Whether the push service has taken it.
    pub(crate) is_delivered: bool,
    /// Lines to print.
    pub(crate) lines: Vec<String>,
}

/// Sends one push to `target`. What the push service said in detail goes to the log.
///
/// # Errors
/// [`TestPushError`] if nothing can be sent.
pub(crate) async fn test_push(config: Config, target: &Target) -> Result<Report, TestPushError> {
    telemetry::log(Log { level: Level::Debug, ..config.log }, &["push_gateway"]);
    let Request { notification, devices } = request(target, config.limits.max_devices)?;
    let deadline = Instant::now() + config.limits.request_deadline.get();
    let state = State::new(config, Clock::system(), Random)?;
    let setup = state.setup();
    let apps = &setup.apps;
    let (Some(device), pattern) = (devices.first(), apps.find(&target.app_id).map(|app| app.pattern.clone())) else {
        return Err(TestPushError::Data);
    };
    let mut lines = Vec::new();
    let result = match apps.serving(device) {
        Ok(app) => {
            lines.push(format!("app: {} ({})", pattern.unwrap_or_default(), app.type_name));
            let delivery = Delivery { notification: &notification, device, id: Random.bytes(), deadline };
            app.provider.deliver(&delivery).await
        }
        Err(unserved) => {
            let reason = match unserved {
                Unserved::InvalidPushkey => "invalid_pushkey",
                Unserved::UnknownApp => "unknown_app",
            };
            Ok(Outcome::Rejected(Rejection { reason, certainty: Certainty::Suspect }))
        }
    };
    let is_delivered = matches!(result, Ok(Outcome::Delivered));
    let (outcome, advice) = explain(&result);
    lines.push(format!("outcome: {outcome}"));
    lines.push(format!("what to do: {advice}"));
    Ok(Report { is_delivered, lines })
}

/// The request that an app's own "test push" makes.
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
    Ok(parse(json!({ "notification": notification }).to_string().as_bytes(), max_devices)?)
}

/// The outcome in words, and what to do.
fn explain(result: &Result<Outcome, ProviderError>) -> (String, &'static str) {
    match result {
        Ok(Outcome::Delivered) => (
            "delivered: the push service has accepted it".to_owned(),
            "nothing. If the device shows nothing, look there: permissions, focus modes, battery saving",
        ),
        Ok(Outcome::Dropped(reason)) => {
            (format!("dropped ({reason}): there was nothing to send, or it can never be sent"), dropped(reason))
        }
        Ok(Outcome::Rejected(Rejection { reason, .. })) => {
            (format!("rejected ({reason}): a homeserver would forget this pushkey"), rejected(reason))
        }
        Err(ProviderError::Temporary { reason, retry_after, .. }) => {
            let wait = retry_after.map(|wait| format!(", to be tried again in {} s", wait.as_secs().max(1)));
            let wait = wait.unwrap_or_default();
            (
                format!("not now ({reason}{wait}): a homeserver would keep the event and try again"),
                "see whether the push service can be reached from here (network, proxy, certificates), then try again",
            )
        }
        Err(ProviderError::Permanent { reason, detail }) => (
            format!("refused ({reason}): {detail}"),
            "correct the settings of this app: its key, topic or project. Homeservers keep the events meanwhile",
        ),
    }
}

fn dropped(reason: &str) -> &'static str {
    match reason {
        "not_a_call" => "VoIP apps get calls only: use the app_id of the app's ordinary notifications",
        "badge_disabled" => "the device wants no badge updates",
        _ => "see the log lines above",
    }
}

fn rejected(reason: &str) -> &'static str {
    match reason {
        "unknown_app" => "no [apps.\"…\"] pattern matches this app_id: add one, or check the spelling and case",
        "invalid_pushkey" => "give a pushkey of 1 to 2048 bytes",
        "invalid_token" => "this is no device token of APNs: 64 or more hexadecimal digits, or base64",
        "BadDeviceToken" | "DeviceTokenNotForTopic" => {
            "the token belongs to the other platform (production or sandbox) or to another topic: check both"
        }
        "SENDER_ID_MISMATCH" => "the token belongs to another Firebase project: check the service account",
        "Unregistered" | "ExpiredToken" | "UNREGISTERED" => {
            "the app was removed from the device, or has registered again: take the newest pushkey"
        }
        _ => "check that the pushkey is complete and belongs to this app",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Certainty, Outcome, ProviderError, Rejection, Target, TestPushError, explain, request};

    fn target(data: Option<&str>) -> Target {
        Target { app_id: "a".to_owned(), pushkey: "k".to_owned(), data: data.map(str::to_owned) }
    }

    #[test]
    fn the_request_is_one_that_an_app_would_send() {
        let made = request(&target(Some(r#"{"default_payload":{"cs":"x"}}"#)), 500).unwrap();
        assert_eq!(made.devices[0].pushkey, "k");
        assert_eq!(made.devices[0].default_payload().unwrap()["cs"], "x");
        for wrong in ["5", "{", "[]"] {
            assert!(matches!(request(&target(Some(wrong)), 500), Err(TestPushError::Data)), "{wrong}");
        }
    }

    #[test]
    fn each_outcome_is_told_with_what_to_do() {
        let rejection = |reason| Ok(Outcome::Rejected(Rejection { reason, certainty: Certainty::Suspect }));
        let temporary = ProviderError::Temporary {
            reason: "timeout",
            retry_after: Some(Duration::from_secs(7)),
            again: true,
            is_outage: true,
        };
        let permanent = ProviderError::Permanent { reason: "BadTopic", detail: "APNs answered 400".to_owned() };
        for (result, outcome, advice) in [
            (Ok(Outcome::Delivered), "delivered", "nothing"),
            (Ok(Outcome::Dropped("not_a_call")), "not_a_call", "VoIP"),
            (rejection("unknown_app"), "unknown_app", "[apps."),
            (rejection("BadDeviceToken"), "BadDeviceToken", "sandbox"),
            (Err(temporary), "7 s", "network"),
            (Err(permanent), "APNs answered 400", "topic"),
        ] {
            let (told, todo) = explain(&result);
            assert!(told.contains(outcome) && todo.contains(advice), "{told} / {todo}");
        }
    }
}
