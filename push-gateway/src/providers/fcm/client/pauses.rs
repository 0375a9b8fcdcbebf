//! Pauses that Google asks for with 429: for a device, and for the whole project when several devices got one at a time.
//!
//! Invariant: a pushkey is kept as a keyed digest alone, and what is kept is bounded.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use shared::clock::{Clock, Timestamp};
use shared::random::Random;

/// A pause without `Retry-After`.
const USUAL: Duration = Duration::from_secs(60);

/// No pause is longer, whatever Google says.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// So many devices within [`WINDOW`] speak for the project.
const DEVICES: usize = 3;

const WINDOW: Duration = Duration::from_secs(10);

/// Paused devices that are remembered.
const CAPACITY: usize = 10_000;

/// The pauses of one project.
pub(in super::super) struct Pauses {
    clock: Clock,
    key: Key,
    state: Mutex<State>,
}

type Device = [u8; 16];

#[derive(Default)]
struct State {
    project: Option<Timestamp>,
    devices: HashMap<Device, Timestamp>,
    recent: VecDeque<(Timestamp, Device)>,
}

impl Pauses {
    pub(in super::super) fn new(clock: Clock, random: Random) -> Self {
        Self { clock, key: Key::new(HMAC_SHA256, &random.bytes::<32>()), state: Mutex::default() }
    }

    /// How long nothing may be sent to this device.
    pub(in super::super) fn wait(&self, pushkey: &str) -> Option<Duration> {
        let now = self.clock.now();
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let device = if state.devices.is_empty() { None } else { state.devices.get(&self.device(pushkey)) };
        let end = state.project.max(device.copied())?;
        Some(end.since(now)).filter(|wait| !wait.is_zero())
    }

    /// Takes note of a 429 for this device; answers how long it pauses.
    pub(in super::super) fn begin(&self, pushkey: &str, retry_after: Option<Duration>) -> Duration {
        let now = self.clock.now();
        let pause = retry_after.unwrap_or(USUAL).min(LONGEST);
        let device = self.device(pushkey);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.devices.len() >= CAPACITY {
            state.make_room(now);
        }
        state.devices.insert(device, now.plus(pause));
        state.recent.retain(|(time, other)| now.since(*time) <= WINDOW && *other != device);
        state.recent.push_back((now, device));
        if state.recent.len() >= DEVICES {
            state.recent.clear();
            state.project = state.project.max(Some(now.plus(pause)));
        }
        pause
    }

    fn device(&self, pushkey: &str) -> Device {
        let mut device = Device::default();
        device.copy_from_slice(&sign(&self.key, pushkey.as_bytes()).as_ref()[..16]);
        device
    }
}

impl State {
    /// Forgets the pauses that are over, and if none is, the one that ends first.
    fn make_room(&mut self, now: Timestamp) {
        self.devices.retain(|_, end| *end > now);
        if self.devices.len() >= CAPACITY
            && let Some(first) = self.devices.iter().min_by_key(|(_, end)| **end).map(|(device, _)| *device)
        {
            self.devices.remove(&first);
        }
    }
}

impl std::fmt::Debug for Pauses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pauses")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::{CAPACITY, Pauses};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pauses() -> (Pauses, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        (Pauses::new(clock.clone(), Random), clock)
    }

    #[test]
    fn a_device_pauses_as_long_as_it_was_told_and_others_do_not() {
        let (pauses, clock) = pauses();
        assert_eq!(pauses.wait("a"), None);
        assert_eq!(pauses.begin("a", Some(seconds(7))), seconds(7));
        assert_eq!(pauses.begin("b", None), seconds(60));
        clock.advance(seconds(5));
        assert_eq!((pauses.wait("a"), pauses.wait("b"), pauses.wait("c")), (Some(seconds(2)), Some(seconds(55)), None));
        clock.advance(seconds(2));
        assert_eq!((pauses.wait("a"), pauses.wait("b")), (None, Some(seconds(53))));
    }

    #[test]
    fn no_pause_is_longer_than_an_hour() {
        let (pauses, _) = pauses();
        assert_eq!(pauses.begin("a", Some(seconds(99_999_999))), seconds(3600));
        assert_eq!(pauses.wait("a"), Some(seconds(3600)));
    }

    #[test]
    fn three_devices_within_ten_seconds_pause_the_project() {
        let (pauses, clock) = pauses();
        pauses.begin("a", Some(seconds(30)));
        clock.advance(seconds(5));
        pauses.begin("a", Some(seconds(30)));
        pauses.begin("b", Some(seconds(30)));
        assert_eq!(pauses.wait("other"), None, "one device twice is one device");
        clock.advance(seconds(5));
        pauses.begin("c", Some(seconds(20)));
        assert_eq!(pauses.wait("other"), Some(seconds(20)));
        clock.advance(seconds(20));
        assert_eq!(pauses.wait("other"), None);
    }

    #[test]
    fn three_devices_over_a_longer_time_pause_nobody_else() {
        let (pauses, clock) = pauses();
        for device in ["a", "b", "c", "d", "e"] {
            pauses.begin(device, None);
            clock.advance(seconds(6));
        }
        assert_eq!(pauses.wait("other"), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (pauses, clock) = pauses();
        for n in 0..CAPACITY + 50 {
            pauses.begin(&n.to_string(), None);
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(pauses.state.lock().unwrap().devices.len(), CAPACITY);
    }
}
