//! `[dedup]`, `[routing]`, `[rejection_breaker]`: what is remembered, and when a rejection is believed. And `[metrics]`:
//! under which names it is counted.
//!
//! Invariant: none of these can make the gateway reject a pushkey that it would not reject otherwise, but for
//! `unknown_app`.

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, OneOrMany};

/// The settings under `[dedup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dedup {
    /// How long a delivery is remembered: as long as homeservers may try again.
    pub(crate) ttl: HumanDuration,
    /// How many deliveries are remembered; the oldest are forgotten first.
    pub(crate) capacity: usize,
    /// Events that are delivered each time they come: "test push" buttons send the same one each time.
    pub(crate) exempt_event_ids: OneOrMany<String>,
}

/// The settings under `[metrics]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Metrics {
    /// Whether what is measured is told a second time under the names that dashboards of older gateways ask for.
    pub(crate) legacy_names: bool,
}

/// The settings under `[routing]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Routing {
    /// What becomes of a device whose `app_id` no app has.
    pub(crate) unknown_app: UnknownApp,
}

/// What becomes of a device whose `app_id` no app has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum UnknownApp {
    /// Its pushkey is rejected, and the homeserver forgets it.
    #[default]
    Reject,
    /// The homeserver is told to try again: for a gateway whose configuration is being moved.
    Error,
}

/// The settings under `[rejection_breaker]`: when so many pushkeys of an app are rejected that it looks like a mistake
/// of ours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RejectionBreaker {
    /// Whether there is one.
    pub(crate) enabled: bool,
    /// Rejections that a wrong key, topic or project could explain: from how many in the window on.
    pub(crate) min: usize,
    /// And from which share of the app's outcomes on, 0 to 1.
    pub(crate) share: f64,
    /// Rejections that leave no doubt: from how many in the window on.
    pub(crate) certain_min: usize,
    /// And from which share of the app's outcomes on, 0 to 1.
    pub(crate) certain_share: f64,
    /// The time over which outcomes are counted.
    pub(crate) window: HumanDuration,
    /// How long rejections are then answered with an error in place of `rejected`.
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
