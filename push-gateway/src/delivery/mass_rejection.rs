//! Doubts rejections that come in such numbers that our own configuration is the likelier fault: a sandbox key in
//! production, a wrong topic or project, an emptied configuration.
//!
//! Invariant: every pushkey counts once in a window, so that one device that comes again and again blows no fuse.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::clock::{Clock, Timestamp};

use crate::config::rules::RejectionBreaker;
use crate::providers::Certainty;
use crate::providers::device_key::{ByFingerprint, Fingerprint};

/// Devices of one app that a window holds at most; beyond it, the oldest are forgotten. Enough to judge by, and a
/// bound on memory.
const MAX_DEVICES: usize = 20_000;

/// The fuses of all apps.
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
    /// What last became of each device within the window; `None` is anything but a rejection.
    devices: ByFingerprint<(Timestamp, Option<&'static str>)>,
    /// The same devices in the order of time; one that came again stands here more than once.
    order: VecDeque<(Timestamp, Fingerprint)>,
    /// How many of them were rejected for each reason.
    rejected: HashMap<&'static str, usize>,
    /// Reasons that are doubted, and until when.
    blown: HashMap<&'static str, Timestamp>,
}

impl App {
    /// Puts what became of a device in place of what became of it before, and forgets what is older than `begin`.
    fn count(&mut self, device: Fingerprint, reason: Option<&'static str>, now: Timestamp, begin: Timestamp) {
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
            // A device that came again since is counted by its later entry.
            if self.devices.get(&device).is_some_and(|(latest, _)| *latest == at)
                && let Some((_, Some(reason))) = self.devices.remove(&device)
            {
                self.forget_rejection(reason);
            }
        }
    }

    fn forget_rejection(&mut self, reason: &'static str) {
        if let Some(count) = self.rejected.get_mut(reason) {
            *count = count.saturating_sub(1);
        }
    }
}

impl MassRejection {
    /// Fuses after `rules`.
    pub(crate) fn new(rules: RejectionBreaker, clock: Clock) -> Self {
        Self { clock, state: Mutex::new(State { rules, apps: HashMap::new() }) }
    }

    /// Judges by other rules from now on.
    pub(crate) fn set_rules(&self, rules: RejectionBreaker) {
        let mut state = self.state();
        if !rules.enabled {
            state.apps.clear();
        }
        state.rules = rules;
    }

    /// Forgets what became of the devices of an app whose settings are others now, and believes it again.
    pub(crate) fn forget(&self, app: &str) {
        self.state().apps.remove(app);
    }

    /// Counts a device that was not rejected.
    pub(crate) fn note_other(&self, app: &str, device: Fingerprint) {
        self.with(app, |app, _, now, begin| app.count(device, None, now, begin));
    }

    /// Counts a rejection, and says whether it may be believed.
    ///
    /// # Errors
    /// [`Doubted`] if there are so many of its kind that the fault must be ours.
    pub(crate) fn note_rejection(
        &self,
        app: &str,
        device: Fingerprint,
        reason: &'static str,
        certainty: Certainty,
    ) -> Result<(), Doubted> {
        let judged = self.with(app, |app, rules, now, begin| {
            let (min, share) = match certainty {
                Certainty::Suspect => (rules.min, rules.share),
                Certainty::Certain => (rules.certain_min, rules.certain_share),
            };
            app.count(device, Some(reason), now, begin);
            if let Some(until) = app.blown.get(reason).filter(|until| now < **until) {
                return Err(Doubted { retry_after: until.since(now), is_new: false });
            }
            app.blown.remove(reason);
            let rejected = app.rejected.get(reason).copied().unwrap_or_default();
            #[expect(clippy::cast_precision_loss, reason = "both numbers are small")]
            let is_too_many = rejected >= min && rejected as f64 >= share * app.devices.len() as f64;
            if !is_too_many {
                return Ok(());
            }
            app.blown.insert(reason, now.plus(rules.open.get()));
            Err(Doubted { retry_after: rules.open.get(), is_new: true })
        });
        judged.unwrap_or(Ok(()))
    }

    /// The apps and reasons that are doubted now, for `/ready` and the metrics.
    pub(crate) fn open(&self) -> Vec<(String, &'static str)> {
        let now = self.clock.now();
        let state = self.state();
        let blown = |(name, app): (&String, &App)| {
            let name = name.clone();
            let open: Vec<_> = app.blown.iter().filter(|(_, until)| now < **until).map(|(reason, _)| *reason).collect();
            open.into_iter().map(move |reason| (name.clone(), reason))
        };
        state.apps.iter().flat_map(blown).collect()
    }

    /// `None` if nothing is to be judged.
    fn with<R>(
        &self,
        name: &str,
        act: impl FnOnce(&mut App, &RejectionBreaker, Timestamp, Timestamp) -> R,
    ) -> Option<R> {
        let now = self.clock.now();
        let mut state = self.state();
        let State { rules, apps } = &mut *state;
        if !rules.enabled {
            return None;
        }
        let begin = now.minus(rules.window.get());
        // The name is copied once for each app of the configuration.
        if !apps.contains_key(name) {
            apps.insert(name.to_owned(), App::default());
        }
        Some(act(apps.get_mut(name)?, rules, now, begin))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The rejection is not to be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Doubted {
    /// Until its kind is believed again.
    pub(crate) retry_after: Duration,
    /// Whether this one blew the fuse.
    pub(crate) is_new: bool,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::random::Random;

    use super::{Certainty, Doubted, MassRejection};
    use crate::config::rules::RejectionBreaker;
    use crate::providers::device_key::{Fingerprint, Fingerprints};

    const MINUTE: Duration = Duration::from_secs(60);
    const OPEN: Duration = Duration::from_secs(900);

    struct Bench {
        clock: Clock,
        fuses: MassRejection,
        prints: Fingerprints,
    }

    fn bench(rules: RejectionBreaker) -> Bench {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        Bench { fuses: MassRejection::new(rules, clock.clone()), clock, prints: Fingerprints::new(Random) }
    }

    impl Bench {
        fn device(&self, number: u32) -> Fingerprint {
            self.prints.of(&[&number.to_string()])
        }

        fn reject(&self, numbers: std::ops::Range<u32>, certainty: Certainty) -> Vec<Result<(), Doubted>> {
            numbers.map(|n| self.fuses.note_rejection("app", self.device(n), "why", certainty)).collect()
        }
    }

    #[test]
    fn the_twentieth_suspect_rejection_blows_the_fuse_for_a_quarter_of_an_hour() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        assert_eq!(bench.reject(19..20, Certainty::Suspect), [Err(Doubted { retry_after: OPEN, is_new: true })]);
        assert_eq!(bench.fuses.open(), [("app".to_owned(), "why")]);
        // Another reason and another app are believed.
        assert!(bench.fuses.note_rejection("app", bench.device(1), "other", Certainty::Suspect).is_ok());
        assert!(bench.fuses.note_rejection("else", bench.device(1), "why", Certainty::Suspect).is_ok());
        bench.clock.advance(MINUTE);
        let left = OPEN - MINUTE;
        assert_eq!(bench.reject(30..31, Certainty::Suspect), [Err(Doubted { retry_after: left, is_new: false })]);
        bench.clock.advance(left);
        assert_eq!(bench.reject(31..32, Certainty::Suspect), [Ok(())]);
        assert!(bench.fuses.open().is_empty());
    }

    #[test]
    fn a_device_that_comes_again_and_again_counts_once() {
        let bench = bench(RejectionBreaker::default());
        for _ in 0..100 {
            assert!(bench.reject(0..1, Certainty::Suspect)[0].is_ok());
        }
    }

    #[test]
    fn among_enough_devices_that_work_rejections_are_believed() {
        let bench = bench(RejectionBreaker::default());
        (1000..1100).for_each(|n| bench.fuses.note_other("app", bench.device(n)));
        assert!(bench.reject(0..99, Certainty::Suspect).iter().all(Result::is_ok));
        assert!(bench.reject(99..101, Certainty::Suspect).iter().any(Result::is_err));
    }

    #[test]
    fn what_is_certain_takes_fifty_and_nine_tenths() {
        let lonely = bench(RejectionBreaker::default());
        assert!(lonely.reject(0..49, Certainty::Certain).iter().all(Result::is_ok));
        assert!(lonely.reject(49..50, Certainty::Certain)[0].is_err());
        let mixed = bench(RejectionBreaker::default());
        (1000..1010).for_each(|n| mixed.fuses.note_other("app", mixed.device(n)));
        assert!(mixed.reject(0..80, Certainty::Certain).iter().all(Result::is_ok));
        assert!(mixed.reject(80..91, Certainty::Certain).iter().any(Result::is_err));
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        bench.clock.advance(MINUTE + Duration::from_millis(1));
        assert!(bench.reject(19..38, Certainty::Suspect).iter().all(Result::is_ok));
    }

    #[test]
    fn an_app_that_is_another_one_is_believed_again_and_other_rules_hold_at_once() {
        let bench = bench(RejectionBreaker::default());
        assert!(bench.reject(0..20, Certainty::Suspect)[19].is_err());
        bench.fuses.forget("app");
        assert!(bench.fuses.open().is_empty());
        assert!(bench.reject(0..19, Certainty::Suspect).iter().all(Result::is_ok));
        bench.fuses.set_rules(RejectionBreaker { min: 2, ..RejectionBreaker::default() });
        assert!(bench.reject(19..20, Certainty::Suspect)[0].is_err());
        bench.fuses.set_rules(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.fuses.open().is_empty() && bench.reject(20..21, Certainty::Suspect)[0].is_ok());
    }

    #[test]
    fn switched_off_it_believes_everything() {
        let bench = bench(RejectionBreaker { enabled: false, ..RejectionBreaker::default() });
        assert!(bench.reject(0..1000, Certainty::Suspect).iter().all(Result::is_ok));
    }
}
