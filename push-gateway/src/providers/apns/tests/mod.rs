//! The provider over real HTTP/2 and TLS, against a fake Apple.

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

use super::client::Timing;
use super::settings::Settings;
use super::testing::{device, notification};
use super::{Apns, ProviderTokenCache, SetupError};
use crate::providers::{Certainty, Delivery, Outcome, Provider, ProviderError, Rejection};

const PATIENCE: Duration = Duration::from_secs(20);

/// Of the waits that a test sits out, short ones; of the others, such that a busy machine keeps them too.
const QUICK: Timing = Timing {
    connect: PATIENCE,
    attempt: PATIENCE,
    grow_after: Duration::from_millis(50),
    ping_after: Duration::from_secs(60),
    ping_timeout: PATIENCE,
    backoff: Backoff::new(Duration::from_millis(200), Duration::from_millis(800)),
};

/// Everything that an app of this type needs.
struct World {
    apple: Apple,
    folder: TempDir,
    clock: Clock,
    tokens: ProviderTokenCache,
}

impl World {
    async fn new() -> Self {
        let apple = Apple::start().await;
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        apple.set_clock(&clock);
        Self { apple, folder: tempfile::tempdir().unwrap(), clock, tokens: ProviderTokenCache::default() }
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
        Apns::with_timing("org.example.*", settings, outbound, &self.tokens, self.clock.clone(), timing)
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
async fn deliver(provider: &Apns, number: usize) -> Result<Outcome, ProviderError> {
    deliver_event(provider, &ids(), &token(number), &json!({})).await
}

async fn deliver_event(
    provider: &Apns,
    event: &Value,
    pushkey: &str,
    fields: &Value,
) -> Result<Outcome, ProviderError> {
    let (notification, device) = (notification(event, &Value::Null), device(pushkey, fields));
    let deadline = Instant::now() + PATIENCE;
    provider.deliver(&Delivery { notification: &notification, device: &device, id: Random.bytes(), deadline }).await
}

/// Delivers to the devices `numbers` at once.
async fn deliver_all(
    provider: &Arc<Apns>,
    numbers: impl IntoIterator<Item = usize>,
) -> Vec<Result<Outcome, ProviderError>> {
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

fn rejected(reason: &'static str, certainty: Certainty) -> Result<Outcome, ProviderError> {
    Ok(Outcome::Rejected(Rejection { reason, certainty }))
}

fn temporary(
    reason: &'static str,
    retry_after: Option<Duration>,
    again: bool,
    is_outage: bool,
) -> Result<Outcome, ProviderError> {
    Err(ProviderError::Temporary { reason, retry_after, again, is_outage })
}

#[track_caller]
fn assert_delivered(results: &[Result<Outcome, ProviderError>]) {
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result, &Ok(Outcome::Delivered), "number {number}");
    }
}
