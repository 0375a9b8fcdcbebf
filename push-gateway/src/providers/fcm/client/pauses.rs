//! Pauses after a 429: for the device, and for the whole project if several devices get one at a time.
//!
//! Invariant: bounded in memory.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use crate::providers::device_key::{ByDeviceKey, DeviceKey};

/// This many paused devices within [`WINDOW`] pause the project.
const DEVICES: usize = 3;

const WINDOW: Duration = Duration::from_secs(10);

/// The most paused devices.
const CAPACITY: usize = 10_000;

/// The pauses of one project.
pub(in super::super) struct Pauses {
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    project: Option<Timestamp>,
    devices: ByDeviceKey<Timestamp>,
    recent: VecDeque<(Timestamp, DeviceKey)>,
}

impl Pauses {
    pub(in super::super) fn new(clock: Clock) -> Self {
        Self { clock, state: Mutex::default() }
    }

    /// The rest of the pause of this device or of the project.
    pub(in super::super) fn wait(&self, device: DeviceKey) -> Option<Duration> {
        let now = self.clock.now();
        let state = self.state.lock();
        let end = state.project.max(state.devices.get(&device).copied())?;
        Some(end.since(now)).filter(|wait| !wait.is_zero())
    }

    /// Pauses this device.
    pub(in super::super) fn begin(&self, device: DeviceKey, pause: Duration) {
        let now = self.clock.now();
        let mut state = self.state.lock();
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
    }
}

impl State {
    /// Removes the pauses that are over; if there are none, the one that ends first.
    fn make_room(&mut self, now: Timestamp) {
        self.devices.retain(|_, end| *end > now);
        if self.devices.len() >= CAPACITY
            && let Some(first) = self.devices.iter().min_by_key(|(_, end)| **end).map(|(device, _)| *device)
        {
            self.devices.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::{CAPACITY, Pauses};
    use crate::providers::device_key::testing::{keys, numbered};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pauses() -> (Pauses, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        (Pauses::new(clock.clone()), clock)
    }

    #[test]
    fn each_device_has_its_own_pause() {
        let ((pauses, clock), keys) = (pauses(), keys());
        let [a, b, c] = [1, 2, 3].map(|number| numbered(&keys, number));
        assert_eq!(pauses.wait(a), None);
        pauses.begin(a, seconds(7));
        pauses.begin(b, seconds(60));
        clock.advance(seconds(5));
        assert_eq!((pauses.wait(a), pauses.wait(b), pauses.wait(c)), (Some(seconds(2)), Some(seconds(55)), None));
        clock.advance(seconds(2));
        assert_eq!((pauses.wait(a), pauses.wait(b)), (None, Some(seconds(53))));
    }

    #[test]
    fn three_devices_within_ten_seconds_pause_the_project() {
        let ((pauses, clock), keys) = (pauses(), keys());
        let [a, b, c, other] = [1, 2, 3, 4].map(|number| numbered(&keys, number));
        pauses.begin(a, seconds(30));
        clock.advance(seconds(5));
        pauses.begin(a, seconds(30));
        pauses.begin(b, seconds(30));
        assert_eq!(pauses.wait(other), None, "one device twice is one device");
        clock.advance(seconds(5));
        pauses.begin(c, seconds(20));
        assert_eq!(pauses.wait(other), Some(seconds(20)));
        clock.advance(seconds(20));
        assert_eq!(pauses.wait(other), None);
    }

    #[test]
    fn three_devices_over_a_longer_time_pause_only_themselves() {
        let ((pauses, clock), keys) = (pauses(), keys());
        for number in 0..5 {
            pauses.begin(numbered(&keys, number), seconds(60));
            clock.advance(seconds(6));
        }
        assert_eq!(pauses.wait(numbered(&keys, 9)), None);
    }

    #[test]
    fn the_number_of_paused_devices_is_bounded() {
        let ((pauses, clock), keys) = (pauses(), keys());
        for number in 0..u32::try_from(CAPACITY).unwrap() + 50 {
            pauses.begin(numbered(&keys, number), seconds(60));
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(pauses.state.lock().devices.len(), CAPACITY);
    }
}
