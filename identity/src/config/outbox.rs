//! `[outbox]`: how long and how often homeservers are told of new associations.
//!
//! Invariant: a homeserver that does not answer is never asked without a pause.

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration};

/// The section `[outbox]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbox {
    /// The pause before a homeserver that did not take the news of an association is told again; it doubles with each
    /// further try, up to an hour. At least a tenth of a second.
    pub retry_after: HumanDuration,
    /// After how long news that no homeserver has taken are given up.
    pub max_age: HumanDuration,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { retry_after: HumanDuration::from_secs(1), max_age: HumanDuration::from_secs(30 * 86_400) }
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
