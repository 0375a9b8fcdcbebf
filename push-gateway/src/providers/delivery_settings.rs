//! The settings that every type of app has.
//!
//! Invariant: each key has one meaning and, but for the waits, one default in all types.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::config::{ConfigError, HumanDuration, OneOrMany};

use super::UselessKeys;
use super::app_table::read_table;
use crate::notification::badge_update::BadgeUpdates;
use crate::notification::call::CALL_TYPES;

/// The settings that every type of app has.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeliverySettings {
    /// Whether payloads carry counts.
    pub(crate) send_badge_counts: bool,
    /// Concurrent deliveries.
    pub(crate) max_concurrent: usize,
    /// Concurrent deliveries of calls, besides those.
    pub(crate) call_concurrent: usize,
    /// The waits between attempts.
    pub(crate) retry_waits: Vec<Duration>,
    /// Event types that are calls.
    pub(crate) call_types: Vec<String>,
    /// Which badge updates are sent.
    pub(crate) badge_updates: BadgeUpdates,
    /// Whether a device that disables counts gets a nudge.
    pub(crate) badge_nudge: bool,
    /// The time between two nudges of a device.
    pub(crate) nudge_interval: Duration,
}

/// The same as keys in the table of an app.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliveryKeys {
    send_badge_counts: bool,
    max_concurrent: usize,
    retry_waits: OneOrMany<HumanDuration>,
    call_types: OneOrMany<String>,
    call_concurrent: usize,
    badge_updates: BadgeUpdates,
    badge_nudge: bool,
    nudge_interval: HumanDuration,
}

/// Their names.
const KEYS: [&str; 8] = [
    "send_badge_counts",
    "max_concurrent",
    "retry_waits",
    "call_types",
    "call_concurrent",
    "badge_updates",
    "badge_nudge",
    "nudge_interval",
];

/// A key that differs from one of these in so many characters is a misspelt one. No type has a key that is so similar.
const MISSPELT: usize = 2;

impl Default for DeliveryKeys {
    fn default() -> Self {
        Self {
            send_badge_counts: true,
            max_concurrent: 4096,
            retry_waits: vec![HumanDuration::from_millis(500), HumanDuration::from_secs(3)].into(),
            call_types: CALL_TYPES.map(str::to_owned).to_vec().into(),
            call_concurrent: 64,
            badge_updates: BadgeUpdates::default(),
            badge_nudge: false,
            nudge_interval: HumanDuration::from_secs(10 * 60),
        }
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        DeliveryKeys::default().into()
    }
}

impl From<DeliveryKeys> for DeliverySettings {
    fn from(keys: DeliveryKeys) -> Self {
        Self {
            send_badge_counts: keys.send_badge_counts,
            max_concurrent: keys.max_concurrent,
            call_concurrent: keys.call_concurrent,
            retry_waits: keys.retry_waits.as_slice().iter().map(|wait| wait.get()).collect(),
            call_types: keys.call_types.as_slice().to_vec(),
            badge_updates: keys.badge_updates,
            badge_nudge: keys.badge_nudge,
            nudge_interval: keys.nudge_interval.get(),
        }
    }
}

impl DeliverySettings {
    /// Takes these keys out of the table of an app; what remains are the keys of its type.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub(crate) fn take(path: &str, table: &mut Value) -> Result<Self, ConfigError> {
        let mut own = Map::new();
        if let Value::Object(table) = table {
            own.extend(KEYS.iter().filter_map(|key| table.remove_entry(*key)));
            let misspelt = |key: &String| {
                let meant = KEYS.iter().find(|known| strsim::damerau_levenshtein(known, key) <= MISSPELT)?;
                Some(format!("[{path}] {key}: unknown key; did you mean {meant}?"))
            };
            if let Some(problem) = table.keys().find_map(misspelt) {
                return Err(ConfigError::Invalid(problem));
            }
        }
        let settings: Self = read_table::<DeliveryKeys>(path, Value::Object(own))?.into();
        if settings.max_concurrent == 0 {
            let problem = "nothing would ever be delivered; expected at least 1";
            return Err(ConfigError::Invalid(format!("[{path}] max_concurrent: {problem}")));
        }
        Ok(settings)
    }
}

impl DeliverySettings {
    /// The most deliveries in flight, calls included.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.max_concurrent.saturating_add(self.call_concurrent)
    }

    /// The keys that have no effect beside the values of others.
    pub(crate) fn useless_keys(&self) -> UselessKeys {
        let nudges_some = self.badge_nudge && self.badge_updates != BadgeUpdates::Off;
        let mut useless = UselessKeys::new();
        if self.badge_nudge && !nudges_some {
            useless.push((&["badge_nudge"], "with badge_updates = \"off\""));
        }
        if !nudges_some && self.badge_updates != BadgeUpdates::Nudge {
            useless.push((&["nudge_interval"], "without badge_updates = \"nudge\" or badge_nudge = true"));
        }
        useless
    }

    /// The same, with these waits by default.
    ///
    /// # Errors
    /// As [`DeliverySettings::take`].
    pub(crate) fn take_with(waits: &[Duration], path: &str, table: &mut Value) -> Result<Self, ConfigError> {
        let has_own = table.get("retry_waits").is_some();
        let settings = Self::take(path, table)?;
        Ok(if has_own { settings } else { Self { retry_waits: waits.to_vec(), ..settings } })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{DeliveryKeys, DeliverySettings, KEYS};

    fn take(mut table: Value) -> Result<(DeliverySettings, Value), String> {
        let settings = DeliverySettings::take("apps.\"x\"", &mut table).map_err(|error| error.to_string())?;
        Ok((settings, table))
    }

    #[test]
    fn every_key_is_taken_and_others_stay() {
        let error = serde_json::from_value::<DeliveryKeys>(json!({ "no such key": 0 })).unwrap_err().to_string();
        let mut known: Vec<&str> = error.split("expected ").nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        let mut keys = KEYS.to_vec();
        known.sort_unstable();
        keys.sort_unstable();
        assert_eq!(known, keys);
        let (settings, rest) = take(json!({ "url": "x", "max_concurrent": 3, "retry_waits": ["1ms"] })).unwrap();
        assert_eq!((settings.max_concurrent, settings.retry_waits.len()), (3, 1));
        assert_eq!(rest, json!({ "url": "x" }));
        assert_eq!(take(json!({})).unwrap().0, DeliverySettings::default());
    }

    #[test]
    fn a_wrong_or_misspelt_key_is_named() {
        for (table, expected) in [
            (json!({ "max_concurrent": 0 }), "[apps.\"x\"] max_concurrent: nothing would ever be delivered"),
            (json!({ "max_concurent": 5 }), "[apps.\"x\"] max_concurent: unknown key; did you mean max_concurrent?"),
            (json!({ "badge_updates": "never" }), "[apps.\"x\"] badge_updates: "),
        ] {
            let error = take(table).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
