//! Deduplication: remembers delivered events, so that a homeserver's retry sends only what is missing.
//!
//! Invariant: bounded in number and time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::{Clock, Timestamp};
use tokio::sync::watch;

use super::two_generation_cache::TwoGenerationCache;
use crate::providers::device_key::{ByFingerprint, Fingerprint};

/// The events that were delivered, and those that are being delivered now.
pub(crate) struct Delivered<R> {
    clock: Clock,
    ttl: Duration,
    state: Mutex<DeliveredState<R>>,
}

struct DeliveredState<R> {
    done: TwoGenerationCache<Timestamp>,
    /// With a way to tell those who wait, once anybody does.
    in_flight: ByFingerprint<Option<watch::Sender<Option<R>>>>,
}

/// What is known of a delivery when it is asked for.
pub(crate) enum Claim<'a, R: Clone> {
    /// It was delivered before.
    Done,
    /// Somebody is at it; the result comes here.
    InFlight(watch::Receiver<Option<R>>),
    /// Nobody is: it is yours.
    Yours(Ours<'a, R>),
}

/// The right and duty to deliver. Dropped without a result, it lets the next one try.
pub(crate) struct Ours<'a, R: Clone> {
    memory: &'a Delivered<R>,
    key: Fingerprint,
    is_finished: bool,
}

impl<R: Clone> Delivered<R> {
    /// A memory of `capacity` deliveries, each for `ttl`.
    pub(crate) fn new(capacity: usize, ttl: Duration, clock: Clock) -> Self {
        let state = DeliveredState { done: TwoGenerationCache::new(capacity), in_flight: HashMap::default() };
        Self { clock, ttl, state: Mutex::new(state) }
    }

    /// Asks for the delivery `key`.
    pub(crate) fn claim(&self, key: Fingerprint) -> Claim<'_, R> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.done.find(key).is_some_and(|at| self.clock.now().since(at) < self.ttl) {
            return Claim::Done;
        }
        if let Some(result) = state.in_flight.get_mut(&key) {
            return Claim::InFlight(result.get_or_insert_with(|| watch::Sender::new(None)).subscribe());
        }
        state.in_flight.insert(key, None);
        Claim::Yours(Ours { memory: self, key, is_finished: false })
    }
}

impl<R> Delivered<R> {
    /// Nobody is at the delivery any more; gives the way to those who wait for its result.
    fn end(&self, key: Fingerprint, is_done: bool) -> Option<watch::Sender<Option<R>>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if is_done {
            state.done.insert(key, self.clock.now());
        }
        state.in_flight.remove(&key).flatten()
    }
}

impl<R: Clone> Ours<'_, R> {
    /// Tells whoever waits, and remembers the delivery if it `is_done` for good.
    pub(crate) fn finish(mut self, result: &R, is_done: bool) {
        self.is_finished = true;
        let waiting = self.memory.end(self.key, is_done);
        if let Some(waiting) = waiting {
            // Whoever waited may have left.
            let _ = waiting.send(Some(result.clone()));
        }
    }
}

impl<R: Clone> Drop for Ours<'_, R> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.memory.end(self.key, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::{Claim, Delivered};
    use crate::providers::device_key::{Fingerprint, Fingerprints};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn is_done(memory: &Delivered<u8>, key: Fingerprint) -> bool {
        matches!(memory.claim(key), Claim::Done)
    }

    fn deliver(memory: &Delivered<u8>, key: Fingerprint, for_good: bool) {
        match memory.claim(key) {
            Claim::Yours(ours) => ours.finish(&1, for_good),
            Claim::Done | Claim::InFlight(_) => panic!("not ours"),
        }
    }

    #[test]
    fn only_what_was_done_for_good_is_remembered_and_not_for_ever() {
        let clock = Clock::manual(START);
        let memory = Delivered::new(100, Duration::from_secs(60), clock.clone());
        let key = Fingerprints::new(Random).of(&["app", "key", "$event"]);
        deliver(&memory, key, false);
        assert!(!is_done(&memory, key));
        deliver(&memory, key, true);
        assert!(is_done(&memory, key));
        clock.advance(Duration::from_secs(60));
        assert!(!is_done(&memory, key));
    }

    #[tokio::test]
    async fn whoever_comes_meanwhile_gets_the_same_result_and_a_dropped_claim_is_free_again() {
        let memory = Delivered::<u8>::new(100, Duration::from_secs(60), Clock::manual(START));
        let key = Fingerprints::new(Random).of(&["x"]);
        let Claim::Yours(ours) = memory.claim(key) else { panic!("not ours") };
        let Claim::InFlight(mut waiting) = memory.claim(key) else { panic!("not in flight") };
        ours.finish(&7, false);
        assert_eq!(*waiting.wait_for(Option::is_some).await.unwrap(), Some(7));
        let Claim::Yours(ours) = memory.claim(key) else { panic!("not ours") };
        let Claim::InFlight(mut waiting) = memory.claim(key) else { panic!("not in flight") };
        drop(ours);
        assert!(waiting.wait_for(Option::is_some).await.is_err());
        assert!(matches!(memory.claim(key), Claim::Yours(_)));
    }

    #[test]
    fn at_least_half_of_the_capacity_is_remembered_and_never_more_than_all_of_it() {
        let memory = Delivered::new(100, Duration::from_secs(60), Clock::manual(START));
        let prints = Fingerprints::new(Random);
        let key = |n: u32| prints.of(&[&n.to_string()]);
        (0..1000).for_each(|n| deliver(&memory, key(n), true));
        let known = (0..1000).filter(|n| is_done(&memory, key(*n))).count();
        assert!((50..=100).contains(&known), "{known}");
        assert!((950..1000).all(|n| is_done(&memory, key(n))));
    }
}
