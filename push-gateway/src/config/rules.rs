//! `[dedup]`, `[routing]`, `[endpoints]`, `[rejection_breaker]` and `[metrics]`.
//!
//! Invariant: apart from `unknown_app`, none of these settings makes the gateway reject more pushkeys.

use std::net::SocketAddr;

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, OneOrMany};

/// The settings under `[dedup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dedup {
    /// How long a delivered event is known: as long as homeservers retry.
    pub(crate) ttl: HumanDuration,
    /// The maximum number of known events; the oldest are removed first.
    pub(crate) capacity: usize,
    /// Events without deduplication: "test push" buttons send the same one each time.
    pub(crate) exempt_event_ids: OneOrMany<String>,
}

/// The settings under `[metrics]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// Whether metrics also appear under the names that dashboards of older gateways use.
    pub(crate) legacy_names: bool,
}

/// The settings under `[endpoints]`, the push services that pushkeys name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Endpoints {
    /// Name servers (`ip:port`) that replace the system's.
    pub(crate) dns_servers: OneOrMany<SocketAddr>,
}

/// The settings under `[routing]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Routing {
    /// The treatment of a device whose `app_id` matches no app.
    #[serde(deserialize_with = "shared::config::word")]
    pub(crate) unknown_app: UnknownApp,
}

/// The treatment of a device whose `app_id` matches no app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownApp {
    /// The gateway rejects its pushkey, and the homeserver deletes the pusher.
    #[default]
    Reject,
    /// The homeserver retries: for use while apps are moved to this gateway.
    Error,
}

/// The settings under `[rejection_breaker]`, the mass-rejection guard.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RejectionBreaker {
    /// Whether the guard is active.
    pub(crate) enabled: bool,
    /// The minimum number in the window of rejections that a wrong key, topic or project could explain.
    pub(crate) min: usize,
    /// Their minimum share of the app's outcomes, 0 to 1.
    pub(crate) share: f64,
    /// The minimum number in the window of certain rejections.
    pub(crate) certain_min: usize,
    /// Their minimum share of the app's outcomes, 0 to 1.
    pub(crate) certain_share: f64,
    /// The window of the counts.
    pub(crate) window: HumanDuration,
    /// How long the gateway then answers such rejections with an error instead of `rejected`.
    pub(crate) open: HumanDuration,
}

impl Default for Dedup {
    fn default() -> Self {
        Self {
            ttl: HumanDuration::from_secs(24 * 3600),
            capacity: 500_000,
            exempt_event_ids: vec!["$THIS_IS_A_FAKE_EVENT_ID".to_owned()].into(),
        }
    }
}

impl Default for RejectionBreaker {
    fn default() -> Self {
        Self {
            enabled: true,
            min: 20,
            share: 0.5,
            certain_min: 50,
            certain_share: 0.9,
            window: HumanDuration::from_secs(60),
            open: HumanDuration::from_secs(15 * 60),
        }
    }
}

impl RejectionBreaker {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, share) in [("share", self.share), ("certain_share", self.certain_share)] {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::Invalid(format!("[rejection_breaker] {key}: expected 0 to 1")));
            }
        }
        Ok(())
    }
}
