//! Homeservers are told of new associations, until they have taken the invitations that waited for the address.
//!
//! Invariant: one worker at a time tells of an association, also with several processes on one database, and no
//! homeserver keeps news from another one by being slow.

mod delivery;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use shared::http::observe::InFlight;
use tokio::task::{Id, JoinSet};

use self::delivery::{deliver, lease};
use crate::error::Error;
use crate::state::State;
use crate::store::onbinds::delivery::{LeasedOnbind, Turn, take_due};

/// How often the outbox is looked at when nobody rings and nothing is due: another process or the operator may have left something.
const ROUND: Duration = Duration::from_secs(5);
/// Deliveries at once; each is a connection that waits, and no more.
const MOST: usize = 64;
/// Deliveries at once to one homeserver, so that a few that hang leave room for the others.
const MOST_FOR_ONE: usize = 4;

/// Works on the outbox until the process is told to stop, which waits for the requests that are open.
pub async fn run(state: Arc<State>) {
    // The counter is there before the first is lost.
    metrics::counter!("identity_outbox_dead_total").absolute(0);
    let mut workers = Workers::default();
    while let Some(pause) = workers.start_due(&state).await {
        tokio::select! {
            () = state.onbind_queued.notified() => {}
            () = workers.one_has_ended() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    while !workers.tasks.is_empty() {
        workers.one_has_ended().await;
    }
}

/// The deliveries that are going on, and to which homeserver each.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<()>,
    servers: HashMap<Id, String>,
}

impl Workers {
    /// Begins what is due, as far as there is room; gives how long there will be nothing more to begin, or `None` if the
    /// process is to stop.
    async fn start_due(&mut self, state: &Arc<State>) -> Option<Duration> {
        while self.tasks.len() < MOST {
            let in_flight = InFlight::enter(&state.activity);
            if state.activity.is_draining() {
                return None;
            }
            match self.take(state).await {
                Ok(Turn::Now(onbind)) => self.start(state.clone(), *onbind, in_flight),
                Ok(Turn::At(time)) => return Some(time.since(state.clock.now()).min(ROUND)),
                Ok(Turn::Never) => return Some(ROUND),
                Err(error) => {
                    tracing::error!(%error, "the outbox could not be worked on");
                    return Some(ROUND);
                }
            }
        }
        Some(ROUND)
    }

    async fn take(&self, state: &State) -> Result<Turn, Error> {
        let now = state.clock.now();
        let (lease, busy) = (lease(state, now), self.busy());
        Ok(state.store.write(async move |conn| take_due(conn, now, lease, &busy).await).await?)
    }

    fn start(&mut self, state: Arc<State>, onbind: LeasedOnbind, in_flight: InFlight) {
        let server = onbind.association.mxid.server_name().as_str().to_owned();
        let task = self.tasks.spawn(async move {
            deliver(&state, onbind).await;
            drop(in_flight);
        });
        self.servers.insert(task.id(), server);
    }

    /// The servers that are not to be asked anything more for now.
    fn busy(&self) -> Vec<String> {
        let mut numbers = HashMap::<&String, usize>::new();
        for server in self.servers.values() {
            *numbers.entry(server).or_default() += 1;
        }
        let busy = numbers.into_iter().filter(|(_, number)| *number >= MOST_FOR_ONE);
        busy.map(|(server, _)| server.clone()).collect()
    }

    /// Waits for the end of one; for ever if there is none.
    async fn one_has_ended(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                // Its lease runs out.
                tracing::error!(%error, "a delivery ended before its time");
                error.id()
            }
            None => return std::future::pending().await,
        };
        self.servers.remove(&ended);
    }
}
