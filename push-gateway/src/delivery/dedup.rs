//! Deduplication: stores delivered events, so that a homeserver's retry sends only what is missing.
//!
//! Only a delivery is stored: a push that was dropped may carry the event id of another one.
//!
//! Invariant: bounded in number and time.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};
use tokio::sync::watch;

use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::Outcome;
use crate::providers::two_generation_cache::TwoGenerationCache;

/// The delivered events, and those in delivery.
pub(crate) struct Dedup {
    clock: Clock,
    ttl: Duration,
    state: Mutex<State>,
}

struct State {
    delivered: TwoGenerationCache<Timestamp>,
    /// The sender exists once another request waits for the outcome.
    in_flight: ByDeviceKey<Option<watch::Sender<Option<Outcome>>>>,
}

/// The state of a delivery when a request claims it.
pub(crate) enum Claim<'a> {
    /// An earlier request delivered it.
    Delivered,
    /// Another request delivers it; its outcome arrives here.
    InFlight(watch::Receiver<Option<Outcome>>),
    /// The caller delivers it.
    Acquired(DeliveryGuard<'a>),
}

/// The exclusive right to deliver one event to one device. Dropped without an outcome, it lets the next request try.
pub(crate) struct DeliveryGuard<'a> {
    dedup: &'a Dedup,
    key: DeviceKey,
    is_finished: bool,
}

impl Dedup {
    /// Remembers up to `capacity` deliveries, each for `ttl`.
    pub(crate) fn new(capacity: usize, ttl: Duration, clock: Clock) -> Self {
        let state = State { delivered: TwoGenerationCache::new(capacity), in_flight: ByDeviceKey::default() };
        Self { clock, ttl, state: Mutex::new(state) }
    }

    /// Claims the delivery of the event `key`.
    pub(crate) fn claim(&self, key: DeviceKey) -> Claim<'_> {
        self.claim_within(key, self.ttl)
    }

    /// The same for a delivery that is known for `ttl`.
    pub(crate) fn claim_within(&self, key: DeviceKey, ttl: Duration) -> Claim<'_> {
        let mut state = self.state.lock();
        if state.delivered.find(key).is_some_and(|at| self.clock.now().since(at) < ttl) {
            return Claim::Delivered;
        }
        if let Some(outcome) = state.in_flight.get_mut(&key) {
            return Claim::InFlight(outcome.get_or_insert_with(|| watch::Sender::new(None)).subscribe());
        }
        state.in_flight.insert(key, None);
        Claim::Acquired(DeliveryGuard { dedup: self, key, is_finished: false })
    }

    /// Ends a delivery; returns the channel to the waiting requests.
    fn end(&self, key: DeviceKey, is_delivered: bool) -> Option<watch::Sender<Option<Outcome>>> {
        let mut state = self.state.lock();
        if is_delivered {
            state.delivered.insert(key, self.clock.now());
        }
        state.in_flight.remove(&key).flatten()
    }
}

impl DeliveryGuard<'_> {
    /// Returns the outcome to the waiting requests, and stores a delivery.
    pub(crate) fn finish(mut self, outcome: &Outcome) {
        self.is_finished = true;
        if let Some(waiting) = self.dedup.end(self.key, *outcome == Outcome::Delivered) {
            // Fails if every waiting request has ended.
            let _ = waiting.send(Some(outcome.clone()));
        }
    }
}

impl Drop for DeliveryGuard<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.dedup.end(self.key, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::{Claim, Dedup};
    use crate::providers::device_key::DeviceKey;
    use crate::providers::device_key::testing::{keys, numbered};
    use crate::providers::outcome::{Certainty, Failure, Outcome};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn dedup(clock: Clock) -> Dedup {
        Dedup::new(100, Duration::from_secs(60), clock)
    }

    fn is_delivered(dedup: &Dedup, key: DeviceKey) -> bool {
        matches!(dedup.claim(key), Claim::Delivered)
    }

    fn finish(dedup: &Dedup, key: DeviceKey, outcome: &Outcome) {
        match dedup.claim(key) {
            Claim::Acquired(guard) => guard.finish(outcome),
            Claim::Delivered | Claim::InFlight(_) => panic!("not acquired"),
        }
    }

    #[test]
    fn only_delivered_events_are_remembered_until_their_time_is_over() {
        let clock = Clock::manual(START);
        let (dedup, keys) = (dedup(clock.clone()), keys());
        let failed = Failure::upstream("x", None).into();
        let rejected = Outcome::rejected("x", Certainty::Certain);
        for (number, outcome, expected) in
            [(1, failed, false), (2, rejected, false), (3, Outcome::Dropped("x"), false), (4, Outcome::Delivered, true)]
        {
            let key = numbered(&keys, number);
            finish(&dedup, key, &outcome);
            assert_eq!(is_delivered(&dedup, key), expected, "{outcome:?}");
        }
        clock.advance(Duration::from_secs(60));
        assert!(!is_delivered(&dedup, numbered(&keys, 4)));
    }

    #[tokio::test]
    async fn a_concurrent_request_gets_the_same_outcome_and_a_dropped_guard_frees_the_event() {
        let dedup = dedup(Clock::manual(START));
        let key = numbered(&keys(), 1);
        let Claim::Acquired(guard) = dedup.claim(key) else { panic!("not acquired") };
        let Claim::InFlight(mut waiting) = dedup.claim(key) else { panic!("not in flight") };
        let failed = Outcome::from(Failure::upstream("x", None));
        guard.finish(&failed);
        assert_eq!(*waiting.wait_for(Option::is_some).await.unwrap(), Some(failed));
        let Claim::Acquired(guard) = dedup.claim(key) else { panic!("not acquired") };
        let Claim::InFlight(mut waiting) = dedup.claim(key) else { panic!("not in flight") };
        drop(guard);
        assert!(waiting.wait_for(Option::is_some).await.is_err());
        assert!(matches!(dedup.claim(key), Claim::Acquired(_)));
    }

    #[test]
    fn at_least_half_of_the_capacity_is_remembered_and_never_more_than_all_of_it() {
        let (dedup, keys) = (dedup(Clock::manual(START)), keys());
        (0..1000).for_each(|n| finish(&dedup, numbered(&keys, n), &Outcome::Delivered));
        let known = (0..1000).filter(|n| is_delivered(&dedup, numbered(&keys, *n))).count();
        assert!((50..=100).contains(&known), "{known}");
        assert!((950..1000).all(|n| is_delivered(&dedup, numbered(&keys, n))));
    }
}
