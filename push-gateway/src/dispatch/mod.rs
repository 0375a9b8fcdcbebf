//! One request: every device for itself, at the same time, within one deadline; then one answer for all of them.
//!
//! Invariant: "200" means that every event was delivered or never can be; a pushkey is rejected only on proof that the
//! key is dead. An attempt on the wire is never cancelled, neither by the deadline nor by the homeserver hanging up.

mod device;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use tracing::Instrument;

use crate::error::{Owed, OwedStatus};
use crate::notification::{Device, Notification};
use crate::provider::Outcome;
use crate::state::State;
use crate::verdict::{self, Trouble, Verdict};

/// Delivers `notification` to all `devices`; gives the rejected pushkeys in the order of the devices, each once.
///
/// # Errors
/// [`Owed`] if an event is still owed to some device: the homeserver has to come again.
pub async fn dispatch(
    state: &Arc<State>,
    notification: Arc<Notification>,
    devices: Vec<Device>,
    client: IpAddr,
) -> Result<Vec<String>, Owed> {
    let from = state.fingerprints.of(&["client", &client.to_string()]);
    if let Err(wait) = state.per_ip.charge(from, state.clock.now()) {
        return Err(Owed { status: OwedStatus::RateLimited, retry_after: Some(wait) });
    }
    let began = Instant::now();
    let deadline = began + state.config.limits.request_deadline.get();
    let pushkeys: Vec<String> = devices.iter().map(|device| device.pushkey.clone()).collect();
    let verdicts = deliver_all(state, &notification, devices, deadline).await;

    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| is(verdict)).count();
    tracing::info!(
        devices = pushkeys.len(),
        delivered = count(|verdict| matches!(verdict, Ok(Outcome::Delivered))),
        dropped = count(|verdict| matches!(verdict, Ok(Outcome::Dropped(_)))),
        rejected = count(|verdict| matches!(verdict, Ok(Outcome::Rejected(_)))),
        owed = count(Result::is_err),
        ms = began.elapsed().as_millis(),
        %client,
        "notified"
    );
    verdict::merge(&pushkeys, &verdicts)
}

/// One verdict for each device, in their order; a device that stands there twice is served once.
async fn deliver_all(
    state: &Arc<State>,
    notification: &Arc<Notification>,
    devices: Vec<Device>,
    deadline: Instant,
) -> Vec<Verdict> {
    let mut seen = HashMap::with_capacity(devices.len());
    let mut tasks = Vec::with_capacity(devices.len());
    let mut places = Vec::with_capacity(devices.len());
    for device in devices {
        let place = *seen.entry((device.app_id.clone(), device.pushkey.clone())).or_insert(tasks.len());
        places.push(place);
        if place == tasks.len() {
            let delivery = device::deliver(state.clone(), notification.clone(), device, deadline);
            tasks.push(state.runtime.spawn(delivery.in_current_span()));
        }
    }
    let mut verdicts = Vec::with_capacity(tasks.len());
    for task in tasks {
        let verdict = match tokio::time::timeout_at(deadline.into(), task).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(error)) => {
                tracing::error!(%error, "a delivery ended before its time");
                Err(Trouble::upstream(None))
            }
            // It goes on by itself, and the homeserver's retry finds its result in the memory.
            Err(_) => Err(Trouble::upstream(None)),
        };
        verdicts.push(verdict);
    }
    places.into_iter().map(|place| verdicts[place].clone()).collect()
}
