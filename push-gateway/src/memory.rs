//! What the gateway remembers of deliveries, so that a homeserver's retry sends only what is missing.
//!
//! Invariant: bounded in number and time, and made of keyed hashes: whoever reads the memory learns no pushkey.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use shared::clock::{Clock, Timestamp};
use shared::random::Random;
use tokio::sync::watch;

/// How long a rejection is repeated without asking the provider.
const REJECTED_FOR: Duration = Duration::from_secs(3600);
/// The same for a device without `pushkey_ts`, whose renewal we could not see.
const REJECTED_FOR_UNDATED: Duration = Duration::from_secs(600);
/// Rejections that are remembered at most.
const REJECTIONS: usize = 200_000;

/// A keyed 128-bit hash of what identifies a delivery or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 16]);

/// Something for each fingerprint. They are keyed hashes themselves, which nobody outside can choose: a map needs no
/// other.
pub(crate) type ByFingerprint<V> = HashMap<Fingerprint, V, BuildHasherDefault<AsItIs>>;

/// Takes a part of a fingerprint for its hash.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

/// Makes fingerprints with keys of this process.
#[derive(Clone)]
pub struct Fingerprints {
    key: [u8; 32],
    names: hmac::Key,
}

impl Fingerprints {
    /// With new keys.
    pub fn new(random: Random) -> Self {
        Self { key: random.bytes(), names: hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()) }
    }

    /// Of texts in this order; no two different lists have the same one.
    pub fn of(&self, parts: &[&str]) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.key);
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        Fingerprint(fingerprint)
    }

    /// Eight hexadecimal digits by which logs name a device.
    pub fn name(&self, pushkey: &str) -> String {
        hmac::sign(&self.names, pushkey.as_bytes()).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = part;
    }
}

/// Entries in two generations: when the younger one is half of the capacity it becomes the older one, which is
/// forgotten. Half as exact as a list in order of use, at a fraction of its memory.
pub(crate) struct Generations<V> {
    young: ByFingerprint<V>,
    old: ByFingerprint<V>,
    half: usize,
}

impl<V: Copy> Generations<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: (capacity / 2).max(1) }
    }

    pub(crate) fn find(&self, key: Fingerprint) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(crate) fn insert(&mut self, key: Fingerprint, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// The events that were delivered, and those that are being delivered now.
pub struct Delivered<R> {
    clock: Clock,
    ttl: Duration,
    state: Mutex<DeliveredState<R>>,
}

struct DeliveredState<R> {
    done: Generations<Timestamp>,
    /// With a way to tell those who wait, once anybody does.
    in_flight: ByFingerprint<Option<watch::Sender<Option<R>>>>,
}

/// What is known of a delivery when it is asked for.
pub enum Claim<'a, R: Clone> {
    /// It was delivered before.
    Done,
    /// Somebody is at it; the result comes here.
    InFlight(watch::Receiver<Option<R>>),
    /// Nobody is: it is yours.
    Yours(Ours<'a, R>),
}

/// The right and duty to deliver. Dropped without a result, it lets the next one try.
pub struct Ours<'a, R: Clone> {
    memory: &'a Delivered<R>,
    key: Fingerprint,
    is_finished: bool,
}

impl<R: Clone> Delivered<R> {
    /// A memory of `capacity` deliveries, each for `ttl`.
    pub fn new(capacity: usize, ttl: Duration, clock: Clock) -> Self {
        let state = DeliveredState { done: Generations::new(capacity), in_flight: HashMap::default() };
        Self { clock, ttl, state: Mutex::new(state) }
    }

    /// Asks for the delivery `key`.
    pub fn claim(&self, key: Fingerprint) -> Claim<'_, R> {
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
    pub fn finish(mut self, result: &R, is_done: bool) {
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

/// The devices whose pushkey the provider has called dead.
pub struct Rejections {
    clock: Clock,
    known: Mutex<Generations<(Timestamp, &'static str)>>,
}

impl Rejections {
    /// An empty memory.
    pub fn new(clock: Clock) -> Self {
        Self { clock, known: Mutex::new(Generations::new(REJECTIONS)) }
    }

    /// Why the device was rejected, if it still counts: for an hour (ten minutes if the device has no `pushkey_ts`),
    /// and not if the pushkey was set anew since.
    pub fn find(&self, device: Fingerprint, pushkey_ts: Option<i64>) -> Option<&'static str> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, reason) = known.find(device)?;
        let (life, is_renewed) = match pushkey_ts {
            // Whole seconds: of two in the same one, the registration may well be the later.
            Some(seconds) => (REJECTED_FOR, seconds >= at.as_millis().div_euclid(1000)),
            None => (REJECTED_FOR_UNDATED, false),
        };
        (!is_renewed && self.clock.now().since(at) < life).then_some(reason)
    }

    /// Remembers a rejection.
    pub fn insert(&self, device: Fingerprint, reason: &'static str) {
        let now = self.clock.now();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(device, (now, reason));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::{Claim, Delivered, Fingerprints, Rejections};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

    fn is_done(memory: &Delivered<u8>, key: super::Fingerprint) -> bool {
        matches!(memory.claim(key), Claim::Done)
    }

    fn deliver(memory: &Delivered<u8>, key: super::Fingerprint, for_good: bool) {
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

    #[test]
    fn a_rejection_counts_for_its_time_and_until_the_pushkey_is_renewed() {
        let clock = Clock::manual(START.plus(Duration::from_millis(700)));
        let memory = Rejections::new(clock.clone());
        let device = Fingerprints::new(Random).of(&["app", "key"]);
        let before = START.as_millis() / 1000 - 5;
        memory.insert(device, "Unregistered");
        assert_eq!(memory.find(device, Some(before)), Some("Unregistered"));
        assert_eq!(memory.find(device, Some(before + 10)), None);
        assert_eq!(memory.find(device, Some(START.as_millis() / 1000)), None, "within the same second");
        assert_eq!(memory.find(device, Some(START.as_millis() / 1000 - 1)), Some("Unregistered"));
        assert_eq!(memory.find(device, None), Some("Unregistered"));
        clock.advance(Duration::from_secs(600));
        assert_eq!(memory.find(device, None), None);
        assert_eq!(memory.find(device, Some(before)), Some("Unregistered"));
        clock.advance(Duration::from_secs(3000));
        assert_eq!(memory.find(device, Some(before)), None);
    }

    #[test]
    fn the_order_and_the_borders_of_the_parts_matter() {
        let prints = Fingerprints::new(Random);
        assert_ne!(prints.of(&["ab", "c"]), prints.of(&["a", "bc"]));
        assert_ne!(Fingerprints::new(Random).of(&["a"]), prints.of(&["a"]));
        let name = prints.name("key");
        assert!(name.len() == 8 && name == prints.name("key") && name != prints.name("other"), "{name}");
        assert_ne!(Fingerprints::new(Random).name("key"), name);
    }
}
