//! The connections of a transport, and who gets the next free stream.
//!
//! Invariant: as long as a stream is free nobody waits, and who waits is served in the order of coming. No lock is held
//! while anything is waited for.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use metrics::Gauge;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Timing;
use super::connect::{EndpointConnector, NoConnection, Unreachable};
use super::connection::{self, Connection};

/// All connections to one endpoint.
pub(super) struct Pool {
    app: String,
    connector: EndpointConnector,
    max_connections: usize,
    timing: Timing,
    state: Mutex<State>,
    /// Counted up and down: an app may have several pools, one after the other and for each platform.
    connections: Gauge,
}

#[derive(Default)]
struct State {
    connections: Vec<Arc<Connection>>,
    /// Connections that are being made.
    opening: usize,
    waiting: VecDeque<oneshot::Sender<Result<Ticket, NoConnection>>>,
    /// Failures to connect, and connections without any answer, since the last answer.
    consecutive_failures: u32,
    not_before: Option<Instant>,
}

/// The right to one stream. Whoever drops it makes room for another.
pub(super) struct Ticket {
    pool: Arc<Pool>,
    /// `None` when it was handed back.
    connection: Option<Arc<Connection>>,
    answered: std::sync::atomic::AtomicBool,
}

impl Pool {
    pub(super) fn new(app: &str, connector: EndpointConnector, max_connections: usize, timing: Timing) -> Arc<Self> {
        Arc::new(Self {
            connections: metrics::gauge!("push_apns_connections", "app" => app.to_owned()),
            app: app.to_owned(),
            connector,
            max_connections: max_connections.max(1),
            timing,
            state: Mutex::default(),
        })
    }

    /// Connects if there is no connection.
    pub(super) fn warm_up(self: &Arc<Self>) {
        let mut state = self.state();
        if state.connections.is_empty() && state.opening == 0 {
            // In the time of backing off the next push will connect.
            let _backing_off = self.open(&mut state);
        }
    }

    /// A stream, as soon as one is free.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Ticket, NoConnection> {
        let mut mine = {
            let mut state = self.state();
            if state.waiting.is_empty()
                && let Some(ticket) = self.free(&state)
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
                given = &mut mine => {
                    return given.unwrap_or(Err(NoConnection { reason: "connect", retry_after: None }));
                }
                () = tokio::time::sleep(self.timing.grow_after) => self.grow(),
            }
        }
    }

    /// Apple allows this many streams now.
    pub(super) fn set_limit(self: &Arc<Self>, connection: &Connection, limit: usize) {
        let mut state = self.state();
        connection.limit.store(limit, Relaxed);
        self.hand_out(&mut state);
    }

    /// No new streams on this one.
    pub(super) fn retire(self: &Arc<Self>, connection: &Arc<Connection>) {
        connection.close();
        let mut state = self.state();
        let before = state.connections.len();
        state.connections.retain(|other| !Arc::ptr_eq(other, connection));
        if state.connections.len() < before {
            self.connections.decrement(1);
        }
        if state.connections.is_empty() && state.opening == 0 && !state.waiting.is_empty() {
            self.open_or_fail(&mut state);
        }
    }

    /// A connection is no more.
    pub(super) fn ended(self: &Arc<Self>, connection: &Arc<Connection>) {
        if !connection.answered.load(Relaxed) {
            let mut state = self.state();
            let consecutive_failures = state.consecutive_failures.saturating_add(1);
            self.back_off(&mut state, consecutive_failures);
            if consecutive_failures > 1 {
                // With TLS 1.3 a certificate is refused when we take the connection for made.
                tracing::warn!(
                    app = self.app,
                    "APNs ends our connections without an answer: check cert_file, endpoint"
                );
            }
        }
        self.retire(connection);
    }

    pub(super) fn log_end(&self, reason: &dyn Display) {
        tracing::info!(app = self.app, reason = for_log(reason), "an APNs connection ends");
    }

    /// Opens a further connection if somebody waits although every connection has shown that it works.
    fn grow(self: &Arc<Self>) {
        let mut state = self.state();
        let all_proven = state.connections.iter().all(|connection| connection.proven.load(Relaxed));
        let wanted = state.waiting.iter().any(|waiting| !waiting.is_closed());
        if wanted && all_proven && state.opening == 0 && state.connections.len() < self.max_connections {
            self.open_or_fail(&mut state);
        }
    }

    fn open_or_fail(self: &Arc<Self>, state: &mut State) {
        if let Err(no_connection) = self.open(state) {
            self.fail_all(state, no_connection);
        }
    }

    /// Starts to make a connection, unless that was in vain too recently.
    fn open(self: &Arc<Self>, state: &mut State) -> Result<(), NoConnection> {
        let wait = state.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        if !wait.is_zero() {
            return Err(NoConnection { reason: "back_off", retry_after: Some(wait) });
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
        if let Some((connection, http2)) = self.made(made) {
            let (timing, pool) = (self.timing, Arc::downgrade(&self));
            drop(self);
            connection::drive(pool, connection, http2, timing).await;
        }
    }

    /// Takes note of how an attempt to connect went.
    fn made<C>(self: &Arc<Self>, made: Result<(Connection, C), Unreachable>) -> Option<(Arc<Connection>, C)> {
        let mut state = self.state();
        state.opening -= 1;
        match made {
            Ok((connection, http2)) => {
                let connection = Arc::new(connection);
                state.connections.push(Arc::clone(&connection));
                self.connections.increment(1);
                self.hand_out(&mut state);
                Some((connection, http2))
            }
            Err(Unreachable { reason, detail }) => {
                let consecutive_failures = state.consecutive_failures.max(1).saturating_add(1);
                self.back_off(&mut state, consecutive_failures);
                tracing::warn!(app = self.app, reason, detail = for_log(&detail), "cannot connect to APNs");
                if state.connections.is_empty() {
                    self.fail_all(&mut state, NoConnection { reason, retry_after: None });
                }
                None
            }
        }
    }

    /// The first connection that ends without an answer may be an accident; from the next one on there is a pause.
    fn back_off(&self, state: &mut State, consecutive_failures: u32) {
        state.consecutive_failures = consecutive_failures;
        let wait = self.timing.backoff.after(consecutive_failures.saturating_sub(1));
        state.not_before = (!wait.is_zero()).then(|| Instant::now() + wait);
    }

    fn fail_all(&self, state: &mut State, no_connection: NoConnection) {
        for waiting in state.waiting.drain(..) {
            // Who is no longer there needs no answer, and an error holds nothing.
            let _gone = waiting.send(Err(no_connection));
        }
    }

    /// Gives what is free to those who wait.
    fn hand_out(self: &Arc<Self>, state: &mut State) {
        while !state.waiting.is_empty() {
            let Some(ticket) = self.free(state) else { return };
            if let Some(waiting) = state.waiting.pop_front()
                && let Err(Ok(mut unclaimed)) = waiting.send(Ok(ticket))
                && let Some(connection) = unclaimed.connection.take()
            {
                connection.in_flight.fetch_sub(1, Relaxed);
            }
        }
    }

    fn free(self: &Arc<Self>, state: &State) -> Option<Ticket> {
        let connection = state
            .connections
            .iter()
            .find(|connection| connection.in_flight.load(Relaxed) < connection.limit.load(Relaxed))?;
        connection.in_flight.fetch_add(1, Relaxed);
        Some(Ticket { pool: Arc::clone(self), connection: Some(Arc::clone(connection)), answered: false.into() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for connection in &self.state().connections {
            connection.close();
            self.connections.decrement(1);
        }
    }
}

impl Ticket {
    /// What starts the stream; `None` if the connection takes no more since.
    pub(super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.connection.as_ref()?.sender()
    }

    /// An answer came.
    pub(super) fn answered(&self, status: u16) {
        self.answered.store(true, Relaxed);
        let Some(connection) = &self.connection else { return };
        connection.hear();
        if status == 200 {
            connection.proven.store(true, Relaxed);
        }
        if !connection.answered.swap(true, Relaxed) {
            let mut state = self.pool.state();
            (state.consecutive_failures, state.not_before) = (0, None);
        }
    }

    /// No new streams on its connection.
    pub(super) fn retire(&self) {
        if let Some(connection) = &self.connection {
            self.pool.retire(connection);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.answered.load(Relaxed) {
            connection.doubt();
        }
        let mut state = self.pool.state();
        connection.in_flight.fetch_sub(1, Relaxed);
        self.pool.hand_out(&mut state);
    }
}

fn for_log(text: &dyn Display) -> String {
    text.to_string().chars().filter(|letter| !letter.is_control()).take(200).collect()
}
