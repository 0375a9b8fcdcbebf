//! Mass-rejection guard: withholds rejections in numbers that a misconfiguration explains better, such as a sandbox key in
//! production, a wrong topic or project, or an emptied configuration.
//!
//! It opens for one client whose own devices are rejected in such numbers, and for all clients if several of them together
//! are. So a stranger with many junk pushkeys opens it for himself alone, and his deliveries keep it closed for no other
//! client.
//!
//! Invariant: every pushkey counts once in a window, so that repeated requests for one device never open the guard.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use crate::config::rules::RejectionBreaker;
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::{Certainty, Reason, Rejection};

/// The most devices of one app in a window; the oldest drop out first. Bounds the memory.
const MAX_DEVICES: usize = 20_000;

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
    /// The last outcome of each device within the window.
    devices: ByDeviceKey<Seen>,
    /// The same devices in the order of time, one entry for each outcome.
    order: VecDeque<(Timestamp, DeviceKey)>,
    /// The number of delivered devices of each client.
    delivered: ByDeviceKey<usize>,
    /// The rejected devices by reason and client.
    rejected: HashMap<Reason, ByDeviceKey<Rejected>>,
    /// The reasons with an open guard and until when: for one client, or for all (`None`).
    open: HashMap<(Reason, Option<DeviceKey>), Timestamp>,
}

/// The last outcome of a device.
#[derive(Clone, Copy)]
struct Seen {
    at: Timestamp,
    client: DeviceKey,
    /// The reason of a rejection with the weight of the device; `None` for a delivery.
    rejected: Option<(Reason, usize)>,
}

/// The rejected devices of a client.
#[derive(Clone, Copy, Default)]
struct Rejected {
    devices: usize,
    weight: usize,
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
    /// Replaces the outcome of a device, and drops outcomes older than `begin`.
    fn count(&mut self, device: DeviceKey, seen: Seen, begin: Timestamp) {
        if let Some(before) = self.devices.insert(device, seen) {
            self.forget(before);
        }
        match seen.rejected {
            Some((reason, weight)) => {
                let rejected = self.rejected.entry(reason).or_default().entry(seen.client).or_default();
                rejected.devices += 1;
                rejected.weight += weight;
            }
            None => *self.delivered.entry(seen.client).or_default() += 1,
        }
        self.order.push_back((seen.at, device));
        while let Some((at, device)) = self.order.front().copied() {
            if at >= begin && self.order.len() <= MAX_DEVICES {
                break;
            }
            self.order.pop_front();
            // A later entry counts a device with several outcomes.
            if self.devices.get(&device).is_some_and(|latest| latest.at == at)
                && let Some(latest) = self.devices.remove(&device)
            {
                self.forget(latest);
            }
        }
    }

    fn forget(&mut self, seen: Seen) {
        match seen.rejected {
            Some((reason, weight)) => {
                let Some(clients) = self.rejected.get_mut(reason) else { return };
                let Some(rejected) = clients.get_mut(&seen.client) else { return };
                rejected.devices = rejected.devices.saturating_sub(1);
                rejected.weight = rejected.weight.saturating_sub(weight);
                if rejected.devices == 0 {
                    clients.remove(&seen.client);
                }
            }
            None => {
                let Some(delivered) = self.delivered.get_mut(&seen.client) else { return };
                *delivered = delivered.saturating_sub(1);
                if *delivered == 0 {
                    self.delivered.remove(&seen.client);
                }
            }
        }
    }

    /// Whether the devices of this client alone open the guard for it.
    fn is_reached_by(&self, client: DeviceKey, reason: Reason, threshold: &Threshold) -> bool {
        let rejected = self.rejected.get(reason).and_then(|clients| clients.get(&client)).map_or(0, |of| of.devices);
        let delivered = self.delivered.get(&client).copied().unwrap_or_default();
        threshold.is_reached(rejected, delivered, threshold.min)
    }

    /// Whether all clients together open the guard, where each adds at most half of the threshold.
    fn is_reached_by_all(&self, reason: Reason, threshold: &Threshold) -> bool {
        let min = threshold.min.saturating_mul(PROVEN);
        let of_clients = self.rejected.get(reason).into_iter().flat_map(ByDeviceKey::values);
        let rejected = of_clients.map(|of| of.weight.min(min / 2)).sum();
        let delivered = self.delivered.values().sum::<usize>().saturating_mul(PROVEN);
        threshold.is_reached(rejected, delivered, min)
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
        self.with(app, |app, _, now, begin| app.count(device, Seen { at: now, client, rejected: None }, begin));
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
        let result = self.with(app, |app, rules, now, begin| {
            let (min, share) = match certainty {
                Certainty::Suspect => (rules.min, rules.share),
                Certainty::Certain => (rules.certain_min, rules.certain_share),
            };
            let (threshold, open) = (Threshold { min, share }, rules.open.get());
            let weight = if is_proven { PROVEN } else { UNPROVEN };
            app.count(device, Seen { at: now, client, rejected: Some((reason, weight)) }, begin);
            for whose in [Some(client), None] {
                if let Some(until) =
                    app.open.get(&(reason, whose)).filter(|until| now < **until && until.since(now) <= open)
                {
                    return Err(Withheld { retry_after: until.since(now), is_new: false });
                }
            }
            let whose = if app.is_reached_by_all(reason, &threshold) {
                None
            } else if app.is_reached_by(client, reason, &threshold) {
                Some(client)
            } else {
                return Ok(());
            };
            app.open.retain(|_, until| now < *until);
            app.open.insert((reason, whose), now.plus(open));
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
    fn with<R>(
        &self,
        name: &str,
        act: impl FnOnce(&mut App, &RejectionBreaker, Timestamp, Timestamp) -> R,
    ) -> Option<R> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let State { rules, apps } = &mut *state;
        if !rules.enabled {
            return None;
        }
        let begin = now.minus(rules.window.get());
        // Copies the name once for each app.
        if !apps.contains_key(name) {
            apps.insert(name.to_owned(), App::default());
        }
        Some(act(apps.get_mut(name)?, rules, now, begin))
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

    use super::{Certainty, MassRejection, Rejection, Withheld};
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
    fn a_disabled_guard_passes_every_rejection() {
        let bench = bench(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.reject(0..1000, Certainty::Suspect).iter().all(Result::is_ok));
    }
}
