//! The provider over real HTTP/2, against a fake FCM that checks every request.

mod access_tokens;
mod answers;
mod connections;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use harness::fcm::Google;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::outbound::settings::Outbound;
use shared::random::Random;
use tempfile::TempDir;

use super::{Fcm, ProviderContext, Settings, SetupError};
use crate::notification::parse::{Request, parse};
use crate::providers::device_key::DeviceKeys;
use crate::providers::outcome::Certainty;
use crate::providers::outcome::{Cause, Failure, Outcome};
use crate::providers::{Delivery, Provider};

const SOON: Duration = Duration::from_secs(20);

/// A fake FCM, and what an app needs for it.
struct World {
    google: Google,
    folder: TempDir,
    context: ProviderContext,
}

impl World {
    async fn new() -> Self {
        Self::at(Clock::system()).await
    }

    async fn at(clock: Clock) -> Self {
        let google = Google::start_at(clock.clone()).await;
        let context = ProviderContext::new(clock);
        Self { google, folder: tempfile::tempdir().unwrap(), context }
    }

    fn outbound(&self) -> Outbound {
        Outbound { extra_ca_file: Some(self.google.authority().write_pem(self.folder.path())), ..Outbound::default() }
    }

    fn try_app(&self, mut settings: Value) -> Result<Fcm, SetupError> {
        if settings.get("credentials").is_none() {
            settings["service_account_file"] = json!(self.google.write_service_account(self.folder.path()));
        }
        settings["base_url"] = json!(self.google.base_url());
        let settings = Settings::of_table("apps.\"x\"", settings).unwrap();
        Fcm::new("org.example.*", &settings, &self.context.with_outbound(&self.outbound(), &[], true))
    }

    fn app(&self) -> Fcm {
        self.try_app(json!({})).unwrap()
    }
}

async fn deliver(app: &Fcm, pushkey: &str) -> Outcome {
    deliver_within(app, pushkey, Duration::from_secs(25)).await
}

async fn deliver_within(app: &Fcm, pushkey: &str, time: Duration) -> Outcome {
    let body = json!({"notification": {
        "event_id": "$tea", "room_id": "!kitchen:example.org", "type": "m.room.message",
        "content": {"msgtype": "m.text", "body": "Tea?"}, "counts": {"unread": 2},
        "devices": [{"app_id": "org.example.android", "pushkey": pushkey}],
    }});
    let Request { notification, devices } = parse(body.to_string().as_bytes(), 1).unwrap();
    static KEYS: LazyLock<DeviceKeys> = LazyLock::new(|| DeviceKeys::new(Random));
    let deadline = Instant::now() + time;
    let delivery = Delivery::new(&notification, &devices[0], KEYS.pushkey(&devices[0].pushkey), [7; 16], deadline);
    app.deliver(&delivery).await
}

fn rejected(reason: &'static str, certainty: Certainty) -> Outcome {
    Outcome::rejected(reason, certainty)
}

fn outage(reason: &'static str, retry_after: Option<u64>) -> Outcome {
    Failure::outage(reason, retry_after.map(Duration::from_secs)).into()
}

/// A pause after a 429, which another attempt within the request waits for if `is_short`.
fn pause(reason: &'static str, seconds: u64, is_short: bool) -> Outcome {
    let pause = Failure::pause(reason, Duration::from_secs(seconds));
    assert_eq!(pause.retry_in_request, is_short);
    pause.into()
}

#[track_caller]
fn assert_mistake(found: &Outcome, reason: &str) {
    match found {
        Outcome::Failed(Failure { reason: found, cause: Cause::Ours { detail }, .. }) => {
            assert_eq!(*found, reason);
            assert!(detail.chars().count() <= 200 && !detail.contains(['\n', '\r']), "{detail}");
        }
        other => panic!("{other:?} is not a mistake of the gateway"),
    }
}

#[tokio::test]
async fn a_message_arrives_over_http2_with_the_required_headers() {
    let world = World::new().await;
    let app = world.app();
    assert!(app.readiness().is_err());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert!(app.readiness().is_ok());
    let messages = world.google.messages();
    assert_eq!(messages.len(), 1);
    assert!(messages[0].is_http2);
    assert_eq!(messages[0].target, "/v1/projects/demo-project/messages:send");
    assert_eq!(messages[0].header("content-type"), Some("application/json"));
    assert_eq!(messages[0].json()["message"]["token"], "tok-1");
}
