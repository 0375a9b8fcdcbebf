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
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};

    use super::{Certainty, ClientOutcomes, Counted, MAX_CLIENTS, MAX_DEVICES, MassRejection, Rejection, Withheld};
    use crate::config::rules::RejectionBreaker;
    use crate::providers::device_key::testing::{keys, numbered};
    use crate::providers::device_key::{DeviceKey, DeviceKeys};

    const MINUTE: Duration = Duration::from_secs(60);
    const OPEN: Duration = Duration::from_secs(900);

    struct Bench {
        clock: Clock,
        guard: MassRejection,
        keys: DeviceKeys,
    }

    fn bench(rules: RejectionBreaker) -> Bench {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        Bench { guard: MassRejection::new(rules, clock.clone()), clock, keys: keys() }
    }

    impl Bench {
        fn device(&self, number: u32) -> DeviceKey {
            numbered(&self.keys, number)
        }

        /// A client; the first is number 0.
        fn client(&self, number: u32) -> DeviceKey {
            numbered(&self.keys, 1_000_000 + number)
        }

        fn deliver(&self, client: u32, numbers: std::ops::Range<u32>) {
            numbers.for_each(|n| self.guard.record_delivery("app", self.device(n), self.client(client)));
        }

        fn reject_one(&self, app: &str, number: u32, reason: &'static str) -> Result<(), Withheld> {
            let rejection = Rejection { reason, certainty: Certainty::Suspect };
            self.guard.record_rejection(app, self.device(number), self.client(0), false, rejection)
        }

        /// Rejections of pushkeys of `client`.
        fn reject_of(&self, client: u32, is_proven: bool, numbers: std::ops::Range<u32>) -> Vec<Result<(), Withheld>> {
            let rejection = Rejection { reason: "why", certainty: Certainty::Suspect };
            let reject =
                |n| self.guard.record_rejection("app", self.device(n), self.client(client), is_proven, rejection);
            numbers.map(reject).collect()
        }

        fn reject(&self, numbers: std::ops::Range<u32>, certainty: Certainty) -> Vec<Result<(), Withheld>> {
            let rejection = Rejection { reason: "why", certainty };
            let reject = |n| self.guard.record_rejection("app", self.device(n), self.client(0), false, rejection);
            numbers.map(reject).collect()
        }
    }

    #[test]
    fn the_twentieth_suspect_rejection_trips_the_guard_for_a_quarter_of_an_hour() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        assert_eq!(bench.reject(19..20, Certainty::Suspect), [Err(Withheld { retry_after: OPEN, is_new: true })]);
        assert_eq!(bench.guard.open(), [("app".to_owned(), "why")]);
        // Another reason and another app have guards of their own.
        assert!(bench.reject_one("app", 1, "other").is_ok());
        assert!(bench.reject_one("else", 1, "why").is_ok());
        bench.clock.advance(MINUTE);
        let left = OPEN - MINUTE;
        assert_eq!(bench.reject(30..31, Certainty::Suspect), [Err(Withheld { retry_after: left, is_new: false })]);
        bench.clock.advance(left);
        assert_eq!(bench.reject(31..32, Certainty::Suspect), [Ok(())]);
        assert!(bench.guard.open().is_empty());
    }

    #[test]
    fn repeated_rejections_of_one_device_count_once() {
        let bench = bench(RejectionBreaker::default());
        for _ in 0..100 {
            assert!(bench.reject(0..1, Certainty::Suspect)[0].is_ok());
        }
    }

    #[test]
    fn rejections_pass_among_enough_working_devices() {
        let bench = bench(RejectionBreaker::default());
        bench.deliver(0, 1000..1100);
        assert!(bench.reject(0..99, Certainty::Suspect).iter().all(Result::is_ok));
        assert!(bench.reject(99..101, Certainty::Suspect).iter().any(Result::is_err));
    }

    #[test]
    fn certain_rejections_trip_the_guard_from_fifty_and_nine_tenths_on() {
        let alone = bench(RejectionBreaker::default());
        assert!(alone.reject(0..49, Certainty::Certain).iter().all(Result::is_ok));
        assert!(alone.reject(49..50, Certainty::Certain)[0].is_err());
        let mixed = bench(RejectionBreaker::default());
        mixed.deliver(0, 1000..1010);
        assert!(mixed.reject(0..80, Certainty::Certain).iter().all(Result::is_ok));
        assert!(mixed.reject(80..91, Certainty::Certain).iter().any(Result::is_err));
    }

    #[test]
    fn outcomes_older_than_the_window_do_not_count() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        bench.clock.advance(MINUTE + Duration::from_millis(1));
        assert!(bench.reject(19..38, Certainty::Suspect).iter().all(Result::is_ok));
    }

    #[test]
    fn a_changed_app_resets_the_guard_and_other_rules_apply_at_once() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..20, Certainty::Suspect)[19].is_err());
        bench.guard.forget("app");
        assert!(bench.guard.open().is_empty());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        bench.guard.set_rules(RejectionBreaker { min: 2, ..RejectionBreaker::default() });
        assert!(bench.reject(19..20, Certainty::Suspect)[0].is_err());
        bench.guard.set_rules(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.guard.open().is_empty() && bench.reject(20..21, Certainty::Suspect)[0].is_ok());
    }

    #[test]
    fn a_stranger_opens_the_guard_for_himself_alone() {
        let bench = bench(RejectionBreaker::default());
        bench.deliver(0, 0..5);
        assert!(bench.reject_of(7, false, 100..160).iter().any(Result::is_err), "his own rejections are withheld");
        assert!(bench.reject_of(0, true, 5..9).iter().all(Result::is_ok), "the homeserver's are not");
    }

    #[test]
    fn a_stranger_cannot_keep_the_guard_closed() {
        let bench = bench(RejectionBreaker::default());
        bench.deliver(7, 1000..1100);
        assert!(bench.reject_of(0, false, 0..20).iter().any(Result::is_err));
    }

    #[test]
    fn several_clients_open_the_guard_for_all() {
        // Each has too few devices to open it alone.
        let bench = bench(RejectionBreaker::default());
        let of = |client: u32| bench.reject_of(client, true, client * 100..client * 100 + 7);
        assert!([1, 2].into_iter().flat_map(of).all(|result| result.is_ok()));
        assert!(of(3).iter().any(Result::is_err));
        assert!(bench.reject_of(4, true, 900..901)[0].is_err());
        // Pushkeys that never had a delivery weigh half.
        let unproven = self::bench(RejectionBreaker::default());
        let of = |client: u32| unproven.reject_of(client, false, client * 100..client * 100 + 9);
        assert!((1..=4).flat_map(of).all(|result| result.is_ok()));
        assert!(of(5).iter().any(Result::is_err));
    }

    #[test]
    fn a_flood_of_one_client_pushes_out_no_outcome_of_another() {
        let bench = bench(RejectionBreaker::default());
        for round in 0..20 {
            assert_eq!(bench.reject_of(0, false, round..round + 1)[0].is_ok(), round < 19, "{round}");
            bench.reject_of(7, false, 10_000 + round * 3000..10_000 + (round + 1) * 3000);
            bench.deliver(8, 100_000 + round * 3000..100_000 + (round + 1) * 3000);
        }
    }

    #[test]
    fn a_flood_of_many_clients_pushes_out_no_active_client() {
        let bench = bench(RejectionBreaker::default());
        for round in 0..20 {
            assert_eq!(bench.reject_of(0, true, round..round + 1)[0].is_ok(), round < 19, "{round}");
            for client in (0..100).map(|client| 100 + round * 100 + client) {
                bench.clock.advance(Duration::from_millis(1));
                bench.reject_of(client, false, client * 10..client * 10 + 3);
                bench.deliver(client, client * 10 + 3..client * 10 + 10);
            }
        }
        let state = bench.guard.state.lock();
        let app = &state.apps["app"];
        assert!(app.clients.len() <= MAX_CLIENTS && app.devices <= MAX_DEVICES);
        assert_eq!(app.devices, app.clients.values().map(ClientOutcomes::len).sum::<usize>());
    }

    #[test]
    fn one_or_two_clients_with_junk_never_open_the_guard_for_all() {
        for certainty in [Certainty::Suspect, Certainty::Certain] {
            let bench = bench(RejectionBreaker::default());
            for client in [7, 8, 9] {
                let rejection = Rejection { reason: "why", certainty };
                for n in client * 1000..client * 1000 + 500 {
                    let _ =
                        bench.guard.record_rejection("app", bench.device(n), bench.client(client), false, rejection);
                }
            }
            let rejection = Rejection { reason: "why", certainty };
            let other = |n| bench.guard.record_rejection("app", bench.device(n), bench.client(0), true, rejection);
            assert_eq!(other(1), Ok(()));
        }
    }

    #[test]
    fn the_guard_opens_again_at_once_if_the_rejections_continue() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..20, Certainty::Suspect)[19].is_err());
        bench.clock.advance(OPEN - Duration::from_secs(1));
        assert!(bench.reject(20..50, Certainty::Suspect).iter().all(Result::is_err));
        bench.clock.advance(Duration::from_secs(2));
        assert_eq!(bench.reject(50..51, Certainty::Suspect), [Err(Withheld { retry_after: OPEN, is_new: true })]);
    }

    #[test]
    fn repeated_outcomes_of_a_few_devices_are_bounded_and_hide_no_other() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        for _ in 0..5000 {
            bench.clock.advance(Duration::from_millis(10));
            bench.deliver(0, 1000..1005);
        }
        assert!(bench.reject(19..20, Certainty::Suspect)[0].is_err());
    }

    #[test]
    fn an_outcome_of_a_clock_that_was_ahead_does_not_count() {
        let (now, device) = (Timestamp::from_millis(1_750_000_000_000), numbered(&keys(), 1));
        let mut outcomes = ClientOutcomes::default();
        outcomes.count(device, Counted::Delivered, now.plus(MINUTE * 60), 10);
        outcomes.expire(now.minus(MINUTE), now);
        assert_eq!((outcomes.delivered(), outcomes.len()), (0, 0));
    }

    #[test]
    fn a_disabled_guard_passes_every_rejection() {
        let bench = bench(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.reject(0..1000, Certainty::Suspect).iter().all(Result::is_ok));
    }
}
