//! The connections of a client, and the queue for their streams.
//!
//! Invariant: no push waits while a stream is free, and waiting pushes are served in order. No lock is held across an await.

mod ticket;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use metrics::Gauge;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(super) use self::ticket::Ticket;
use super::Timing;
use super::connect::{EndpointConnector, Unreachable};
use super::connection::{self, Connection, Owner};
use super::report::Report;
use crate::providers::outcome::{Failure, Reason};

/// So many failures in a row retire a connection: a new one may lead to a server that works.
const FAILURES: usize = 2;

/// All connections to one endpoint.
pub(super) struct Pool {
    report: Report,
    connector: EndpointConnector,
    max_connections: usize,
    timing: Timing,
    state: Mutex<State>,
    /// Changed by increments: an app may have several pools, for each environment and after each reload.
    open_connections: Gauge,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    /// Connections in progress.
    opening: usize,
    waiting: VecDeque<oneshot::Sender<Result<Ticket, Failure>>>,
    /// Failed connects, and connections without a response, since the last response.
    consecutive_failures: u32,
    not_before: Option<Instant>,
    /// Why the last one failed.
    last_failure: Option<Reason>,
}

impl Pool {
    pub(super) fn new(
        report: Report,
        app: &str,
        connector: EndpointConnector,
        max_connections: usize,
        timing: Timing,
    ) -> Arc<Self> {
        Arc::new(Self {
            open_connections: metrics::gauge!("push_apns_connections", "app" => app.to_owned()),
            report,
            connector,
            max_connections: max_connections.max(1),
            timing,
            state: Mutex::default(),
        })
    }

    /// Connects if there is no connection.
    pub(super) fn warm_up(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.connections.is_empty() && state.opening == 0 {
            // During a backoff the next push connects.
            let _backing_off = self.open(&mut state);
        }
    }

    /// Waits for a free stream.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Ticket, Failure> {
        let mut ticket = {
            let mut state = self.state.lock();
            if state.waiting.is_empty()
                && let Some(ticket) = self.free_stream(&state)
            {
                return Ok(ticket);
            }
            if state.connections.is_empty() && state.opening == 0 {
                self.open(&mut state)?;
            }
            state.waiting.retain(|waiting| !waiting.is_closed());
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            receiver
        };
        loop {
            tokio::select! {
                result = &mut ticket => return result.unwrap_or(Err(Failure::outage("connect", None))),
                () = tokio::time::sleep(self.timing.grow_after) => self.grow(),
            }
        }
    }

    /// Starts no new streams on this connection.
    fn retire(self: &Arc<Self>, connection: &Arc<Connection>) {
        connection.close();
        let mut state = self.state.lock();
        let before = state.connections.len();
        state.connections.retain(|other| !Arc::ptr_eq(other, connection));
        if state.connections.len() < before {
            self.open_connections.decrement(1);
        }
        if state.connections.is_empty() && state.opening == 0 && !state.waiting.is_empty() {
            self.open_or_fail(&mut state);
        }
    }

    /// Opens another connection if pushes wait although every connection has proven that it works.
    fn grow(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let all_proven = state.connections.iter().all(|connection| connection.proven.load(Relaxed));
        let is_wanted = state.waiting.iter().any(|waiting| !waiting.is_closed());
        if is_wanted && all_proven && state.opening == 0 && state.connections.len() < self.max_connections {
            self.open_or_fail(&mut state);
        }
    }

    fn open_or_fail(self: &Arc<Self>, state: &mut State) {
        if let Err(failure) = self.open(state) {
            fail_all(state, &failure);
        }
    }

    /// Starts to connect, unless the last failure is too recent.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<(), Failure> {
        let wait = state.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        if !wait.is_zero() {
            return Err(Failure::outage(state.last_failure.unwrap_or("connect"), Some(wait)));
        }
        state.opening += 1;
        tokio::spawn(Arc::clone(self).connect());
        Ok(())
    }

    async fn connect(self: Arc<Self>) {
        let made = timeout(self.timing.connect, async {
            let stream = self.connector.connect().await?;
            connection::begin(stream).await.map_err(|error| Unreachable::new("connect", &error))
        });
        let made = made.await.unwrap_or_else(|late| Err(Unreachable::new("connect_timeout", &late)));
        if let Some((connection, http2)) = self.connected(made) {
            let (timing, owner) = (self.timing, Arc::downgrade(&self));
            drop(self);
            connection::drive(owner, connection, http2, timing).await;
        }
    }

    /// Records the result of a connect.
    fn connected<C>(self: &Arc<Self>, made: Result<(Connection, C), Unreachable>) -> Option<(Arc<Connection>, C)> {
        let mut state = self.state.lock();
        state.opening -= 1;
        match made {
            Ok((connection, http2)) => {
                let connection = Arc::new(connection);
                state.connections.push(Arc::clone(&connection));
                self.open_connections.increment(1);
                self.serve_waiting(&mut state);
                Some((connection, http2))
            }
            Err(Unreachable { reason, detail }) => {
                let failures = state.consecutive_failures.max(1).saturating_add(1);
                self.back_off(&mut state, failures, reason);
                self.report.unreachable(reason, &detail);
                if state.connections.is_empty() {
                    fail_all(&mut state, &Failure::outage(reason, None));
                }
                None
            }
        }
    }

    /// The first connection that ends without a response is ignored; from the second failure on there is a pause.
    fn back_off(&self, state: &mut State, failures: u32, reason: Reason) {
        state.consecutive_failures = failures;
        state.last_failure = Some(reason);
        let wait = self.timing.backoff.after(failures.saturating_sub(1));
        state.not_before = (!wait.is_zero()).then(|| Instant::now() + wait);
    }

    /// Hands free streams to the waiting pushes.
    fn serve_waiting(self: &Arc<Self>, state: &mut State) {
        while !state.waiting.is_empty() {
            let Some(ticket) = self.free_stream(state) else { return };
            if let Some(waiting) = state.waiting.pop_front()
                && let Err(Ok(mut unclaimed)) = waiting.send(Ok(ticket))
                && let Some(connection) = unclaimed.take()
            {
                connection.in_flight.fetch_sub(1, Relaxed);
            }
        }
    }

    fn free_stream(self: &Arc<Self>, state: &State) -> Option<Ticket> {
        let is_free =
            |connection: &&Arc<Connection>| connection.in_flight.load(Relaxed) < connection.limit.load(Relaxed);
        let connection = state.connections.iter().find(is_free)?;
        connection.in_flight.fetch_add(1, Relaxed);
        Some(Ticket::new(Arc::clone(self), Arc::clone(connection)))
    }

    /// Records a push without an answer below 500, and retires a connection that seems to be broken.
    fn failed(self: &Arc<Self>, connection: &Arc<Connection>, is_silent: bool) {
        let failures = connection.failures.fetch_add(1, Relaxed) + 1;
        if !is_silent && failures < FAILURES {
            return;
        }
        let is_in_use = self.state.lock().connections.iter().any(|other| Arc::ptr_eq(other, connection));
        if is_in_use {
            let reason = if is_silent { "silence" } else { "consecutive failures" };
            self.report.retired(reason);
            connection.retired.store(true, Relaxed);
            // No pause before the next connection: while every one fails, the circuit breaker stops the pushes.
            self.retire(connection);
        }
    }
}

impl Owner for Pool {
    fn limit_changed(self: &Arc<Self>, connection: &Connection, limit: usize) {
        let mut state = self.state.lock();
        connection.limit.store(limit, Relaxed);
        self.serve_waiting(&mut state);
    }

    fn going_away(self: &Arc<Self>, connection: &Arc<Connection>, reason: &dyn Display) {
        self.report.closed(reason);
        self.retire(connection);
    }

    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, reason: Option<&dyn Display>) {
        reason.into_iter().for_each(|reason| self.report.closed(reason));
        if !connection.answered.load(Relaxed) && !connection.retired.load(Relaxed) {
            let mut state = self.state.lock();
            let failures = state.consecutive_failures.saturating_add(1);
            self.back_off(&mut state, failures, "connection_lost");
            if failures > 1 {
                self.report.refused();
            }
        }
        self.retire(connection);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for connection in &self.state.get_mut().connections {
            connection.close();
            self.open_connections.decrement(1);
        }
    }
}

fn fail_all(state: &mut State, failure: &Failure) {
    for waiting in state.waiting.drain(..) {
        // Fails for a push that no longer waits; an error holds no stream.
        let _ = waiting.send(Err(failure.clone()));
    }
}
