//! The provider over real HTTP/2 and TLS, against a fake APNs.

mod answers;
mod connections;
mod credentials;

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness::apns::Apple;
use serde_json::{Value, json};
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;
use shared::outbound::settings::Outbound;
use shared::random::Random;
use shared::secret::Secret;
use tempfile::TempDir;

use super::settings::Settings;
use super::testing::{device, notification};
use super::{Apns, ProviderContext, SetupError};
use crate::providers::device_key::DeviceKeys;
use crate::providers::outcome::{Cause, Certainty, Failure, Outcome};
use crate::providers::{Delivery, Provider};
use crate::upstream::options::Timing;

const PATIENCE: Duration = Duration::from_secs(20);

/// Short for the waits that a test sits out, long enough for a busy machine otherwise.
const QUICK: Timing = Timing {
    connect: PATIENCE,
    attempt: PATIENCE,
    grow_after: Duration::from_millis(50),
    ping_after: Duration::from_secs(60),
    ping_timeout: PATIENCE,
    idle: None,
    backoff: Backoff::new(Duration::from_millis(200), Duration::from_millis(800)),
};

/// A fake APNs, and what an app needs for it.
struct World {
    apple: Apple,
    folder: TempDir,
    clock: Clock,
    context: ProviderContext,
}

impl World {
    async fn new() -> Self {
        let apple = Apple::start().await;
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        apple.set_clock(&clock);
        let context = ProviderContext::new(clock.clone());
        Self { apple, folder: tempfile::tempdir().unwrap(), clock, context }
    }

    fn settings(&self) -> Settings {
        Settings {
            topic: String::from("org.example.app"),
            key: Some(Secret::new(self.apple.key_pem())),
            key_id: Some(self.apple.key_id()),
            team_id: Some(self.apple.team_id()),
            endpoint: Some(self.apple.endpoint()),
            ..Settings::default()
        }
    }

    fn outbound(&self) -> Outbound {
        let authority = self.apple.authority().write_pem(self.folder.path());
        Outbound { extra_ca_file: Some(authority), ..Outbound::default() }
    }

    fn provider(&self) -> Arc<Apns> {
        self.provider_with(|_| {}, QUICK)
    }

    fn provider_with(&self, change: impl FnOnce(&mut Settings), timing: Timing) -> Arc<Apns> {
        let mut settings = self.settings();
        change(&mut settings);
        Arc::new(self.try_provider(&settings, &self.outbound(), timing).unwrap())
    }

    fn try_provider(&self, settings: &Settings, outbound: &Outbound, timing: Timing) -> Result<Apns, SetupError> {
        Apns::with_timing("org.example.*", settings, &self.context.with_outbound(outbound, &[], true), timing)
    }
}

/// The token of device number `number`.
fn token(number: usize) -> String {
    format!("{number:064x}")
}

fn ids() -> Value {
    json!({"event_id": "$ev", "room_id": "!rm:a.example", "counts": {"unread": 2}})
}

/// Delivers to device number `number`.
async fn deliver(provider: &Apns, number: usize) -> Outcome {
    deliver_event(provider, &ids(), &token(number), &json!({})).await
}

/// The secret of the device keys: a device has the same key in every delivery of a test.
fn keys() -> &'static DeviceKeys {
    static KEYS: std::sync::LazyLock<DeviceKeys> = std::sync::LazyLock::new(|| DeviceKeys::new(Random));
    &KEYS
}

async fn deliver_event(provider: &Apns, event: &Value, pushkey: &str, fields: &Value) -> Outcome {
    let (notification, device) = (notification(event, &Value::Null), device(pushkey, fields));
    let deadline = Instant::now() + PATIENCE;
    let delivery = Delivery::new(&notification, &device, keys().pushkey(&device.pushkey), Random.bytes(), deadline);
    provider.deliver(&delivery).await
}

/// Delivers to the devices `numbers` at once.
async fn deliver_all(provider: &Arc<Apns>, numbers: impl IntoIterator<Item = usize>) -> Vec<Outcome> {
    let tasks: Vec<_> = numbers
        .into_iter()
        .map(|number| {
            let provider = Arc::clone(provider);
            tokio::spawn(async move { deliver(&provider, number).await })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

fn rejected(reason: &'static str, certainty: Certainty) -> Outcome {
    Outcome::rejected(reason, certainty)
}

fn outage(reason: &'static str, retry_after: Option<Duration>) -> Outcome {
    Failure::outage(reason, retry_after).into()
}

/// The reason and the detail of a mistake of the gateway.
#[track_caller]
fn mistake(outcome: &Outcome) -> (&'static str, &str) {
    match outcome {
        Outcome::Failed(Failure { reason, cause: Cause::Ours { detail }, .. }) => (reason, detail),
        other => panic!("{other:?} is not a mistake of the gateway"),
    }
}

#[track_caller]
fn assert_delivered(outcomes: &[Outcome]) {
    for (number, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome, &Outcome::Delivered, "number {number}");
    }
}
