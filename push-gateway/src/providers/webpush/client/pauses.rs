//! Pauses after a 429, for an endpoint or for a whole host, and endpoints without a subscriber.
//!
//! A push server may limit the gateway's address instead of the endpoint (ntfy does): then several endpoints of it answer 429
//! in a row.
//!
//! Invariant: bounded in memory. A pause of a host ends with one push that tries it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;

use crate::providers::device_key::DeviceKey;
use crate::providers::pause::{Pause, ProbedPause};
use crate::providers::two_generation_cache::TwoGenerationCache;

/// This many endpoints of a host with a 429 within [`WINDOW`] pause the host.
const ENDPOINTS: usize = 3;
const WINDOW: Duration = Duration::from_secs(10);
/// The pauses of a host.
const HOST_PAUSE: Backoff = Backoff::new(Duration::from_secs(30), Duration::from_secs(600));

/// The most endpoints whose state is known.
const MAX_ENDPOINTS: usize = 100_000;
/// The most hosts with a recent 429.
const MAX_HOSTS: usize = 10_000;

/// An endpoint that answers only 507 for so long is dead.
const INACTIVE: Duration = Duration::from_secs(12 * 60 * 60);

/// The pauses of a process.
pub(crate) struct Pauses {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    endpoints: TwoGenerationCache<Pause>,
    /// The first 507 since the last success.
    inactive: TwoGenerationCache<Option<Timestamp>>,
    hosts: HashMap<String, HostState>,
}

#[derive(Default)]
struct HostState {
    /// The endpoints with a recent 429.
    recent: VecDeque<(Timestamp, DeviceKey)>,
    pause: ProbedPause,
}

impl Pauses {
    pub(in super::super) fn new(clock: Clock) -> Self {
        let state = State {
            endpoints: TwoGenerationCache::new(MAX_ENDPOINTS),
            inactive: TwoGenerationCache::new(MAX_ENDPOINTS),
            hosts: HashMap::new(),
        };
        Self { clock, state: Mutex::new(state) }
    }

    /// Asks to send to this endpoint of `host`.
    ///
    /// # Errors
    /// The rest of the pause of the endpoint or the host. After a pause of the host, one push passes as the probe.
    pub(in super::super) fn enter(&self, endpoint: DeviceKey, host: &str) -> Result<(), Duration> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let rest = state.endpoints.find(endpoint).map_or(Duration::ZERO, |pause| pause.rest(now));
        if !rest.is_zero() {
            return Err(rest);
        }
        state.hosts.get_mut(host).map_or(Ok(()), |host| host.pause.enter(now))
    }

    /// Records that the push service accepted a push.
    pub(in super::super) fn accepted(&self, endpoint: DeviceKey, host: &str) {
        let mut state = self.state.lock();
        state.hosts.remove(host);
        if state.inactive.find(endpoint).flatten().is_some() {
            state.inactive.insert(endpoint, None);
        }
    }

    /// Records any other answer than a 429: the host accepts requests again.
    pub(in super::super) fn answered(&self, host: &str) {
        self.state.lock().hosts.remove(host);
    }

    /// Pauses the endpoint, and the host if several of its endpoints are refused.
    pub(in super::super) fn refused(&self, endpoint: DeviceKey, host: &str, pause: Duration) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.endpoints.insert(endpoint, Pause::new(now, pause));
        if !state.hosts.contains_key(host) && state.hosts.len() >= MAX_HOSTS {
            state.make_room(now);
        }
        let host = state.hosts.entry(host.to_owned()).or_default();
        host.recent.retain(|(time, other)| *time <= now && now.since(*time) <= WINDOW && *other != endpoint);
        host.recent.push_back((now, endpoint));
        if host.recent.len() >= ENDPOINTS || host.pause.has_probe() {
            host.recent.clear();
            host.pause.begin(now, HOST_PAUSE);
        }
    }

    /// Records a 507; returns whether the endpoint has answered nothing else for so long that it is dead.
    pub(in super::super) fn is_inactive(&self, endpoint: DeviceKey) -> bool {
        let now = self.clock.now();
        let mut state = self.state.lock();
        match state.inactive.find(endpoint).flatten().filter(|first| *first <= now) {
            Some(first) => now.since(first) >= INACTIVE,
            None => {
                state.inactive.insert(endpoint, Some(now));
                false
            }
        }
    }
}

impl State {
    /// Forgets the hosts that are not paused; if all are, one of them.
    fn make_room(&mut self, now: Timestamp) {
        self.hosts.retain(|_, host| host.pause.is_running(now));
        if self.hosts.len() >= MAX_HOSTS
            && let Some(host) = self.hosts.keys().next().cloned()
        {
            self.hosts.remove(&host);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::{MAX_HOSTS, Pauses};
    use crate::providers::device_key::DeviceKey;
    use crate::providers::device_key::testing::{keys, numbered};
    use crate::providers::pause::PROBE_WAIT;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pauses() -> (Pauses, Clock, Vec<DeviceKey>) {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        let keys = keys();
        (Pauses::new(clock.clone()), clock, (0..10).map(|number| numbered(&keys, number)).collect())
    }

    #[test]
    fn an_endpoint_pauses_and_the_others_of_its_host_do_not() {
        let (pauses, clock, keys) = pauses();
        pauses.refused(keys[0], "a.example", seconds(120));
        assert_eq!(pauses.enter(keys[0], "a.example"), Err(seconds(120)));
        assert_eq!(pauses.enter(keys[1], "a.example"), Ok(()));
        clock.advance(seconds(120));
        assert_eq!(pauses.enter(keys[0], "a.example"), Ok(()));
    }

    #[test]
    fn three_endpoints_pause_their_host_until_a_probe_passes() {
        let (pauses, clock, keys) = pauses();
        for key in &keys[..3] {
            pauses.refused(*key, "a.example", seconds(1));
        }
        assert_eq!(pauses.enter(keys[5], "a.example"), Err(seconds(30)));
        assert_eq!(pauses.enter(keys[5], "b.example"), Ok(()));
        clock.advance(seconds(30));
        assert_eq!(pauses.enter(keys[5], "a.example"), Ok(()), "the probe");
        assert_eq!(pauses.enter(keys[6], "a.example"), Err(PROBE_WAIT));
        pauses.refused(keys[5], "a.example", seconds(1));
        assert_eq!(pauses.enter(keys[6], "a.example"), Err(seconds(60)), "doubled");
        clock.advance(seconds(60));
        assert_eq!(pauses.enter(keys[6], "a.example"), Ok(()));
        pauses.accepted(keys[6], "a.example");
        assert_eq!(pauses.enter(keys[7], "a.example"), Ok(()));
        // Slowly one after the other they are no evidence.
        for key in &keys[..4] {
            pauses.refused(*key, "a.example", seconds(1));
            clock.advance(seconds(6));
        }
        assert_eq!(pauses.enter(keys[7], "a.example"), Ok(()));
    }

    #[test]
    fn an_endpoint_is_dead_after_twelve_hours_of_507_alone() {
        let (pauses, clock, keys) = pauses();
        assert!(!pauses.is_inactive(keys[0]));
        clock.advance(seconds(12 * 3600 - 1));
        assert!(!pauses.is_inactive(keys[0]));
        clock.advance(seconds(1));
        assert!(pauses.is_inactive(keys[0]) && !pauses.is_inactive(keys[1]));
        pauses.accepted(keys[0], "a.example");
        assert!(!pauses.is_inactive(keys[0]));
    }

    #[test]
    fn the_number_of_hosts_is_bounded() {
        let (pauses, _, keys) = pauses();
        for number in 0..MAX_HOSTS + 10 {
            pauses.refused(keys[0], &number.to_string(), seconds(1));
        }
        assert!(pauses.state.lock().hosts.len() <= MAX_HOSTS);
    }
}
