//! Mass-rejection guard: withholds rejections in numbers that a misconfiguration explains better, such as a sandbox key in
//! production, a wrong topic or project, or an emptied configuration.
//!
//! It opens for one client whose own devices are rejected in such numbers, and for all clients if several of them together
//! are. So a stranger with many junk pushkeys opens it for himself alone, and his deliveries keep it closed for no other
//! client. One client is an IPv4 address or an IPv6 /48 network.
//!
//! Invariants: every pushkey of a client counts once in a window, so that repeated requests for one device never open the
//! guard. A client's outcomes push out no outcome of another client.

mod client;

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use self::client::{ClientOutcomes, Counted};
use crate::config::rules::RejectionBreaker;
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::{Certainty, Reason, Rejection};

/// The most devices of one client, as a multiple of the larger threshold; its oldest drop out first.
const THRESHOLDS: usize = 4;
/// The most clients of one app in a window. Clients without a device that ever had a delivery drop out first, then those
/// that were idle for longest.
const MAX_CLIENTS: usize = 1000;
/// The most devices of all clients of one app.
const MAX_DEVICES: usize = 40_000;

/// The weight of a device that had a delivery before, and of a delivery, when clients are judged together.
const PROVEN: usize = 2;
/// The weight of any other device: strangers can make them up.
const UNPROVEN: usize = 1;

/// The guards of all apps.
pub(crate) struct MassRejection {
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    rules: RejectionBreaker,
    apps: HashMap<String, App>,
}

#[derive(Default)]
struct App {
    clients: ByDeviceKey<ClientOutcomes>,
    /// The number of devices of all clients.
    devices: usize,
    /// The reasons with an open guard and until when: for one client, or for all (`None`).
    open: HashMap<(Reason, Option<DeviceKey>), Timestamp>,
}

/// The time of an outcome.
#[derive(Clone, Copy)]
struct Moment {
    now: Timestamp,
    /// The begin of the window.
    begin: Timestamp,
}

/// When the guard opens.
struct Threshold {
    min: usize,
    share: f64,
}

impl Threshold {
    /// Whether `rejected` is at least `min`, and at least the share of itself and `delivered`.
    fn is_reached(&self, rejected: usize, delivered: usize, min: usize) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "both numbers are small")]
        let is_share = rejected as f64 >= self.share * (rejected + delivered) as f64;
        rejected >= min && is_share
    }
}

impl App {
    /// Replaces the outcome of a device of `client`.
    fn count(&mut self, client: DeviceKey, device: DeviceKey, outcome: Counted, at: Moment, rules: &RejectionBreaker) {
        let max = rules.min.max(rules.certain_min).saturating_mul(THRESHOLDS).min(MAX_DEVICES);
        let outcomes = self.clients.entry(client).or_default();
        let before = outcomes.len();
        outcomes.expire(at.begin, at.now);
        outcomes.count(device, outcome, at.now, max);
        self.devices = self.devices + outcomes.len() - before;
        while (self.clients.len() > MAX_CLIENTS || self.devices > MAX_DEVICES) && self.remove_client(client) {}
    }

    /// Removes the client that matters least, other than `active`.
    fn remove_client(&mut self, active: DeviceKey) -> bool {
        let others = self.clients.iter().filter(|(client, _)| **client != active);
        let least = others.min_by_key(|(_, outcomes)| (outcomes.is_proven(), outcomes.last()));
        let Some(client) = least.map(|(client, _)| *client) else { return false };
        let removed = self.clients.remove(&client);
        self.devices -= removed.map_or(0, |outcomes| outcomes.len());
        true
    }

    /// Drops the outcomes of all clients that are older than the window.
    fn expire(&mut self, at: Moment) {
        self.clients.retain(|_, outcomes| {
            let before = outcomes.len();
            outcomes.expire(at.begin, at.now);
            self.devices -= before - outcomes.len();
            outcomes.len() > 0
        });
    }

    /// The time until the guard closes that is open for this client or for all.
    fn open_for(&self, client: DeviceKey, reason: Reason, now: Timestamp, open: Duration) -> Option<Duration> {
        // A longer time is of a clock that was set back since.
        let is_open = |until: &Timestamp| now < *until && until.since(now) <= open;
        let until = |whose| self.open.get(&(reason, whose)).filter(|until| is_open(until));
        until(Some(client)).or_else(|| until(None)).map(|until| until.since(now))
    }

    /// Whether the devices of this client alone open the guard for it.
    fn is_reached_by(&self, client: DeviceKey, reason: Reason, threshold: &Threshold) -> bool {
        let reached = |of: &ClientOutcomes| threshold.is_reached(of.rejected(reason), of.delivered(), threshold.min);
        self.clients.get(&client).is_some_and(reached)
    }

    /// Whether all clients together open the guard. It takes two clients with devices that had a delivery before, or four.
    fn is_reached_by_all(&mut self, reason: Reason, threshold: &Threshold, at: Moment) -> bool {
        self.expire(at);
        let min = threshold.min.saturating_mul(PROVEN);
        let rejected = self.clients.values().map(|of| of.weight(reason, min)).sum();
        let delivered = self.clients.values().map(ClientOutcomes::delivered).sum::<usize>().saturating_mul(PROVEN);
        threshold.is_reached(rejected, delivered, min)
    }

    fn open(&mut self, reason: Reason, whose: Option<DeviceKey>, now: Timestamp, open: Duration) {
        self.open.retain(|_, until| now < *until);
        if self.open.len() >= MAX_CLIENTS {
            // The guard for all stays.
            let of_clients = self.open.iter().filter(|((_, whose), _)| whose.is_some());
            if let Some(first) = of_clients.min_by_key(|(_, until)| **until).map(|(key, _)| *key) {
                self.open.remove(&first);
            }
        }
        self.open.insert((reason, whose), now.plus(open));
    }
}

impl MassRejection {
    pub(crate) fn new(rules: RejectionBreaker, clock: Clock) -> Self {
        Self { clock, state: Mutex::new(State { rules, apps: HashMap::new() }) }
    }

    /// Applies other rules from now on.
    pub(crate) fn set_rules(&self, rules: RejectionBreaker) {
        let mut state = self.state.lock();
        if !rules.enabled {
            state.apps.clear();
        }
        state.rules = rules;
    }

    /// Resets the guard of an app whose settings have changed.
    pub(crate) fn forget(&self, app: &str) {
        self.state.lock().apps.remove(app);
    }

    /// Counts a delivery. Nothing else counts as good: a stranger can cause any other outcome.
    pub(crate) fn record_delivery(&self, app: &str, device: DeviceKey, client: DeviceKey) {
        self.with(app, |app, rules, at| app.count(client, device, Counted::Delivered, at, rules));
    }

    /// Counts a rejection. `is_proven`: the pushkey had a delivery before.
    ///
    /// # Errors
    /// [`Withheld`] if the guard of this app and reason is open for this client or for all.
    pub(crate) fn record_rejection(
        &self,
        app: &str,
        device: DeviceKey,
        client: DeviceKey,
        is_proven: bool,
        rejection: Rejection,
    ) -> Result<(), Withheld> {
        let Rejection { reason, certainty } = rejection;
        let result = self.with(app, |app, rules, at| {
            let (min, share) = match certainty {
                Certainty::Suspect => (rules.min, rules.share),
                Certainty::Certain => (rules.certain_min, rules.certain_share),
            };
            let (threshold, open) = (Threshold { min, share }, rules.open.get());
            // Also while the guard is open: it opens again at once if the rejections continue.
            app.count(client, device, Counted::Rejected { reason, is_proven }, at, rules);
            if let Some(retry_after) = app.open_for(client, reason, at.now, open) {
                return Err(Withheld { retry_after, is_new: false });
            }
            let whose = if app.is_reached_by_all(reason, &threshold, at) {
                None
            } else if app.is_reached_by(client, reason, &threshold) {
                Some(client)
            } else {
                return Ok(());
            };
            app.open(reason, whose, at.now, open);
            Err(Withheld { retry_after: open, is_new: true })
        });
        result.unwrap_or(Ok(()))
    }

    /// The apps and reasons with an open guard, for `/ready` and the metrics.
    pub(crate) fn open(&self) -> Vec<(String, Reason)> {
        let now = self.clock.now();
        let state = self.state.lock();
        let mut open: Vec<_> = state
            .apps
            .iter()
            .flat_map(|(name, app)| {
                let open = app.open.iter().filter(|(_, until)| now < **until);
                open.map(|((reason, _), _)| (name.clone(), *reason))
            })
            .collect();
        open.sort_unstable();
        open.dedup();
        open
    }

    /// `None` if the guard is disabled.
    fn with<R>(&self, name: &str, act: impl FnOnce(&mut App, &RejectionBreaker, Moment) -> R) -> Option<R> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let State { rules, apps } = &mut *state;
        if !rules.enabled {
            return None;
        }
        let at = Moment { now, begin: now.minus(rules.window.get()) };
        // Copies the name once for each app.
        if !apps.contains_key(name) {
            apps.insert(name.to_owned(), App::default());
        }
        Some(act(apps.get_mut(name)?, rules, at))
    }
}

/// The homeserver must not see this rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Withheld {
    /// The time until the guard closes.
    pub(crate) retry_after: Duration,
    /// Whether this rejection opened the guard.
    pub(crate) is_new: bool,
}

#[cfg(test)]
mod tests;
