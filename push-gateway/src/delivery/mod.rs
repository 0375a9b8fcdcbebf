//! One request: every device for itself, at the same time, within one deadline; then one answer for all of them.
//!
//! Invariant: "200" means that every event was delivered or never can be; a pushkey is rejected only on proof that the
//! key is dead. An attempt on the wire is never cancelled, neither by the deadline nor by the homeserver hanging up.

pub(crate) mod circuit_breaker;
pub(crate) mod dedup;
mod device;
mod gathering;
pub(crate) mod mass_rejection;
pub(crate) mod outcome;
pub(crate) mod rate_limit;
pub(crate) mod rejections;
mod retry;
pub(crate) mod state;
mod two_generation_cache;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use shared::http::observe::milliseconds;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument;

use self::device::Errand;
use self::gathering::Verdicts;
use self::outcome::{Trouble, Verdict, outcome};
use self::state::{Setup, State};
use crate::http::error::{Owed, OwedStatus};
use crate::notification::{Device, Notification};

/// Counts a request of `client`.
///
/// # Errors
/// [`Owed`] if it asks too often.
pub(crate) fn admit(state: &State, setup: &Setup, client: IpAddr) -> Result<(), Owed> {
    let from = || state.fingerprints.of(&["client", &client.to_string()]);
    let refused = |wait| Owed { status: OwedStatus::RateLimited, retry_after: Some(wait) };
    setup.per_ip.charge(from, state.clock.now()).map_err(refused)
}

/// Delivers `notification` to all `devices`; gives the rejected pushkeys in the order of the devices, each once. Tells
/// of the request in the log. `place` is the request's place among those in work, and kept until the last delivery has
/// ended: a homeserver that hangs up early and comes again must not pile up work without end.
///
/// # Errors
/// [`Owed`] if an event is still owed to some device: the homeserver has to come again.
pub(crate) async fn dispatch(
    state: &Arc<State>,
    setup: Arc<Setup>,
    notification: Arc<Notification>,
    devices: Vec<Device>,
    client: IpAddr,
    place: OwnedSemaphorePermit,
) -> Result<Vec<String>, Owed> {
    let began = Instant::now();
    let deadline = began + setup.config.limits.request_deadline.get();
    let pushkeys: Vec<String> = devices.iter().map(|device| device.pushkey.clone()).collect();
    let verdicts = deliver_all(state, &setup, &notification, devices, deadline, place).await;
    let answer = outcome::merge(&pushkeys, &verdicts);

    let count = |name: &str| verdicts.iter().filter(|verdict| outcome(verdict).0 == name).count();
    tracing::info!(
        devices = pushkeys.len(),
        delivered = count("delivered"),
        dropped = count("dropped"),
        rejected = count("rejected"),
        temporary = count("temporary"),
        permanent = count("permanent"),
        code = answer.as_ref().map_or_else(|owed| owed.code(), |_| 200),
        ms = milliseconds(began.elapsed()),
        %client,
        "notified"
    );
    answer
}

/// One verdict for each device, in their order; a device that stands there twice is served once.
///
/// One task has them all: it wakes whoever waits for the answer once, and goes on by itself if nobody does any more.
async fn deliver_all(
    state: &Arc<State>,
    setup: &Arc<Setup>,
    notification: &Arc<Notification>,
    devices: Vec<Device>,
    deadline: Instant,
    place: OwnedSemaphorePermit,
) -> Vec<Verdict> {
    let (places, devices) = each_once(devices);
    let verdicts = Verdicts::new(devices.len());
    let deliveries = devices.into_iter().map(|device| {
        let (state, setup, notification) = (state.clone(), setup.clone(), notification.clone());
        // In its place from the start: it is large, and handed on several times before it runs.
        Box::pin(device::deliver(Errand { state, setup, notification, device, deadline }))
    });
    let gathering = verdicts.clone().gather(deliveries.collect());
    let whole = async move {
        gathering.await;
        drop(place);
    };
    let task = state.runtime.spawn(whole.in_current_span());
    // What has not ended by then goes on, and the homeserver's retry finds its result in the memory.
    drop(tokio::time::timeout_at(deadline.into(), task).await);
    let verdicts = verdicts.so_far(Trouble::upstream("deadline", None));
    places.into_iter().map(|place| verdicts[place].clone()).collect()
}

/// The devices without those that stand there again, and for each of all the place that it has among them.
fn each_once(devices: Vec<Device>) -> (Vec<usize>, Vec<Device>) {
    if devices.len() == 1 {
        return (vec![0], devices);
    }
    let mut seen = HashMap::with_capacity(devices.len());
    let (mut places, mut is_new) = (Vec::with_capacity(devices.len()), Vec::with_capacity(devices.len()));
    for device in &devices {
        let next = seen.len();
        let place = *seen.entry((&device.app_id, &device.pushkey)).or_insert(next);
        places.push(place);
        is_new.push(place == next);
    }
    (places, devices.into_iter().zip(is_new).filter_map(|(device, is_new)| is_new.then_some(device)).collect())
}
