//! The peppers in use, and how a rotation replaces the current one.
//!
//! Invariant: a lookup with a pepper that lookups may use finds every association. So a pepper is prepared before lookups
//! use it, and associations get digests under it for a while after they may not: other processes learn of a phase later,
//! at most after [`PROPAGATION`].

use std::time::Duration;

use shared::clock::Timestamp;

use super::lookup_hash::{LookupDigest, LookupDigests, Pepper};
use super::threepid::ThreePid;

/// After this time every process that serves knows a phase. Longer than a process trusts what it has read
/// (`memory::MAX_AGE`).
pub const PROPAGATION: Duration = Duration::from_secs(15);

/// Which columns of an association have the digests under a pepper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    First,
    Second,
}

impl Slot {
    /// Both slots.
    pub const ALL: [Self; 2] = [Self::First, Self::Second];

    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The phases of a pepper, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The associations get their digests. No client knows the pepper.
    Preparing,
    /// Every association has its digests. Lookups may use the pepper; no process advertises it.
    Accepted,
    /// `hash_details` has it.
    Current,
    /// `hash_details` had it. Lookups may use it.
    Former,
    /// Lookups may not use it. Associations still get digests, for processes that do not know this phase yet.
    Ending,
}

impl Phase {
    /// All phases.
    pub const ALL: [Self; 5] = [Self::Preparing, Self::Accepted, Self::Current, Self::Former, Self::Ending];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Accepted => "accepted",
            Self::Current => "current",
            Self::Former => "former",
            Self::Ending => "ending",
        }
    }
}

/// A pepper, and where it is in its rotation.
#[derive(Clone, Debug)]
pub struct PhasedPepper {
    /// Unique, and greater than those of all earlier peppers.
    pub number: i64,
    pub slot: Slot,
    pub phase: Phase,
    pub pepper: Pepper,
    /// When the phase began.
    pub since: Timestamp,
}

impl PhasedPepper {
    /// Whether lookups may use it.
    pub fn is_accepted(&self) -> bool {
        matches!(self.phase, Phase::Accepted | Phase::Current | Phase::Former)
    }
}

/// The digests of an association in both slots; none in a slot without a pepper.
pub type SlotDigests = [Option<LookupDigests>; 2];

/// All peppers in use. One of them is the current one.
#[derive(Clone, Debug)]
pub struct Peppers {
    current: PhasedPepper,
    others: Vec<PhasedPepper>,
}

impl Peppers {
    /// `None` unless exactly one pepper is the current one.
    pub fn new(peppers: Vec<PhasedPepper>) -> Option<Self> {
        let (mut current, others): (Vec<_>, Vec<_>) =
            peppers.into_iter().partition(|pepper| pepper.phase == Phase::Current);
        let only = current.pop()?;
        current.is_empty().then_some(Self { current: only, others })
    }

    /// The pepper of `hash_details`.
    pub fn current(&self) -> &PhasedPepper {
        &self.current
    }

    /// The previous pepper of `hash_details`, while lookups may use it.
    pub fn former(&self) -> Option<&PhasedPepper> {
        self.in_phase(Phase::Former)
    }

    /// The pepper `text`, if lookups may use it.
    pub fn accepted(&self, text: &str) -> Option<&PhasedPepper> {
        self.iter().find(|pepper| pepper.is_accepted() && pepper.pepper.is(text))
    }

    /// All peppers, the current one first.
    pub fn iter(&self) -> impl Iterator<Item = &PhasedPepper> {
        std::iter::once(&self.current).chain(&self.others)
    }

    /// The pepper in this phase.
    pub fn in_phase(&self, phase: Phase) -> Option<&PhasedPepper> {
        self.iter().find(|pepper| pepper.phase == phase)
    }

    /// The digests of an address under all peppers.
    pub fn digests(&self, threepid: &ThreePid) -> SlotDigests {
        Slot::ALL.map(|slot| {
            let pepper = self.iter().find(|pepper| pepper.slot == slot)?;
            Some(LookupDigests::of(threepid, &pepper.pepper))
        })
    }

    /// The number and the slot of the next pepper; none while a rotation is not over.
    pub fn next(&self) -> Option<(i64, Slot)> {
        self.others.is_empty().then(|| (self.current.number + 1, self.current.slot.other()))
    }
}

/// The distinct digests in both slots.
pub fn all_digests(digests: &SlotDigests) -> impl Iterator<Item = LookupDigest> {
    digests.iter().flatten().flat_map(LookupDigests::iter).map(|(digest, _)| digest)
}

/// `[lookup] pepper_rotation` and `pepper_grace`.
#[derive(Clone, Copy, Debug)]
pub struct RotationSettings {
    /// How long a pepper stays the current one; zero: until an operator rotates it.
    pub interval: Duration,
    /// How long lookups may use it after that.
    pub grace: Duration,
}

/// The next step of a rotation.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// Insert a new pepper.
    Prepare,
    /// Store the digests of the associations under the pepper that is being prepared, and accept it.
    Rehash(&'a PhasedPepper),
    /// Make the accepted pepper the current one, and the current one the former.
    Switch { accepted: &'a PhasedPepper, current: &'a PhasedPepper },
    /// End the use of the former pepper.
    End(&'a PhasedPepper),
    /// Delete the pepper.
    Delete(&'a PhasedPepper),
}

impl Peppers {
    /// The step that is due at `now`. `held` is how long this process has known a pepper in its phase: a step that other
    /// processes must be ready for waits by this process's monotonic clock, because their clocks differ.
    pub fn step(
        &self,
        now: Timestamp,
        settings: RotationSettings,
        held: impl Fn(&PhasedPepper) -> Duration,
    ) -> Option<Step<'_>> {
        // By either clock: the one of the system may be set.
        let is_over =
            |pepper: &PhasedPepper, length: Duration| now >= pepper.since.plus(length) || held(pepper) >= length;
        let current = &self.current;
        for other in &self.others {
            match other.phase {
                Phase::Preparing => return Some(Step::Rehash(other)),
                Phase::Accepted if held(other) >= PROPAGATION => {
                    return Some(Step::Switch { accepted: other, current });
                }
                // Some process may advertise it for a while after the switch.
                Phase::Former if held(other) >= PROPAGATION && is_over(other, settings.grace) => {
                    return Some(Step::End(other));
                }
                Phase::Ending if held(other) >= PROPAGATION => return Some(Step::Delete(other)),
                Phase::Accepted | Phase::Former | Phase::Ending | Phase::Current => {}
            }
        }
        let is_due = self.next().is_some() && !settings.interval.is_zero() && is_over(current, settings.interval);
        is_due.then_some(Step::Prepare)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{PROPAGATION, Peppers, Phase, PhasedPepper, RotationSettings, Slot, Step};
    use crate::domain::lookup_hash::Pepper;

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);
    const HOUR: Duration = Duration::from_secs(3600);
    const MOMENT: Duration = Duration::from_millis(1);
    const SETTINGS: RotationSettings = RotationSettings { interval: DAY, grace: HOUR };

    fn pepper(number: i64, phase: Phase) -> PhasedPepper {
        let slot = if number % 2 == 1 { Slot::First } else { Slot::Second };
        let pepper = Pepper::parse(&format!("pepper{number}")).unwrap();
        PhasedPepper { number, slot, phase, pepper, since: START }
    }

    fn peppers(phases: &[Phase]) -> Peppers {
        Peppers::new(phases.iter().zip(1..).map(|(phase, number)| pepper(number, *phase)).collect()).unwrap()
    }

    fn name(step: Option<&Step<'_>>) -> &'static str {
        match step {
            None => "none",
            Some(Step::Prepare) => "prepare",
            Some(Step::Rehash(_)) => "rehash",
            Some(Step::Switch { .. }) => "switch",
            Some(Step::End(_)) => "end",
            Some(Step::Delete(_)) => "delete",
        }
    }

    #[test]
    fn each_step_waits_for_its_time() {
        use Phase::{Accepted, Current, Ending, Former, Preparing};
        let none = Duration::ZERO;
        for (phases, since, held, expected) in [
            (&[Current][..], DAY - MOMENT, none, "none"),
            (&[Current], DAY, none, "prepare"),
            // The clock was set back; this process has known the pepper for a day.
            (&[Current], none, DAY, "prepare"),
            (&[Current, Preparing], none, none, "rehash"),
            // The clock of the process that accepted it may be behind: only the monotonic clock counts.
            (&[Current, Accepted], DAY, PROPAGATION - MOMENT, "none"),
            (&[Current, Accepted], none, PROPAGATION, "switch"),
            (&[Former, Current], HOUR - MOMENT, none, "none"),
            (&[Former, Current], HOUR, PROPAGATION - MOMENT, "none"),
            (&[Former, Current], HOUR, PROPAGATION, "end"),
            (&[Former, Current], none, HOUR, "end"),
            (&[Ending, Current], DAY, PROPAGATION - MOMENT, "none"),
            (&[Ending, Current], DAY, PROPAGATION, "delete"),
        ] {
            let peppers = peppers(phases);
            let step = peppers.step(START.plus(since), SETTINGS, |_| held);
            assert_eq!(name(step.as_ref()), expected, "{phases:?}, {since:?} after the start, held for {held:?}");
        }
        let never = RotationSettings { interval: Duration::ZERO, ..SETTINGS };
        let peppers = peppers(&[Current]);
        assert_eq!(name(peppers.step(START.plus(DAY * 1000), never, |_| DAY * 1000).as_ref()), "none");
    }

    #[test]
    fn lookups_may_use_a_pepper_from_its_acceptance_to_the_end_of_the_grace_period() {
        for (phase, is_accepted) in Phase::ALL.into_iter().zip([false, true, true, true, false]) {
            assert_eq!(pepper(1, phase).is_accepted(), is_accepted, "{phase:?}");
        }
        let peppers = peppers(&[Phase::Former, Phase::Current]);
        assert_eq!(peppers.accepted("pepper1").map(|found| found.number), Some(1));
        assert_eq!(peppers.accepted("pepper2").map(|found| found.number), Some(2));
        assert!(peppers.accepted("pepper3").is_none() && peppers.accepted("").is_none());
        assert!(Peppers::new(vec![pepper(1, Phase::Former)]).is_none());
        assert!(Peppers::new(vec![pepper(1, Phase::Current), pepper(2, Phase::Current)]).is_none());
    }

    #[test]
    fn a_new_pepper_takes_the_free_slot() {
        assert_eq!(peppers(&[Phase::Current]).next(), Some((2, Slot::Second)));
        assert_eq!(Peppers::new(vec![pepper(2, Phase::Current)]).unwrap().next(), Some((3, Slot::First)));
        assert_eq!(peppers(&[Phase::Former, Phase::Current]).next(), None);
    }
}
