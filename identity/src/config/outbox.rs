//! `[outbox]`: how often and for how long the server retries onbind notifications.
//!
//! Invariant: there is a backoff between two attempts.

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration};

/// The section `[outbox]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// The backoff after the first failed attempt; it doubles with each attempt, up to an hour.
    pub retry_after: HumanDuration,
    /// The age at which an undelivered notification becomes a dead letter.
    pub max_age: HumanDuration,
    /// After this time a dead letter is deleted; zero: never.
    pub keep_dead: HumanDuration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            retry_after: HumanDuration::from_secs(1),
            max_age: HumanDuration::from_secs(30 * 86_400),
            keep_dead: HumanDuration::from_secs(90 * 86_400),
        }
    }
}

impl Outbox {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.retry_after < HumanDuration::from_millis(100) {
            return Err(ConfigError::invalid("outbox.retry_after", "expected at least \"100ms\""));
        }
        Ok(())
    }
}
