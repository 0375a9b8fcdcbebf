//! Tests of the guard against mass rejections: when it opens, for whom, and what closes it.

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
        let reject = |n| self.guard.record_rejection("app", self.device(n), self.client(client), is_proven, rejection);
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
                let _ = bench.guard.record_rejection("app", bench.device(n), bench.client(client), false, rejection);
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
