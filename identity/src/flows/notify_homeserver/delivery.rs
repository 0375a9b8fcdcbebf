//! One delivery: the requests that it takes, and what is remembered of them.
//!
//! Invariant: what a homeserver has taken is noted before the next request is made; and while a request is open neither
//! a connection to the database nor a lock is held, for the homeserver asks us for keys before it replies.

use std::collections::VecDeque;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::onbind::{self, Invitation, Method, Next};
use crate::domain::retry::{ONBIND_DICE, onbind_pause};
use crate::error::Error;
use crate::homeserver;
use crate::state::State;
use crate::store::ephemeral_keys;
use crate::store::onbinds::delivery::{self as store, LeasedOnbind};

/// What a lease has beyond the longest request, for the database before and after it.
const LEASE_MARGIN: Duration = Duration::from_secs(10);

/// Until when a request that begins now is surely over.
pub(super) fn lease(state: &State, now: Timestamp) -> Timestamp {
    now.plus(state.config.federation.timeout.get() + LEASE_MARGIN)
}

/// Tells of one association, as far as the homeserver lets us.
pub(super) async fn deliver(state: &State, mut onbind: LeasedOnbind) {
    let round = async {
        let Some(round) = ask_all(state, &mut onbind).await? else { return Ok(()) };
        remember(state, &onbind, round).await
    };
    let finished: Result<(), Error> = round.await;
    if let Err(error) = finished {
        // It stays leased for a while, which is as good as a pause.
        tracing::error!(%error, id = onbind.id, "news for a homeserver could not be worked on");
    }
}

/// What came of the requests of one delivery, besides the invites that the homeserver has taken.
#[derive(Default)]
struct Round {
    /// Invites that the homeserver does not want, each with its word for it.
    refused: Vec<(String, String)>,
    /// Why something is left to be sent, if something is.
    left: Option<Left>,
}

enum Left {
    /// The process is to stop.
    Stopped,
    /// The homeserver may take it later.
    Failed { failure: String, retry_after: Option<Duration> },
    /// The homeserver does not even want the news without invites.
    Refused(String),
}

enum Outcome {
    Ended,
    Delivered,
    AskAgain(Vec<(Method, Vec<String>)>),
    /// The invite that was sent, which need not be the first that was chosen; `None` if there was none.
    Refused(Option<String>, String),
    Failed {
        failure: String,
        retry_after: Option<Duration>,
        may_take_others: bool,
    },
}

/// Makes the requests; `None` if the news have ended or are somebody else's by now.
async fn ask_all(state: &State, onbind: &mut LeasedOnbind) -> Result<Option<Round>, Error> {
    let (id, now) = (onbind.id.clone(), state.clock.now());
    let invites = state.store.read(async move |conn| store::list_invites(conn, &id, now).await).await?;
    let mut requests = onbind::requests(&invites, onbind.attempts);
    if requests.is_empty() && state.config.bind.always_notify {
        requests.push(Vec::new());
    }
    let mut requests: VecDeque<_> = requests.into_iter().map(|invites| (Method::Post, invites)).collect();
    let mut round = Round::default();
    while let Some((method, invites)) = requests.pop_front() {
        if state.activity.is_draining() {
            round.left = Some(Left::Stopped);
            break;
        }
        match ask(state, onbind, method, &invites).await? {
            Outcome::Ended => return Ok(None),
            Outcome::Delivered => {}
            Outcome::AskAgain(again) => again.into_iter().rev().for_each(|request| requests.push_front(request)),
            Outcome::Refused(Some(invite), failure) => round.refused.push((invite, failure)),
            Outcome::Refused(None, failure) => round.left = Some(Left::Refused(failure)),
            Outcome::Failed { failure, retry_after, may_take_others } => {
                round.left = Some(Left::Failed { failure, retry_after });
                if !may_take_others {
                    break;
                }
            }
        }
    }
    Ok(Some(round))
}

/// Makes one request of these invites, or of those that are still to be sent, and remembers what was taken.
async fn ask(state: &State, onbind: &mut LeasedOnbind, method: Method, invites: &[String]) -> Result<Outcome, Error> {
    let now = state.clock.now();
    let until = lease(state, now);
    let (leased, chosen) = (onbind.clone(), invites.to_vec());
    let renewed = state.store.write(async move |conn| store::renew(conn, &leased, until, &chosen, now).await);
    let Some(invitations) = renewed.await? else { return Ok(Outcome::Ended) };
    onbind.leased_until = until;
    if invitations.is_empty() && !invites.is_empty() {
        // Revoked or expired since.
        return Ok(Outcome::Delivered);
    }
    let keys = state.keys.read();
    let body = onbind::body(&onbind.association, &invitations, |object| keys.sign(object))
        .map_err(|error| Error::Internal(error.to_string()))?;
    let server = onbind.association.mxid.server_name();
    let (reply, retry_after) = match homeserver::onbind::notify(&state.homeservers, server, method, body).await {
        Ok(replied) => replied,
        Err(error) => {
            let failure = error.failure.to_string();
            return Ok(Outcome::Failed { failure, retry_after: None, may_take_others: false });
        }
    };
    let invites: Vec<String> = invitations.into_iter().map(|Invitation { id, .. }| id).collect();
    Ok(match reply.next(method, invites.len()) {
        Next::Delivered => {
            tracing::info!(id = onbind.id, %server, invites = invites.len(), "a homeserver was told of an association");
            let (id, keep, now) = (onbind.id.clone(), state.config.invites.keep_delivered, state.clock.now());
            let delivered = state.store.write(async move |conn| {
                let keys = store::deliver(conn, &id, &invites, keep, now).await?;
                ephemeral_keys::keep(conn, &keys).await
            });
            delivered.await?;
            Outcome::Delivered
        }
        Next::AskByPut => Outcome::AskAgain(vec![(Method::Put, invites)]),
        Next::AskOneByOne => Outcome::AskAgain(invites.into_iter().map(|invite| (method, vec![invite])).collect()),
        Next::GiveUp => Outcome::Refused(invites.into_iter().next(), reply.to_string()),
        Next::TryAgain => {
            let may_take_others = reply.status != 429 && retry_after.is_none();
            Outcome::Failed { failure: reply.to_string(), retry_after, may_take_others }
        }
    })
}

/// Ends the news, gives them back for another try, or gives them up.
async fn remember(state: &State, onbind: &LeasedOnbind, round: Round) -> Result<(), Error> {
    let now = state.clock.now();
    let is_old = now.since(onbind.created_at) >= state.config.outbox.max_age.get();
    let attempts = onbind.attempts.saturating_add(1);
    let pause = |retry_after| {
        onbind_pause(state.config.outbox.retry_after.get(), attempts, state.random.below(ONBIND_DICE), retry_after)
    };
    let (end, failure) = match round.left {
        None => (End::Done, None),
        Some(Left::Stopped) => (End::Next { attempts: onbind.attempts, at: now }, None),
        Some(Left::Refused(failure)) => (End::Dead, Some(failure)),
        Some(Left::Failed { failure, .. }) if is_old => (End::Dead, Some(failure)),
        Some(Left::Failed { failure, retry_after }) => {
            (End::Next { attempts, at: now.plus(pause(retry_after)) }, Some(failure))
        }
    };
    let server = onbind.association.mxid.server_name();
    if let Some(failure) = &failure {
        tracing::info!(id = onbind.id, %server, attempts, failure, "a homeserver was told in vain");
    }
    let refused: Vec<_> =
        round.refused.into_iter().map(|(invite, failure)| (invite, state.random.base62(24), failure)).collect();
    let leased = onbind.clone();
    let dead = state.store.write(async move |conn| {
        let mut dead = 0;
        for (invite, dead_id, failure) in &refused {
            dead += u64::from(store::bury_invite(conn, &leased.id, invite, dead_id, now, failure).await?);
        }
        let failure = failure.as_deref();
        match end {
            // What came meanwhile begins anew.
            End::Done => {
                if !store::delete_done(conn, &leased, now).await? {
                    store::save_attempt(conn, &leased, 0, now, None).await?;
                }
            }
            End::Next { attempts, at } => store::save_attempt(conn, &leased, attempts, at, failure).await?,
            End::Dead => {
                if store::bury(conn, &leased, now, failure.unwrap_or_default()).await? {
                    dead += 1;
                } else {
                    // Who binds the address again, or the operator, has set the clock back to zero meanwhile.
                    store::save_attempt(conn, &leased, 0, now, failure).await?;
                }
            }
        }
        Ok(dead)
    });
    let dead = dead.await?;
    if dead > 0 {
        tracing::warn!(id = onbind.id, %server, dead, "news for a homeserver were given up: see `identity outbox list`");
        metrics::counter!("identity_outbox_dead_total").increment(dead);
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum End {
    Done,
    Next { attempts: i32, at: Timestamp },
    Dead,
}
