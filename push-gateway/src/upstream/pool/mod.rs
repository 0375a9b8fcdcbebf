//! The connections of a client, and the queue for their streams.
//!
//! Invariant: no request waits while a stream is free, and waiting requests are served in order. No lock is held across an
//! await. A connection of HTTP/1.1 has one stream.

mod opening;
mod ticket;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use metrics::Gauge;
use parking_lot::Mutex;
use shared::outbound::failure::Failure;
use tokio::sync::oneshot;

pub(super) use self::ticket::Ticket;
use super::connection::{Connection, Owner};
use super::no_response::NoResponse;
use super::options::{Options, Timing};
use super::origin::{Origin, OriginConnector};
use super::report::Report;

/// So many failures in a row retire a connection: a new one may lead to a server that works.
const FAILURES: usize = 2;

/// All connections to one origin.
pub(super) struct Pool {
    report: Arc<dyn Report>,
    connector: OriginConnector,
    max_connections: usize,
    max_http1_connections: usize,
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
    waiting: VecDeque<oneshot::Sender<Result<Ticket, NoResponse>>>,
    /// Failed connects, and connections without a response, since the last response.
    consecutive_failures: u32,
    not_before: Option<Instant>,
    /// Why the last one failed.
    last_failure: Option<Failure>,
    /// Whether the last connection speaks HTTP/1.1, where each request in flight needs a connection.
    is_http1: bool,
}

impl Pool {
    pub(super) fn new(
        report: Arc<dyn Report>,
        open_connections: Gauge,
        connector: OriginConnector,
        options: &Options,
    ) -> Arc<Self> {
        Arc::new(Self {
            open_connections,
            report,
            connector,
            max_connections: options.max_connections.max(1),
            max_http1_connections: options.max_http1_connections.max(1),
            timing: options.timing,
            state: Mutex::default(),
        })
    }

    pub(super) fn origin(&self) -> &Origin {
        self.connector.origin()
    }

    /// Connects if there is no connection.
    pub(super) fn warm_up(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.connections.is_empty() && state.opening == 0 {
            // During a backoff the next request connects.
            let _backing_off = self.open(&mut state);
        }
    }

    /// Waits for a free stream.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Ticket, NoResponse> {
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
            self.open_for_waiting(&mut state);
            receiver
        };
        loop {
            tokio::select! {
                result = &mut ticket => return result.unwrap_or(Err(unreachable(Failure::Connect, None))),
                () = tokio::time::sleep(self.timing.grow_after) => self.grow(),
            }
        }
    }

    /// Starts no new requests on this connection.
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

    /// Opens another connection if requests wait although every connection has proven that it works. Over HTTP/1.1 one that
    /// hangs proves nothing, and must not stop the other requests.
    fn grow(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let all_proven = || state.connections.iter().all(|connection| connection.proven.load(Relaxed));
        let is_wanted = state.waiting.iter().any(|waiting| !waiting.is_closed());
        let is_due =
            if state.is_http1 { state.opening < state.waiting.len() } else { state.opening == 0 && all_proven() };
        if is_wanted && is_due && self.has_room(&state) {
            match self.open(&mut state) {
                // The connections that there are serve the waiting requests.
                Err(_) if state.is_http1 && !state.connections.is_empty() => {}
                Err(failure) => fail_all(&mut state, failure),
                Ok(()) => {}
            }
        }
    }

    /// Over HTTP/1.1, opens a connection for each waiting request; only requests that wait for longer open more than
    /// `max_connections`.
    fn open_for_waiting(self: &Arc<Self>, state: &mut State) {
        let has_room = |state: &State| state.connections.len() + state.opening < self.max_connections;
        while state.is_http1 && state.opening < state.waiting.len() && has_room(state) && self.open(state).is_ok() {}
    }

    fn has_room(&self, state: &State) -> bool {
        let limit = if state.is_http1 { self.max_http1_connections } else { self.max_connections };
        state.connections.len() + state.opening < limit
    }

    fn open_or_fail(self: &Arc<Self>, state: &mut State) {
        if let Err(failure) = self.open(state) {
            fail_all(state, failure);
        }
    }

    /// Hands free streams to the waiting requests.
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

    /// Records a request without a response below 500, and retires a connection that seems to be broken.
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
            // No pause before the next connection: while every one fails, the circuit breaker stops the requests.
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

    fn idle(self: &Arc<Self>, connection: &Arc<Connection>) {
        self.retire(connection);
    }

    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, reason: Option<&dyn Display>) {
        reason.into_iter().for_each(|reason| self.report.closed(reason));
        if !connection.answered.load(Relaxed) && !connection.retired.load(Relaxed) {
            let mut state = self.state.lock();
            let failures = state.consecutive_failures.saturating_add(1);
            self.back_off(&mut state, failures, Failure::Other);
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

fn unreachable(failure: Failure, retry_after: Option<Duration>) -> NoResponse {
    NoResponse::Unreachable { failure, retry_after }
}

fn fail_all(state: &mut State, failure: NoResponse) {
    for waiting in state.waiting.drain(..) {
        // Fails for a request that no longer waits; an error holds no stream.
        let _ = waiting.send(Err(failure));
    }
}
