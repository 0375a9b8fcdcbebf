//! Brings each device of a request to its push service, and gathers what came of it.
//!
//! Invariant: one attempt a device, all of them concurrently; none is cancelled when the homeserver hangs up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::apps::Unserved;
use crate::config::rules::UnknownApp;
use crate::error::{Owed, OwedStatus};
use crate::notification::{Device, Notification};
use crate::provider::{Delivery, Outcome, Provider, ProviderError};
use crate::state::State;

/// How a device ended.
enum Ended {
    Done,
    Rejected,
    Owed(Option<Duration>),
}

/// Delivers `notification` to all `devices`; the pushkeys that are dead, in the order of the devices, each once.
///
/// # Errors
/// [`Owed`] if any device is not done with.
pub async fn dispatch(
    state: &Arc<State>,
    notification: Arc<Notification>,
    devices: Vec<Device>,
    _client: IpAddr,
) -> Result<Vec<String>, Owed> {
    let deadline = Instant::now() + state.config.limits.request_deadline.get();
    let each = devices.into_iter().map(|device| {
        let (state, notification) = (Arc::clone(state), Arc::clone(&notification));
        let runtime = state.runtime.clone();
        runtime.spawn(async move {
            let ended = deliver(&state, &notification, &device, deadline).await;
            (device.pushkey, ended)
        })
    });
    let mut rejected = Vec::new();
    let mut owed: Option<Option<Duration>> = None;
    for ended in join_all(each).await {
        match ended {
            Ok((_, Ended::Done)) => {}
            Ok((pushkey, Ended::Rejected)) if rejected.contains(&pushkey) => {}
            Ok((pushkey, Ended::Rejected)) => rejected.push(pushkey),
            Ok((_, Ended::Owed(wait))) => owed = Some(owed.flatten().max(wait)),
            Err(_) => owed = Some(owed.flatten()),
        }
    }
    match owed {
        Some(retry_after) => Err(Owed { status: OwedStatus::Upstream, retry_after }),
        None => Ok(rejected),
    }
}

async fn deliver(state: &State, notification: &Notification, device: &Device, deadline: Instant) -> Ended {
    let app = match state.apps.serving(device) {
        Ok(app) => app,
        Err(Unserved::UnknownApp) if state.config.routing.unknown_app == UnknownApp::Error => return Ended::Owed(None),
        Err(Unserved::UnknownApp | Unserved::InvalidPushkey) => return Ended::Rejected,
    };
    let delivery = Delivery { notification, device, id: state.random.bytes(), deadline };
    match app.provider.deliver(&delivery).await {
        Ok(Outcome::Delivered | Outcome::Dropped(_)) => Ended::Done,
        Ok(Outcome::Rejected(_)) => Ended::Rejected,
        Err(ProviderError::Temporary { retry_after, .. }) => Ended::Owed(retry_after),
        Err(ProviderError::Permanent { reason, detail }) => {
            tracing::error!(app = app.pattern, reason, detail, "the configuration of this app is wrong");
            Ended::Owed(None)
        }
    }
}
