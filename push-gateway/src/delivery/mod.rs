//! One request: delivers a notification to all its devices at the same time, within one deadline, and merges the outcomes.
//!
//! Invariant: a 200 means that every event was delivered or never can be, because it ends the homeserver's retries.
//! Only [`Outcome::Rejected`] puts a pushkey into the response. Nothing cancels an attempt on the wire: neither the
//! deadline nor a disconnected homeserver.
//!
//! # Retries by level
//!
//! 1. **The HTTP client** (`upstream/client.rs`) resends a push that the push service certainly did not process: a refused
//!    stream (`REFUSED_STREAM`), a stream above the last one of a GOAWAY, or a request of which nothing was written; at most
//!    twice, and only before the deadline.
//! 2. **The provider** resends once in each form that the response requires: with a renewed token, with a smaller
//!    payload, and for APNs in the other environment (`Action` in `response.rs`, read in the provider's `mod.rs`). The
//!    circuit breaker counts all of this as one attempt.
//! 3. **The delivery** ([`retry`]) repeats the attempt if [`Failure::retry_in_request`] says so: as often as the app
//!    has `retry_waits`, after these waits (with jitter) or the push service's `Retry-After`, and only if three seconds
//!    remain before `[limits] request_deadline`. Each attempt first checks the circuit breaker. The payload is composed
//!    once, and again, smaller, after a 413 (APNs) or 400 (FCM).
//! 4. **The homeserver** repeats the request after any response but 200, for up to a day. [`dedup`] skips devices that
//!    have the event, and [`rejected_pushkeys`] skips rejected pushkeys, so a retry sends only what is missing. The response's
//!    `Retry-After` is the longest of all devices.
//!
//! [`Failure::retry_in_request`]: crate::providers::outcome::Failure::retry_in_request

mod admission;
pub(crate) mod circuit_breaker;
mod claim;
pub(crate) mod dedup;
mod device;
pub(crate) mod failed_opens;
pub(crate) mod in_flight;
mod keys;
pub(crate) mod mass_rejection;
pub(crate) mod nudges;
pub(crate) mod proven_pushkeys;
pub(crate) mod push_resource;
pub(crate) mod rate_limit;
pub(crate) mod rejected_pushkeys;
pub(crate) mod relay;
mod retry;
pub(crate) mod state;
mod target;

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use shared::clock::Timestamp;
use shared::http::observe::InFlight;
use tracing::Instrument;

use self::device::DeviceDelivery;
use self::in_flight::RequestPermit;
use self::state::{Setup, State};
use crate::notification::{Device, Kind, Notification};
use crate::providers::device_key::DeviceKey;
use crate::providers::outcome::{Cause, Failure, Outcome};

/// The outcomes of one request, in the order of its devices.
pub(crate) struct Outcomes {
    pushkeys: Vec<String>,
    outcomes: Vec<Outcome>,
}

/// Who sends a notification.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// The IPv4 address or IPv6 /48 network from which the request comes.
    pub(crate) site: DeviceKey,
    /// What shares permits in turn with others: the same, or a homeserver by its VAPID key.
    pub(crate) peer: DeviceKey,
}

/// Delivers `notification` to all `devices`. The permit of the request is held until the last delivery ends: a homeserver that
/// disconnects and retries must not pile up work.
pub(crate) async fn deliver(
    state: &Arc<State>,
    setup: &Arc<Setup>,
    notification: Notification,
    devices: Vec<Device>,
    caller: Caller,
    permit: RequestPermit,
) -> Outcomes {
    let (began, now) = (Instant::now(), state.clock.now());
    let deadline = began + setup.config.limits.request_deadline.get();
    let pushkeys = devices.iter().map(|device| device.pushkey.clone()).collect();
    let shown = state.device_keys.digest(&notification.shown());
    let (positions, devices) = deduplicate_devices(devices);
    // A response after the end of a call is of no use to the caller.
    let end_of = |device: &Device| {
        let end = deadline_of(setup, &notification, device, now, began);
        end.map_or(deadline, |end| end.min(deadline))
    };
    let devices: Vec<_> = devices.into_iter().map(|device| (end_of(&device), device)).collect();
    let last_deadline = devices.iter().map(|(deadline, _)| *deadline).max().unwrap_or(began);
    let slots = Slots::new(devices.len());
    let outlasting = InFlight::enter_outlasting(&state.activity);
    let (filled, state_of_task, setup) = (slots.clone(), state.clone(), setup.clone());
    let task = async move {
        let (state, setup, notification) = (&*state_of_task, &*setup, &notification);
        let deliveries = devices.iter().map(|(deadline, device)| {
            DeviceDelivery { state, setup, notification, device, shown, caller, deadline: *deadline }.run()
        });
        filled.fill(deliveries).await;
        drop((permit, outlasting));
    };
    // One task for all devices: it wakes the handler once, and continues by itself after a disconnect.
    let task = state.runtime.spawn(task.in_current_span());
    // A delivery that misses the deadline continues; the homeserver's retry finds its outcome.
    drop(tokio::time::timeout_at(last_deadline.into(), task).await);
    let outcomes = slots.outcomes();
    Outcomes { pushkeys, outcomes: positions.into_iter().map(|position| outcomes[position].clone()).collect() }
}

/// When a call that rings for `device` ends.
fn deadline_of(
    setup: &Setup,
    notification: &Notification,
    device: &Device,
    now: Timestamp,
    began: Instant,
) -> Option<Instant> {
    // Nearly every event; they need no second search for the app.
    if notification.kind != Kind::Full || notification.event_type.as_deref() == Some("m.room.message") {
        return None;
    }
    let app = setup.apps.serving(device).ok()?;
    Some(began + notification.occasion(&app.own.delivery.call_types, now).ring()?.left)
}

impl Outcomes {
    /// The outcome of a request with one device.
    pub(crate) fn into_only(self) -> Outcome {
        self.outcomes.into_iter().next().unwrap_or_else(|| panicked().into())
    }

    /// The rejected pushkeys in the order of the request, each once.
    ///
    /// # Errors
    /// The failure of the whole request if any device failed: the homeserver has to retry.
    pub(crate) fn merge(&self) -> Result<Vec<String>, Failure> {
        let mut failures = self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Failed(failure) => Some(failure),
            Outcome::Delivered | Outcome::Rejected(_) | Outcome::Dropped(_) => None,
        });
        if let Some(first) = failures.next() {
            let merged = failures.fold(first.clone(), |merged, next| Failure {
                cause: if discriminant(&merged.cause) == discriminant(&next.cause) {
                    merged.cause
                } else {
                    Cause::Upstream { is_outage: false }
                },
                retry_after: merged.retry_after.max(next.retry_after),
                ..merged
            });
            return Err(merged);
        }
        let with = |is_rejected: bool| {
            let pairs = self.pushkeys.iter().zip(&self.outcomes);
            pairs.filter(move |(_, outcome)| matches!(outcome, Outcome::Rejected(_)) == is_rejected).map(|(key, _)| key)
        };
        // A homeserver knows pushkeys, not apps: a pushkey that lives in another app stays out.
        let mut seen: HashSet<&String> = with(false).collect();
        Ok(with(true).filter(|pushkey| seen.insert(*pushkey)).cloned().collect())
    }

    /// The number of devices.
    pub(crate) fn devices(&self) -> usize {
        self.outcomes.len()
    }

    /// The number of devices with this `outcome` label.
    pub(crate) fn count(&self, label: &str) -> usize {
        self.outcomes.iter().filter(|outcome| outcome.labels().0 == label).count()
    }
}

/// A delivery that ended without an outcome.
fn panicked() -> Failure {
    Failure::upstream("given_up", None)
}

/// A delivery that did not end before the deadline.
fn deadline_exceeded() -> Failure {
    Failure::upstream("deadline", None)
}

/// The distinct devices, and for each device of the request its position among them.
fn deduplicate_devices(devices: Vec<Device>) -> (Vec<usize>, Vec<Device>) {
    let pushkeys: HashSet<&String> = devices.iter().map(|device| &device.pushkey).collect();
    if pushkeys.len() == devices.len() {
        return ((0..devices.len()).collect(), devices);
    }
    let mut seen = HashMap::with_capacity(devices.len());
    let (mut positions, mut is_new) = (Vec::with_capacity(devices.len()), Vec::with_capacity(devices.len()));
    for device in &devices {
        let next = seen.len();
        // Two accounts of one phone differ in `data` only.
        let position = *seen.entry((&device.app_id, &device.pushkey, &device.data, &device.tweaks)).or_insert(next);
        positions.push(position);
        is_new.push(position == next);
    }
    (positions, devices.into_iter().zip(is_new).filter_map(|(device, is_new)| is_new.then_some(device)).collect())
}

/// The outcomes so far, one slot for each delivery. Clones share them.
#[derive(Clone)]
struct Slots(Arc<Mutex<Vec<Option<Outcome>>>>);

impl Slots {
    fn new(deliveries: usize) -> Self {
        Self(Arc::new(Mutex::new(vec![None; deliveries])))
    }

    /// Runs all `deliveries` concurrently. A panic in one of them affects no other.
    async fn fill<F: Future<Output = Outcome>>(self, deliveries: impl IntoIterator<Item = F>) {
        let deliveries = deliveries.into_iter().enumerate().map(|(slot, delivery)| async move {
            // The locks that a panic leaves behind are free of poison.
            (slot, AssertUnwindSafe(delivery).catch_unwind().await)
        });
        let mut deliveries: FuturesUnordered<_> = deliveries.collect();
        while let Some((slot, result)) = deliveries.next().await {
            let outcome = result.unwrap_or_else(|_| {
                tracing::error!("a delivery panicked");
                panicked().into()
            });
            self.0.lock()[slot] = Some(outcome);
        }
    }

    /// The outcome of each delivery; a delivery in progress exceeded the deadline.
    fn outcomes(&self) -> Vec<Outcome> {
        let slots = self.0.lock();
        slots.iter().map(|slot| slot.clone().unwrap_or_else(|| deadline_exceeded().into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::future::{BoxFuture, FutureExt};

    use super::{Outcomes, Slots, deadline_exceeded, panicked};
    use crate::providers::outcome::{Cause, Certainty, Failure, Outcome};

    fn rejected() -> Outcome {
        Outcome::rejected("Unregistered", Certainty::Certain)
    }

    fn upstream(seconds: Option<u64>) -> Outcome {
        Failure::upstream("x", seconds.map(Duration::from_secs)).into()
    }

    fn merged(outcomes: &[(&str, Outcome)]) -> Result<Vec<String>, Failure> {
        let (pushkeys, outcomes) =
            outcomes.iter().map(|(pushkey, outcome)| ((*pushkey).to_owned(), outcome.clone())).unzip();
        Outcomes { pushkeys, outcomes }.merge()
    }

    #[tokio::test]
    async fn a_panic_and_a_slow_delivery_affect_no_other() {
        let slots = Slots::new(4);
        let done = || async { Outcome::Delivered }.boxed();
        let deliveries: Vec<BoxFuture<'static, Outcome>> =
            vec![done(), async { panic!("on purpose") }.boxed(), std::future::pending().boxed(), done()];
        let filling = tokio::spawn(slots.clone().fill(deliveries));
        let late = Outcome::from(deadline_exceeded());
        while slots.outcomes().iter().filter(|outcome| **outcome == late).count() > 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.outcomes(), [Outcome::Delivered, panicked().into(), late, Outcome::Delivered]);
        assert!(!filling.is_finished());
    }

    #[test]
    fn rejected_pushkeys_keep_their_order_and_appear_once() {
        let outcomes = [
            ("b", rejected()),
            ("x", Outcome::Delivered),
            ("a", rejected()),
            ("b", rejected()),
            ("y", Outcome::Dropped("z")),
        ];
        assert_eq!(merged(&outcomes), Ok(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(merged(&[]), Ok(vec![]));
        // The same text may be a pushkey of two apps.
        assert_eq!(
            merged(&[("a", rejected()), ("b", rejected()), ("a", Outcome::Delivered)]),
            Ok(vec!["b".to_owned()])
        );
    }

    #[test]
    fn one_failure_hides_all_rejections_and_the_longest_wait_wins() {
        let of = |outcomes: &[(&str, Outcome)]| {
            let failure = merged(outcomes).unwrap_err();
            (failure.cause, failure.retry_after.map(|wait| wait.as_secs()))
        };
        let overloaded = || Outcome::from(Failure::overloaded());
        let limited = |seconds| Outcome::from(Failure::rate_limited(Duration::from_secs(seconds)));
        let upstream_cause = Cause::Upstream { is_outage: false };
        assert_eq!(of(&[("a", rejected()), ("b", upstream(None))]), (upstream_cause.clone(), None));
        assert_eq!(of(&[("a", overloaded()), ("b", overloaded())]), (Cause::Overloaded, Some(1)));
        assert_eq!(of(&[("a", limited(1)), ("b", limited(5))]), (Cause::Caller, Some(5)));
        assert_eq!(of(&[("a", overloaded()), ("b", upstream(None))]), (upstream_cause.clone(), Some(1)));
        assert_eq!(of(&[("a", limited(7)), ("b", overloaded())]), (upstream_cause, Some(7)));
        assert_eq!(of(&[("a", limited(9999))]), (Cause::Caller, Some(9999)));
    }
}
