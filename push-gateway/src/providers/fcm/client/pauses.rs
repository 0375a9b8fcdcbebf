//! Pauses after a 429: for the device whose own quota is spent, and for the whole project if its quota is.
//!
//! Google limits a device (240 messages a minute, 5,000 an hour, 20 collapsible ones at once) and a project (*Throttling and
//! Quotas*), and does not always say which one is spent. A stranger can spend the quota of his own devices, so a device that
//! has used more than half of its quota is no evidence about the project.
//!
//! Invariant: bounded in memory. A pause of the project ends with one push that tries it.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};
use shared::config::HumanDuration;
use shared::rate_limit::{Charge, Limit};

use super::super::response::Quota;
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::pause::Pause;
use crate::providers::two_generation_cache::TwoGenerationCache;

/// This many paused devices within [`WINDOW`] pause the project, if none of them has used more than half of Google's limits
/// for a device.
const DEVICES: usize = 3;

const WINDOW: Duration = Duration::from_secs(10);

/// The most paused devices.
const CAPACITY: usize = 10_000;

/// The most devices whose rate is known.
const RATES: usize = 100_000;

/// How long others wait for the push that tries whether the project has quota again.
const PROBE_WAIT: Duration = Duration::from_secs(1);

/// Buckets that a device exceeds before it has used more than half of Google's limits, however Google counts: a burst and
/// what is refilled in the time are a quarter each.
const PER_MINUTE: Limit = Limit::new(60, HumanDuration::from_secs(1));
const PER_HOUR: Limit = Limit::new(1250, HumanDuration::from_millis(2880));
/// Collapsible messages: Google allows 20 at once, one more every three minutes.
const COLLAPSIBLE: Limit = Limit::new(10, HumanDuration::from_secs(360));

/// The pauses of one project.
pub(in super::super) struct Pauses {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    project: Option<ProjectPause>,
    devices: ByDeviceKey<Pause>,
    recent: VecDeque<(Timestamp, DeviceKey)>,
    rates: TwoGenerationCache<Rate>,
}

/// A pause of the project.
#[derive(Clone, Copy)]
struct ProjectPause {
    pause: Pause,
    /// The device whose push tries the project after the pause.
    probe: Option<DeviceKey>,
}

/// The buckets of a device.
#[derive(Clone, Copy)]
struct Rate {
    buckets: [Option<Timestamp>; 3],
    /// When the device last exceeded one of them.
    exceeded: Option<Timestamp>,
}

impl Pauses {
    pub(in super::super) fn new(clock: Clock) -> Self {
        let state = State {
            project: None,
            devices: ByDeviceKey::default(),
            recent: VecDeque::new(),
            rates: TwoGenerationCache::new(RATES),
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Asks to send to this device.
    ///
    /// # Errors
    /// The rest of the pause of this device or of the project. After a pause of the project, one push passes as the probe.
    pub(in super::super) fn enter(&self, device: DeviceKey, is_collapsible: bool) -> Result<Pass<'_>, Duration> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let rest = state.devices.get(&device).map_or(Duration::ZERO, |pause| pause.rest(now));
        if !rest.is_zero() {
            return Err(rest);
        }
        if let Some(project) = &mut state.project {
            let rest = project.pause.rest(now);
            if !rest.is_zero() {
                return Err(rest);
            }
            match project.probe {
                Some(other) if other != device => return Err(PROBE_WAIT),
                _ => project.probe = Some(device),
            }
        }
        state.record_rate(device, is_collapsible, now);
        Ok(Pass { pauses: self, device })
    }

    fn begin(&self, device: DeviceKey, pause: Duration, quota: Quota) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if state.devices.len() >= CAPACITY {
            state.make_room(now);
        }
        state.devices.insert(device, Pause::new(now, pause));
        let is_own_fault = quota == Quota::Device || state.exceeds(device, now);
        let is_of_project = match quota {
            Quota::Project => true,
            Quota::Device => false,
            Quota::Unknown if is_own_fault => false,
            Quota::Unknown => {
                state.recent.retain(|(time, other)| now.since(*time) <= WINDOW && *other != device);
                state.recent.push_back((now, device));
                state.recent.len() >= DEVICES || state.is_probe(device)
            }
        };
        if is_of_project {
            state.recent.clear();
            let longest = state.project.map_or(Duration::ZERO, |project| project.pause.rest(now)).max(pause);
            state.project = Some(ProjectPause { pause: Pause::new(now, longest), probe: None });
        }
    }
}

/// The right to send to one device.
pub(in super::super) struct Pass<'a> {
    pauses: &'a Pauses,
    device: DeviceKey,
}

impl Pass<'_> {
    /// Records that Google processed the push: the project has quota.
    pub(in super::super) fn passed(&self) {
        let mut state = self.pauses.state.lock();
        if state.is_probe(self.device) {
            state.project = None;
        }
    }

    /// Pauses the device, and the project if its quota is spent.
    pub(in super::super) fn refused(&self, pause: Duration, quota: Quota) {
        self.pauses.begin(self.device, pause, quota);
    }
}

impl Drop for Pass<'_> {
    /// A push without evidence about the project leaves the probe to the next one.
    fn drop(&mut self) {
        let mut state = self.pauses.state.lock();
        if state.is_probe(self.device)
            && let Some(project) = &mut state.project
        {
            project.probe = None;
        }
    }
}

impl State {
    fn is_probe(&self, device: DeviceKey) -> bool {
        self.project.is_some_and(|project| project.probe == Some(device))
    }

    /// Counts a message.
    fn record_rate(&mut self, device: DeviceKey, is_collapsible: bool, now: Timestamp) {
        let mut rate = self.rates.find(device).unwrap_or(Rate { buckets: [None; 3], exceeded: None });
        let limits = [Some(PER_MINUTE), Some(PER_HOUR), is_collapsible.then_some(COLLAPSIBLE)];
        for (bucket, limit) in rate.buckets.iter_mut().zip(limits) {
            match limit.map(|limit| limit.charge(*bucket, now)) {
                Some(Charge::Allowed { state }) => *bucket = Some(state),
                Some(Charge::Refused { .. }) => rate.exceeded = Some(now),
                None => {}
            }
        }
        self.rates.insert(device, rate);
    }

    /// Whether the device exceeded one of its buckets lately.
    fn exceeds(&self, device: DeviceKey, now: Timestamp) -> bool {
        const LATELY: Duration = Duration::from_secs(3600);
        let exceeded = self.rates.find(device).and_then(|rate| rate.exceeded);
        exceeded.is_some_and(|at| at <= now && now.since(at) < LATELY)
    }

    /// Removes the pauses that are over; if there are none, the one that ends first.
    fn make_room(&mut self, now: Timestamp) {
        self.devices.retain(|_, pause| !pause.rest(now).is_zero());
        if self.devices.len() >= CAPACITY
            && let Some(first) = self.devices.iter().min_by_key(|(_, pause)| pause.end()).map(|(device, _)| *device)
        {
            self.devices.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::super::super::response::Quota;
    use super::{CAPACITY, PROBE_WAIT, Pauses};
    use crate::providers::device_key::DeviceKey;
    use crate::providers::device_key::testing::{keys, numbered};

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pauses() -> (Pauses, Clock) {
        let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
        (Pauses::new(clock.clone()), clock)
    }

    /// The rest of the pause, if there is one.
    fn wait(pauses: &Pauses, device: DeviceKey) -> Option<Duration> {
        pauses.enter(device, false).err()
    }

    #[test]
    fn each_device_has_its_own_pause() {
        let ((pauses, clock), keys) = (pauses(), keys());
        let [a, b, c] = [1, 2, 3].map(|number| numbered(&keys, number));
        assert_eq!(wait(&pauses, a), None);
        pauses.begin(a, seconds(7), Quota::Unknown);
        pauses.begin(b, seconds(60), Quota::Unknown);
        clock.advance(seconds(5));
        assert_eq!([a, b, c].map(|device| wait(&pauses, device)), [Some(seconds(2)), Some(seconds(55)), None]);
        clock.advance(seconds(2));
        assert_eq!([a, b].map(|device| wait(&pauses, device)), [None, Some(seconds(53))]);
    }

    #[test]
    fn three_devices_within_ten_seconds_pause_the_project_until_one_push_has_passed() {
        let ((pauses, clock), keys) = (pauses(), keys());
        let [a, b, c, other, next] = [1, 2, 3, 4, 5].map(|number| numbered(&keys, number));
        pauses.begin(a, seconds(30), Quota::Unknown);
        clock.advance(seconds(5));
        pauses.begin(a, seconds(30), Quota::Unknown);
        pauses.begin(b, seconds(30), Quota::Unknown);
        assert_eq!(wait(&pauses, other), None, "one device twice is one device");
        clock.advance(seconds(5));
        pauses.begin(c, seconds(20), Quota::Unknown);
        assert_eq!(wait(&pauses, other), Some(seconds(20)));
        clock.advance(seconds(20));
        let probe = pauses.enter(other, false).ok().unwrap();
        assert_eq!(wait(&pauses, next), Some(PROBE_WAIT));
        probe.refused(seconds(40), Quota::Unknown);
        drop(probe);
        assert_eq!(wait(&pauses, next), Some(seconds(40)), "the probe failed");
        clock.advance(seconds(40));
        let probe = pauses.enter(next, false).ok().unwrap();
        assert_eq!(wait(&pauses, other), Some(PROBE_WAIT));
        probe.passed();
        assert_eq!(wait(&pauses, other), None);
    }

    #[test]
    fn a_probe_without_a_result_is_replaced_at_once() {
        let ((pauses, clock), keys) = (pauses(), keys());
        let [one, two] = [1, 2].map(|number| numbered(&keys, number));
        pauses.begin(numbered(&keys, 9), seconds(5), Quota::Project);
        clock.advance(seconds(5));
        let probe = pauses.enter(one, false).ok().unwrap();
        assert_eq!(wait(&pauses, two), Some(PROBE_WAIT));
        drop(probe);
        assert_eq!(wait(&pauses, two), None);
    }

    #[test]
    fn the_quota_of_devices_says_nothing_about_the_project() {
        let ((pauses, _), keys) = (pauses(), keys());
        for number in 0..5 {
            pauses.begin(numbered(&keys, number), seconds(60), Quota::Device);
        }
        assert_eq!(wait(&pauses, numbered(&keys, 9)), None);
        // Google does not say whose quota it is, but these devices have used more than half of their own.
        for number in 10..15 {
            let device = numbered(&keys, number);
            (0..121).for_each(|_| assert_eq!(wait(&pauses, device), None));
            pauses.begin(device, seconds(60), Quota::Unknown);
        }
        for number in 20..25 {
            let device = numbered(&keys, number);
            (0..11).for_each(|_| assert!(pauses.enter(device, true).is_ok()));
            pauses.begin(device, seconds(60), Quota::Unknown);
        }
        assert_eq!(wait(&pauses, numbered(&keys, 9)), None);
        pauses.begin(numbered(&keys, 30), seconds(60), Quota::Project);
        assert_eq!(wait(&pauses, numbered(&keys, 9)), Some(seconds(60)));
    }

    #[test]
    fn a_device_that_sends_more_than_half_of_its_quota_in_a_minute_is_no_evidence_however_it_spreads_them() {
        // The first 241 of a minute, in 36 seconds; in 59; in three bursts.
        for waits in [vec![150; 241], vec![245; 241], [vec![0; 80], vec![20_000]].concat().repeat(3)] {
            let ((pauses, clock), keys) = (pauses(), keys());
            for device in [1, 2, 3].map(|number| numbered(&keys, number)) {
                for wait in &waits {
                    assert!(pauses.enter(device, false).is_ok());
                    clock.advance(Duration::from_millis(*wait));
                }
            }
            for number in [1, 2, 3] {
                pauses.begin(numbered(&keys, number), seconds(60), Quota::Unknown);
            }
            assert_eq!(wait(&pauses, numbered(&keys, 9)), None);
        }
    }

    #[test]
    fn three_devices_over_a_longer_time_pause_only_themselves() {
        let ((pauses, clock), keys) = (pauses(), keys());
        for number in 0..5 {
            pauses.begin(numbered(&keys, number), seconds(60), Quota::Unknown);
            clock.advance(seconds(6));
        }
        assert_eq!(wait(&pauses, numbered(&keys, 9)), None);
    }

    #[test]
    fn the_number_of_paused_devices_is_bounded() {
        let ((pauses, clock), keys) = (pauses(), keys());
        for number in 0..u32::try_from(CAPACITY).unwrap() + 50 {
            pauses.begin(numbered(&keys, number), seconds(60), Quota::Device);
            clock.advance(Duration::from_millis(1));
        }
        assert_eq!(pauses.state.lock().devices.len(), CAPACITY);
    }
}
