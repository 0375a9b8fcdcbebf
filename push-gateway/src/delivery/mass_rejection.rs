//! Mass-rejection guard: withholds rejections in numbers that a misconfiguration explains better, such as a sandbox key in
//! production, a wrong topic or project, or an emptied configuration.
//!
//! Invariant: every pushkey counts once in a window, so that repeated requests for one device never open the guard.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};

use crate::config::rules::RejectionBreaker;
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::{Certainty, Reason, Rejection};

/// The maximum number of devices of one app in a window; the oldest are removed first.
const MAX_DEVICES: usize = 20_000;

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
    /// The last rejection of each device within the window; `None` for any other outcome.
    devices: ByDeviceKey<(Timestamp, Option<Reason>)>,
    /// The same devices in the order of time, one entry for each outcome.
    order: VecDeque<(Timestamp, DeviceKey)>,
    /// The number of rejected devices by reason.
    rejected: HashMap<Reason, usize>,
    /// The reasons with an open guard, and until when.
    tripped: HashMap<Reason, Timestamp>,
}

impl App {
    /// Replaces the outcome of a device, and drops outcomes older than `begin`.
    fn count(&mut self, device: DeviceKey, reason: Option<Reason>, now: Timestamp, begin: Timestamp) {
        if let Some((_, Some(before))) = self.devices.insert(device, (now, reason)) {
            self.forget_rejection(before);
        }
        if let Some(reason) = reason {
            *self.rejected.entry(reason).or_default() += 1;
        }
        self.order.push_back((now, device));
        while let Some((at, device)) = self.order.front().copied() {
            if at >= begin && self.order.len() <= MAX_DEVICES {
                break;
            }
            self.order.pop_front();
            // A later entry counts a device with several outcomes.
            if self.devices.get(&device).is_some_and(|(latest, _)| *latest == at)
                && let Some((_, Some(reason))) = self.devices.remove(&device)
            {
                self.forget_rejection(reason);
            }
        }
    }

    fn forget_rejection(&mut self, reason: Reason) {
        if let Some(count) = self.rejected.get_mut(reason) {
            *count = count.saturating_sub(1);
        }
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

    /// Counts a device with any other outcome than a rejection.
    pub(crate) fn record_other(&self, app: &str, device: DeviceKey) {
        self.with(app, |app, _, now, begin| app.count(device, None, now, begin));
    }

    /// Counts a rejection.
    ///
    /// # Errors
    /// [`Withheld`] if the guard of this app and reason is open.
    pub(crate) fn record_rejection(&self, app: &str, device: DeviceKey, rejection: Rejection) -> Result<(), Withheld> {
        let Rejection { reason, certainty } = rejection;
        let result = self.with(app, |app, rules, now, begin| {
            let (min, share) = match certainty {
                Certainty::Suspect => (rules.min, rules.share),
                Certainty::Certain => (rules.certain_min, rules.certain_share),
            };
            app.count(device, Some(reason), now, begin);
            if let Some(until) = app.tripped.get(reason).filter(|until| now < **until) {
                return Err(Withheld { retry_after: until.since(now), is_new: false });
            }
            app.tripped.remove(reason);
            let rejected = app.rejected.get(reason).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "both numbers are small")]
            let is_too_many = rejected >= min && rejected as f64 >= share * app.devices.len() as f64;
            if !is_too_many {
                return Ok(());
            }
            app.tripped.insert(reason, now.plus(rules.open.get()));
            Err(Withheld { retry_after: rules.open.get(), is_new: true })
        });
        result.unwrap_or(Ok(()))
    }

    /// The apps and reasons with an open guard, for `/ready` and the metrics.
    pub(crate) fn open(&self) -> Vec<(String, Reason)> {
        let now = self.clock.now();
        let state = self.state.lock();
        let tripped = |(name, app): (&String, &App)| {
            let name = name.clone();
            let open: Vec<_> =
                app.tripped.iter().filter(|(_, until)| now < **until).map(|(reason, _)| *reason).collect();
            open.into_iter().map(move |reason| (name.clone(), reason))
        };
        state.apps.iter().flat_map(tripped).collect()
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

        fn reject_one(&self, app: &str, number: u32, reason: &'static str) -> Result<(), Withheld> {
            let rejection = Rejection { reason, certainty: Certainty::Suspect };
            self.guard.record_rejection(app, self.device(number), rejection)
        }

        fn reject(&self, numbers: std::ops::Range<u32>, certainty: Certainty) -> Vec<Result<(), Withheld>> {
            let rejection = Rejection { reason: "why", certainty };
            numbers.map(|n| self.guard.record_rejection("app", self.device(n), rejection)).collect()
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
        (1000..1100).for_each(|n| bench.guard.record_other("app", bench.device(n)));
        assert!(bench.reject(0..99, Certainty::Suspect).iter().all(Result::is_ok));
        assert!(bench.reject(99..101, Certainty::Suspect).iter().any(Result::is_err));
    }

    #[test]
    fn certain_rejections_trip_the_guard_from_fifty_and_nine_tenths_on() {
        let alone = bench(RejectionBreaker::default());
        assert!(alone.reject(0..49, Certainty::Certain).iter().all(Result::is_ok));
        assert!(alone.reject(49..50, Certainty::Certain)[0].is_err());
        let mixed = bench(RejectionBreaker::default());
        (1000..1010).for_each(|n| mixed.guard.record_other("app", mixed.device(n)));
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
    fn a_disabled_guard_passes_every_rejection() {
        let bench = bench(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.reject(0..1000, Certainty::Suspect).iter().all(Result::is_ok));
    }
}
