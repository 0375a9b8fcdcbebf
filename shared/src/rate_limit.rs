//! Token buckets by the generic cell rate algorithm: one timestamp is the complete state of a bucket.
//!
//! Invariant: all arithmetic is in integer milliseconds, so a limit is exact. A clock that is set back rejects requests for
//! at most twice the time in which a full bucket fills, after any step.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::HumanDuration;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// A limit: a burst of `burst`, refilled by one `every` duration. Written `{ burst = 5, every = "5m" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    burst: u32,
    every: Duration,
}

/// How far the clocks of replicas may differ.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// How far apart requests that arrive at once may read the clock.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The result of one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// The charge is within the limit. Store `state` for the next charge.
    Allowed {
        /// When the bucket is full again; its row may be deleted from then on.
        state: Timestamp,
    },
    /// The charge exceeds the limit; the stored state does not change.
    Refused {
        /// The time until the next charge is allowed.
        retry_after: Duration,
    },
}

impl Limit {
    /// A limit for defaults.
    ///
    /// # Panics
    /// If `burst` is zero, which would reject everything.
    pub const fn new(burst: u32, every: HumanDuration) -> Self {
        assert!(burst > 0, "a burst of zero allows nothing ever");
        Self { burst, every: every.get() }
    }

    /// The limit of `factor` times as many events: as large a burst, refilled as fast.
    #[must_use]
    pub fn times(&self, factor: u32) -> Self {
        let every = self.every.as_millis() / u128::from(factor.max(1));
        let millis = u64::try_from(every).unwrap_or(u64::MAX);
        // A refill time of zero would remove the limit.
        let every = if self.every.is_zero() { self.every } else { Duration::from_millis(millis.max(1)) };
        Self { burst: self.burst.saturating_mul(factor.max(1)), every }
    }

    /// Charges one at `now` to a bucket with this state; `None` for an unused bucket.
    pub fn charge(&self, state: Option<Timestamp>, now: Timestamp) -> Charge {
        self.charge_many(1, state, now)
    }

    /// Charges `count` at once, or none of them. More than the burst are charged as the burst.
    pub fn charge_many(&self, count: u32, state: Option<Timestamp>, now: Timestamp) -> Charge {
        let cost = self.every.saturating_mul(count.min(self.burst));
        let capacity = self.every.saturating_mul(self.burst);
        let empty = now.plus(capacity);
        let full_at = match state.unwrap_or(now) {
            // From a clock that was ahead. A refusal stores no state and would repeat until the old time, so one charge is
            // allowed, which stores that of an empty bucket. The clocks of replicas may differ a little.
            state if state > empty.plus(capacity.min(MAX_SKEW)) => empty.minus(cost),
            // Beyond `empty` if another request read the clock a moment later but was charged first.
            state if state <= empty.plus(AT_ONCE) => state.clamp(now, empty),
            // The clock was set back a little since: the wait is longer.
            state => state,
        };
        let charged = full_at.plus(cost);
        let wait = charged.since(empty);
        if wait.is_zero() { Charge::Allowed { state: charged } } else { Charge::Refused { retry_after: wait } }
    }

    /// The state after one charge is undone; at least `now`, the state of a full bucket.
    pub fn give_back(&self, state: Timestamp, now: Timestamp) -> Timestamp {
        state.minus(self.every).max(now)
    }
}

impl FromStr for Limit {
    type Err = String;

    /// `240/min`: a burst of that number, refilled evenly within that time.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected a rate such as \"10/s\", \"240/min\" or \"5000/h\", found \"{text}\"");
        let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
        let burst: u32 = count.trim().parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?;
        let millis = match unit.trim() {
            "s" => 1_000,
            "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let every = (millis / u64::from(burst)).max(1);
        Ok(Self::new(burst, HumanDuration::from_millis(every)))
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            burst: u32,
            every: HumanDuration,
        }

        struct LimitVisitor;

        impl<'de> Visitor<'de> for LimitVisitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("{ burst = 5, every = \"5m\" } or \"240/min\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Limit, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Limit, A::Error> {
                let Written { burst, every } = Written::deserialize(MapAccessDeserializer::new(map))?;
                if burst == 0 {
                    return Err(A::Error::custom("burst must be at least 1: a burst of 0 allows nothing ever"));
                }
                Ok(Limit::new(burst, every))
            }
        }

        deserializer.deserialize_any(LimitVisitor)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::clock::Timestamp;
    use crate::config::HumanDuration;
    use serde_json::{from_value, json};

    use super::{Charge, Limit};

    const FIVE: Limit = Limit::new(5, HumanDuration::from_secs(2));
    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    /// A bucket with the time of its last charge.
    struct Bucket(Option<Timestamp>);

    impl Bucket {
        fn charge(&mut self, now: Timestamp) -> Result<(), Duration> {
            match FIVE.charge(self.0, now) {
                Charge::Allowed { state } => {
                    self.0 = Some(state);
                    Ok(())
                }
                Charge::Refused { retry_after } => Err(retry_after),
            }
        }
    }

    fn after(millis: u64) -> Timestamp {
        START.plus(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_of_five_is_allowed_and_refills_in_ten_seconds() {
        let mut bucket = Bucket(None);
        for start in [0, 10_000, 20_000] {
            for _ in 0..5 {
                assert_eq!(bucket.charge(after(start)), Ok(()));
            }
            assert_eq!(bucket.charge(after(start)), Err(Duration::from_secs(2)));
        }
    }

    #[test]
    fn one_charge_every_two_seconds_is_always_allowed() {
        let mut bucket = Bucket(None);
        for _ in 0..5 {
            bucket.charge(START).unwrap();
        }
        for n in 1..100_000 {
            assert_eq!(bucket.charge(after(n * 2_000)), Ok(()), "the {n}th");
        }
        assert_eq!(bucket.charge(after(99_999 * 2_000)), Err(Duration::from_secs(2)));
    }

    #[test]
    fn the_delay_is_exact_to_the_millisecond_and_rejections_are_free() {
        let mut bucket = Bucket(None);
        for _ in 0..5 {
            bucket.charge(START).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(bucket.charge(after(500)), Err(Duration::from_millis(1_500)));
        }
        assert_eq!(bucket.charge(after(1_999)), Err(Duration::from_millis(1)));
        assert_eq!(bucket.charge(after(2_000)), Ok(()));
    }

    #[test]
    fn a_full_bucket_does_not_fill_further() {
        let mut bucket = Bucket(None);
        bucket.charge(START).unwrap();
        let passed = (0..20).filter(|_| bucket.charge(after(86_400_000)).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn a_clock_that_is_set_back_costs_at_most_a_full_bucket() {
        let mut bucket = Bucket(None);
        bucket.charge(after(86_400_000)).unwrap();
        // The first charge stores the state of an empty bucket, which fills from then on.
        assert_eq!(bucket.charge(START), Ok(()));
        assert_eq!(bucket.charge(START), Err(Duration::from_secs(2)));
        assert_eq!(bucket.charge(after(2_000)), Ok(()));
        assert_eq!(bucket.charge(Timestamp::from_millis(i64::MIN)), Ok(()));
        assert_eq!(bucket.charge(Timestamp::from_millis(i64::MIN)), Err(Duration::from_secs(2)));
    }

    #[test]
    fn a_replica_whose_clock_is_behind_allows_nothing_more() {
        let mut bucket = Bucket(None);
        for _ in 0..5 {
            bucket.charge(after(9_000)).unwrap();
        }
        assert_eq!(bucket.charge(START), Err(Duration::from_secs(11)), "the true wait");
        let mut bucket = Bucket(None);
        for _ in 0..5 {
            bucket.charge(after(10)).unwrap();
        }
        assert_eq!(bucket.charge(START), Err(Duration::from_secs(2)), "another request at the same time");
    }

    #[test]
    fn a_zero_refill_time_means_no_limit() {
        let limit = Limit::new(1, HumanDuration::from_secs(0));
        assert_eq!(limit.charge(Some(START), START), Charge::Allowed { state: START });
    }

    #[test]
    fn a_multiple_of_a_limit_has_a_larger_burst_and_a_faster_refill() {
        let limit = |burst, millis| Limit::new(burst, HumanDuration::from_millis(millis));
        assert_eq!(limit(100, 60_000).times(100), limit(10_000, 600));
        assert_eq!(limit(1, 10).times(100), limit(100, 1));
        assert_eq!(limit(1, 0).times(4), limit(4, 0));
    }

    #[test]
    fn a_limit_is_parsed_from_the_configuration() {
        let limit: Limit = from_value(json!({"burst": 5, "every": "2s"})).unwrap();
        assert_eq!(limit, FIVE);
        for wrong in [
            json!({"burst": 0, "every": "2s"}),
            json!({"burst": 5}),
            json!({"every": "2s"}),
            json!({"burst": -1, "every": "2s"}),
            json!({"burst": 5, "every": 2}),
            json!({"burst": 5, "every": "2s", "per": 1}),
        ] {
            assert!(from_value::<Limit>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_parsed_from_text() {
        let read = |text: &str| from_value::<Limit>(json!(text));
        assert_eq!(read("240/min").unwrap(), Limit::new(240, HumanDuration::from_millis(250)));
        assert_eq!(read("10/s").unwrap(), Limit::new(10, HumanDuration::from_millis(100)));
        for wrong in ["", "240", "0/min", "x/min", "5/week", "-1/s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
