//! The worker of a durable queue, for mails and onbind notifications alike: waits until a row is due, leases it, makes an
//! attempt, and saves the result. Failed attempts back off. A row that expires or is rejected ends: an onbind
//! notification becomes a dead letter, a mail is deleted.
//!
//! Invariant: a lease gives a row to one worker at a time, across all processes on the database. A shutdown waits for the
//! attempts in flight.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use shared::http::observe::InFlight;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};

use crate::domain::backoff::NextAttempt;
use crate::error::Error;
use crate::state::{CurrentState, State};
use crate::store::{Busy, QueueHead, StoreError};

/// How often the worker polls without a wake-up: another process or the operator may have queued a row.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The part of a queue that is its own.
pub(crate) trait Queue: 'static {
    /// A leased row.
    type Row: Send + 'static;
    /// What an attempt found besides its result.
    type Report: Send;

    /// The name in logs.
    const NAME: &'static str;
    /// Attempts at once.
    const MAX_CONCURRENT: usize;
    /// Attempts at once to one destination, so that a few slow ones do not block the rest.
    const MAX_PER_DESTINATION: usize;
    /// Attempts at once to the destinations of one owner, who may have any number of them.
    const MAX_PER_GROUP: usize;

    /// Notified when this process queues a row.
    fn queued(state: &State) -> &Notify;

    /// How long one attempt may take at most.
    fn lease(state: &State) -> Duration;

    /// Leases the first due row whose destination and group are not `busy`.
    fn take_due(
        state: &State,
        now: Timestamp,
        leased_until: Timestamp,
        busy: Busy,
    ) -> impl Future<Output = Result<QueueHead<Self::Row>, StoreError>> + Send;

    /// Id, destination with its group, failed attempts and expiry of a row.
    fn describe(state: &State, row: &Self::Row) -> Description;

    /// Makes one attempt.
    fn attempt(
        state: &State,
        row: &mut Self::Row,
    ) -> impl Future<Output = Result<(Attempt, Self::Report), Error>> + Send;

    /// The backoff after that number of failed attempts.
    fn backoff(state: &State, attempts: i32, retry_after: Option<Duration>) -> Duration;

    /// Saves the result of an attempt and ends the lease.
    fn save(
        state: &State,
        row: Self::Row,
        end: End,
        report: Self::Report,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What the worker knows of a row.
pub(crate) struct Description {
    pub(crate) id: String,
    pub(crate) destination: String,
    /// The owner of the destination.
    pub(crate) group: String,
    /// Failed attempts so far.
    pub(crate) attempts: i32,
    /// After this time a failure is permanent.
    pub(crate) expires_at: Timestamp,
}

/// The result of one attempt.
pub(crate) enum Attempt {
    /// Everything was accepted.
    Delivered,
    /// The attempt stopped early, for a shutdown or for the benefit of other rows; the rest is due at once.
    Paused,
    /// A temporary failure, with the destination's `Retry-After`.
    Failed { failure: String, retry_after: Option<Duration> },
    /// A permanent failure.
    Rejected { failure: String },
    /// The row was deleted, or another worker has leased it since.
    LeaseLost,
}

/// The state of a row after an attempt.
#[derive(Clone)]
pub(crate) enum End {
    Done,
    Retry { attempts: i32, next: NextAttempt, failure: Option<String> },
    Dead { failure: String },
}

/// Works on the queue until the process is draining, then waits for the attempts in flight.
pub(crate) async fn run<Q: Queue>(current: Arc<CurrentState>) {
    let mut attempts = Attempts::default();
    while let Some(pause) = attempts.start_due::<Q>(&current).await {
        let state = current.load();
        tokio::select! {
            () = Q::queued(&state).notified() => {}
            () = attempts.join_next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
    while !attempts.tasks.is_empty() {
        attempts.join_next().await;
    }
}

/// The attempts in flight, each with its destination and group.
#[derive(Default)]
struct Attempts {
    tasks: JoinSet<()>,
    destinations: HashMap<Id, (String, String)>,
}

impl Attempts {
    /// Starts attempts for due rows up to the concurrency limit. Returns the time until the next start, or `None` if the
    /// process is draining.
    async fn start_due<Q: Queue>(&mut self, current: &CurrentState) -> Option<Duration> {
        while self.tasks.len() < Q::MAX_CONCURRENT {
            let state = current.load();
            let in_flight = InFlight::enter(&state.activity);
            if state.activity.is_draining() {
                return None;
            }
            let now = state.clock.now();
            match Q::take_due(&state, now, now.plus(Q::lease(&state)), self.busy::<Q>()).await {
                Ok(QueueHead::Due(row)) => self.start::<Q>(state, row, in_flight),
                Ok(QueueHead::Later(due_at)) => return Some(due_at.since(state.clock.now()).min(POLL_INTERVAL)),
                Ok(QueueHead::Empty) => return Some(POLL_INTERVAL),
                Err(error) => {
                    error.log(Q::NAME);
                    return Some(POLL_INTERVAL);
                }
            }
        }
        Some(POLL_INTERVAL)
    }

    fn start<Q: Queue>(&mut self, state: Arc<State>, row: Q::Row, in_flight: InFlight) {
        let Description { id, destination, group, .. } = Q::describe(&state, &row);
        let task = self.tasks.spawn(async move {
            if let Err(error) = process::<Q>(&state, row).await {
                // The row is due again when its lease expires, which serves as the backoff.
                tracing::error!(%error, queue = Q::NAME, id, "queued row could not be processed");
            }
            drop(in_flight);
        });
        self.destinations.insert(task.id(), (destination, group));
    }

    /// The destinations and groups that have reached their concurrency limit.
    fn busy<Q: Queue>(&self) -> Busy {
        Busy {
            destinations: at_limit(
                self.destinations.values().map(|(destination, _)| destination),
                Q::MAX_PER_DESTINATION,
            ),
            groups: at_limit(self.destinations.values().map(|(_, group)| group), Q::MAX_PER_GROUP),
        }
    }

    /// Waits until one attempt has ended; forever if none is in flight.
    async fn join_next(&mut self) {
        let ended = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => {
                // The row is due again when its lease expires.
                tracing::error!(%error, "queue attempt panicked");
                error.id()
            }
            None => return std::future::pending().await,
        };
        self.destinations.remove(&ended);
    }
}

/// The names that occur at least `limit` times.
fn at_limit<'a>(names: impl Iterator<Item = &'a String>, limit: usize) -> Vec<String> {
    let mut numbers = HashMap::<&String, usize>::new();
    for name in names {
        *numbers.entry(name).or_default() += 1;
    }
    numbers.into_iter().filter(|(_, number)| *number >= limit).map(|(name, _)| name.clone()).collect()
}

/// Makes one attempt and saves its result.
async fn process<Q: Queue>(state: &State, mut row: Q::Row) -> Result<(), Error> {
    let (attempt, report) = Q::attempt(state, &mut row).await?;
    let now = state.clock.now();
    let Description { id, destination, attempts: before, expires_at, .. } = Q::describe(state, &row);
    let attempts = before.saturating_add(1);
    let end = match attempt {
        Attempt::LeaseLost => return Ok(()),
        Attempt::Delivered => End::Done,
        Attempt::Paused => {
            End::Retry { attempts: before, next: NextAttempt::after(now, Duration::ZERO), failure: None }
        }
        Attempt::Failed { failure, retry_after } if now < expires_at => {
            let backoff = Q::backoff(state, attempts, retry_after);
            let next_retry_in = backoff.as_secs_f64();
            tracing::info!(queue = Q::NAME, id, destination, attempts, failure, next_retry_in, "delivery failed");
            End::Retry { attempts, next: NextAttempt::after(now, backoff), failure: Some(failure) }
        }
        Attempt::Failed { failure, .. } | Attempt::Rejected { failure } => {
            tracing::warn!(queue = Q::NAME, id, destination, attempts, failure, "delivery failed; no retry follows");
            End::Dead { failure }
        }
    };
    Q::save(state, row, end, report).await
}
