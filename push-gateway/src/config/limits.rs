//! `[limits]`: how much is taken on at once, and from whom.
//!
//! Invariant: there is no limit without an answer for those who meet it; nothing waits without end.

use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, HumanDuration};

/// The settings under `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// From the complete body to the answer, attempts and waits included.
    pub request_deadline: HumanDuration,
    /// How long a delivery may wait for its turn when its app is busy.
    pub queue_wait: HumanDuration,
    /// Requests that are worked on at the same time.
    pub max_in_flight: usize,
    /// Devices of one request.
    pub max_devices: usize,
    /// Deliveries to one device; `None` for no bound.
    #[serde(deserialize_with = "rate")]
    pub per_pushkey: Option<Rate>,
    /// Requests from one client address; `None` for no bound.
    #[serde(deserialize_with = "rate")]
    pub per_ip: Option<Rate>,
}

/// So many events in each span of time; written `240/min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_deadline: HumanDuration::from_secs(25),
            queue_wait: HumanDuration::from_secs(5),
            max_in_flight: 4096,
            max_devices: 500,
            per_pushkey: Some(Rate { count: 240, per: Duration::from_secs(60) }),
            per_ip: None,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.request_deadline.get().is_zero() {
            return wrong("limits.request_deadline: nothing can be delivered in no time");
        }
        if self.max_in_flight == 0 || self.max_devices == 0 {
            return wrong("limits.max_in_flight, limits.max_devices: expected at least 1");
        }
        Ok(())
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a rate such as \"10/s\", \"240/min\" or \"5000/h\", found \"{text}\"");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let count = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
        let seconds = match unit.trim() {
            "s" => 1,
            "min" | "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return Err(wrong()),
        };
        Ok(Self { count, per: Duration::from_secs(seconds) })
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Limits, Rate};

    #[test]
    fn a_rate_is_a_count_and_a_unit() {
        for (text, count, seconds) in
            [("240/min", 240, 60), ("10/s", 10, 1), ("5000 / h", 5000, 3600), ("1/d", 1, 86_400)]
        {
            assert_eq!(text.parse(), Ok(Rate { count, per: Duration::from_secs(seconds) }), "{text}");
        }
        for text in ["", "5", "0/s", "-1/s", "5/", "/s", "5/week", "1.5/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_empty_text_turns_a_rate_off() {
        let limits: Limits = serde_json::from_str(r#"{"per_pushkey":"","per_ip":"5/s"}"#).unwrap();
        assert_eq!((limits.per_pushkey, limits.per_ip.map(|rate| rate.count)), (None, Some(5)));
        assert_eq!(Limits::default().per_pushkey.map(|rate| rate.count), Some(240));
    }

    #[test]
    fn limits_that_let_nothing_through_are_refused() {
        for text in [r#"{"max_devices":0}"#, r#"{"max_in_flight":0}"#, r#"{"request_deadline":"0"}"#] {
            assert!(serde_json::from_str::<Limits>(text).unwrap().check().is_err(), "{text}");
        }
        assert!(Limits::default().check().is_ok());
    }
}
