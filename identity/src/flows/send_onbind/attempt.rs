//! One attempt to deliver an onbind notification: its requests, and the invitations that the homeserver accepts.
//!
//! Invariant: accepted invitations are saved before the next request. No database connection and no lock is held during a
//! request, because the homeserver requests this server's keys before it replies.

use std::collections::VecDeque;
use std::time::Duration;

use crate::domain::lease::onbind_lease;
use crate::domain::onbind::{self, Invitation, Method, Next};
use crate::error::Error;
use crate::homeserver;
use crate::queue_worker::Attempt;
use crate::state::State;
use crate::store::ephemeral_keys;
use crate::store::onbinds::outbox::{self, LeasedOnbind};

/// The longest duration of one attempt in request time-outs, before the worker continues with other rows. At least four,
/// to guarantee progress: a batch with both methods, then one invitation with both.
const MAX_REQUEST_TIMEOUTS: u32 = 10;

/// An invitation that the homeserver has rejected.
#[derive(Clone)]
pub(super) struct Rejection {
    pub(super) invite: String,
    pub(super) failure: String,
}

/// The result of one request.
enum RequestResult {
    LeaseLost,
    Delivered,
    /// Send these requests instead.
    Repeat(Vec<(Method, Vec<String>)>),
    /// Permanent, for the invitation that was sent; `None` if the notification had none.
    Rejected {
        invite: Option<String>,
        failure: String,
    },
    Failed {
        failure: String,
        retry_after: Option<Duration>,
        may_continue: bool,
    },
}

/// Sends the requests of one attempt, as far as the homeserver accepts them.
pub(super) async fn attempt(state: &State, onbind: &mut LeasedOnbind) -> Result<(Attempt, Vec<Rejection>), Error> {
    let (id, now) = (onbind.id.clone(), state.clock.now());
    let invites = state.store.read(async move |conn| outbox::list_invites(conn, &id, now).await).await?;
    let mut requests = onbind::requests(&invites, onbind.attempts);
    if requests.is_empty() && (state.config.bind.always_notify || onbind.former.is_some()) {
        requests.push(Vec::new());
    }
    let mut requests: VecDeque<_> = requests.into_iter().map(|invites| (Method::Post, invites)).collect();
    let (mut result, mut rejected) = (Attempt::Delivered, Vec::new());
    let ends_at = now.plus(state.config.federation.timeout.get() * MAX_REQUEST_TIMEOUTS);
    while let Some((method, invites)) = requests.pop_front() {
        if state.activity.is_draining() || state.clock.now() >= ends_at {
            // The backoff of an earlier failure has precedence.
            if matches!(result, Attempt::Delivered) {
                result = Attempt::Paused;
            }
            break;
        }
        match request(state, onbind, method, &invites).await? {
            RequestResult::LeaseLost => return Ok((Attempt::LeaseLost, Vec::new())),
            RequestResult::Delivered => {}
            RequestResult::Repeat(again) => again.into_iter().rev().for_each(|request| requests.push_front(request)),
            RequestResult::Rejected { invite: Some(invite), failure } => rejected.push(Rejection { invite, failure }),
            RequestResult::Rejected { invite: None, failure } => result = Attempt::Rejected { failure },
            RequestResult::Failed { failure, retry_after, may_continue } => {
                result = Attempt::Failed { failure, retry_after };
                if !may_continue {
                    break;
                }
            }
        }
    }
    Ok((result, rejected))
}

/// Sends one request with these invitations, except those that have expired or were revoked, and saves what is accepted.
async fn request(
    state: &State,
    onbind: &mut LeasedOnbind,
    method: Method,
    invites: &[String],
) -> Result<RequestResult, Error> {
    let now = state.clock.now();
    let until = now.plus(onbind_lease(state.config.federation.timeout.get()));
    let (leased, wanted) = (onbind.clone(), invites.to_vec());
    let renewed = state.store.write(async move |conn| outbox::renew_lease(conn, &leased, until, &wanted, now).await);
    let Some(invitations) = renewed.await? else { return Ok(RequestResult::LeaseLost) };
    onbind.leased_until = until;
    if invitations.is_empty() && !invites.is_empty() {
        return Ok(RequestResult::Delivered);
    }
    let keys = state.keys.clone();
    let body = onbind::body(&onbind.association, &invitations, |object| keys.sign(object))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let server = onbind.server();
    let (reply, retry_after) = match homeserver::onbind::notify(&state.homeservers, server, method, body).await {
        Ok(replied) => replied,
        Err(error) => {
            let failure = error.failure.to_string();
            return Ok(RequestResult::Failed { failure, retry_after: None, may_continue: false });
        }
    };
    let invites: Vec<String> = invitations.into_iter().map(|Invitation { id, .. }| id).collect();
    Ok(match reply.next(method, invites.len()) {
        Next::Delivered => {
            tracing::info!(id = onbind.id, %server, invites = invites.len(), "onbind delivered");
            save_delivered(state, onbind, invites).await?;
            RequestResult::Delivered
        }
        Next::RepeatWithPut => RequestResult::Repeat(vec![(Method::Put, invites)]),
        Next::Split => RequestResult::Repeat(invites.into_iter().map(|invite| (method, vec![invite])).collect()),
        Next::Reject => RequestResult::Rejected { invite: invites.into_iter().next(), failure: reply.to_string() },
        Next::Retry => {
            let may_continue = reply.status != 429 && retry_after.is_none();
            RequestResult::Failed { failure: reply.to_string(), retry_after, may_continue }
        }
    })
}

/// Records the accepted invitations; homeservers validate their keys from now on, without an expiry.
async fn save_delivered(state: &State, onbind: &LeasedOnbind, invites: Vec<String>) -> Result<(), Error> {
    let (id, keep, now) = (onbind.id.clone(), state.config.invites.keep_delivered, state.clock.now());
    let saved = state.store.write(async move |conn| {
        let keys = outbox::mark_delivered(conn, &id, &invites, keep, now).await?;
        ephemeral_keys::make_permanent(conn, &keys).await
    });
    Ok(saved.await?)
}
