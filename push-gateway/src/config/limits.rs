//! `[limits]`: concurrency, deadlines and rate limits.
//!
//! Invariant: a request over a limit gets a response; every wait has a bound.

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration};
use shared::rate_limit::Limit;

use super::rate;

/// The settings under `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Limits {
    /// From the complete body to the response, with all attempts and waits.
    pub(crate) request_deadline: HumanDuration,
    /// How long a delivery waits for a permit of its app.
    pub(crate) queue_wait: HumanDuration,
    /// Concurrent requests; of one client a quarter.
    pub(crate) max_in_flight: usize,
    /// The devices of these requests; of one client a quarter. Large contents count as more devices.
    pub(crate) max_devices_in_flight: usize,
    /// The most devices of one request.
    pub(crate) max_devices: usize,
    /// The rate limit of deliveries to one device; `None` for no limit.
    #[serde(deserialize_with = "rate")]
    pub(crate) per_pushkey: Option<Limit>,
    /// The rate limit of requests from one client address; `None` for no limit.
    #[serde(deserialize_with = "rate")]
    pub(crate) per_ip: Option<Limit>,
    /// The rate limit of devices in the requests of one client; `None` for no limit.
    #[serde(deserialize_with = "rate")]
    pub(crate) devices_per_ip: Option<Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_deadline: HumanDuration::from_secs(25),
            queue_wait: HumanDuration::from_secs(5),
            max_in_flight: 4096,
            max_devices_in_flight: 20_000,
            max_devices: 500,
            // 240 a minute.
            per_pushkey: Some(Limit::new(240, HumanDuration::from_millis(250))),
            per_ip: None,
            devices_per_ip: None,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.request_deadline.get().is_zero() {
            return wrong("[limits] request_deadline: nothing can be delivered in no time");
        }
        if self.max_in_flight == 0 || self.max_devices == 0 || self.max_devices_in_flight == 0 {
            return wrong("[limits] max_in_flight, max_devices, max_devices_in_flight: expected at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn an_empty_text_turns_a_rate_off() {
        let limits: Limits = serde_json::from_str(r#"{"per_pushkey":"","per_ip":"5/s"}"#).unwrap();
        assert_eq!((limits.per_pushkey, limits.per_ip), (None, "5/s".parse().ok()));
        assert_eq!(Limits::default().per_pushkey, "240/min".parse().ok());
    }

    #[test]
    fn limits_that_block_every_request_are_refused() {
        for text in [
            r#"{"max_devices":0}"#,
            r#"{"max_in_flight":0}"#,
            r#"{"max_devices_in_flight":0}"#,
            r#"{"request_deadline":"0"}"#,
        ] {
            assert!(serde_json::from_str::<Limits>(text).unwrap().check().is_err(), "{text}");
        }
        assert!(Limits::default().check().is_ok());
    }
}
