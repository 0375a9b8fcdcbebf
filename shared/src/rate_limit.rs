//! Token buckets, as the generic cell rate algorithm: one time stamp is the whole state of a bucket.
//!
//! Invariant: integer milliseconds only, so that a limit is exact for ever; and a clock that is set back shuts nobody
//! out for longer than a full bucket takes to fill.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::config::HumanDuration;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// How much is allowed: `burst` at once, and one back `every` so long. Written `{ burst = 5, every = "5m" }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    burst: u32,
    every: Duration,
}

/// What becomes of one charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It is within the limit. `state` is to be remembered for the next one.
    Allowed {
        /// When the bucket will be full again; from then on the row may be deleted.
        state: Timestamp,
    },
    /// It is beyond the limit; the remembered state stays as it is.
    Refused {
        /// How long from now until one would be allowed.
        retry_after: Duration,
    },
}

impl Limit {
    /// A limit for defaults.
    ///
    /// # Panics
    /// If `burst` is zero, which would allow nothing ever.
    pub const fn new(burst: u32, every: HumanDuration) -> Self {
        assert!(burst > 0, "a burst of zero allows nothing ever");
        Self { burst, every: every.get() }
    }

    /// Charges one at the time `now` to a bucket whose last state is `state`, `None` for a bucket never used.
    pub fn charge(&self, state: Option<Timestamp>, now: Timestamp) -> Charge {
        let capacity = self.every.saturating_mul(self.burst);
        // A bucket that claims to be full later than an empty one would be was filled by a clock since set back.
        let full_at = state.unwrap_or(now).clamp(now, now.plus(capacity));
        let charged = full_at.plus(self.every);
        let wait = charged.since(now.plus(capacity));
        if wait.is_zero() { Charge::Allowed { state: charged } } else { Charge::Refused { retry_after: wait } }
    }

    /// The state after one charge is taken back; not before `now`, when the bucket is full.
    pub fn give_back(&self, state: Timestamp, now: Timestamp) -> Timestamp {
        state.minus(self.every).max(now)
    }
}

impl FromStr for Limit {
    type Err = String;

    /// `240/min`: so many at once, and as many back in that time, evenly.
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
    fn five_pass_the_sixth_waits_and_after_ten_idle_seconds_five_pass_again() {
        let mut bucket = Bucket(None);
        for start in [0, 10_000, 20_000] {
            for _ in 0..5 {
                assert_eq!(bucket.charge(after(start)), Ok(()));
            }
            assert_eq!(bucket.charge(after(start)), Err(Duration::from_secs(2)));
        }
    }

    #[test]
    fn one_every_two_seconds_passes_for_ever() {
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
    fn the_wait_is_exact_to_the_millisecond_and_refusals_cost_nothing() {
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
    fn idling_longer_than_a_full_bucket_saves_up_nothing() {
        let mut bucket = Bucket(None);
        bucket.charge(START).unwrap();
        let passed = (0..20).filter(|_| bucket.charge(after(86_400_000)).is_ok()).count();
        assert_eq!(passed, 5);
    }

    #[test]
    fn a_clock_set_back_costs_at_most_a_full_bucket() {
        let mut bucket = Bucket(None);
        bucket.charge(after(86_400_000)).unwrap();
        assert_eq!(bucket.charge(START), Err(Duration::from_secs(2)));
        assert_eq!(bucket.charge(Timestamp::from_millis(i64::MIN)), Err(Duration::from_secs(2)));
    }

    #[test]
    fn no_time_between_means_no_limit() {
        let limit = Limit::new(1, HumanDuration::from_secs(0));
        assert_eq!(limit.charge(Some(START), START), Charge::Allowed { state: START });
    }

    #[test]
    fn it_is_read_as_operators_write_it() {
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
    fn a_rate_is_read_as_people_write_it() {
        let read = |text: &str| from_value::<Limit>(json!(text));
        assert_eq!(read("240/min").unwrap(), Limit::new(240, HumanDuration::from_millis(250)));
        assert_eq!(read("10/s").unwrap(), Limit::new(10, HumanDuration::from_millis(100)));
        for wrong in ["", "240", "0/min", "x/min", "5/week", "-1/s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
