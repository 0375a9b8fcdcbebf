//! How a pool opens connections, and when it pauses.
//!
//! Invariant: a failed connect is followed by a pause, and a working connection by none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::outbound::failure::Failure;
use shared::outbound::stream::Stream;
use tokio::time::timeout;

use super::super::connection::Connection;
use super::super::no_response::NoResponse;
use super::super::origin::Unreachable;
use super::super::{http1, http2};
use super::{Pool, State, fail_all, unreachable};

/// A new connection.
enum Opened {
    Http2(Box<h2::client::Connection<Stream, Bytes>>),
    Http1(Box<http1::Http1>),
}

impl Pool {
    /// Starts to connect, unless the last failure is too recent.
    pub(super) fn open(self: &Arc<Self>, state: &mut State) -> Result<(), NoResponse> {
        let wait = state.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        if !wait.is_zero() {
            return Err(unreachable(state.last_failure.unwrap_or(Failure::Connect), Some(wait)));
        }
        state.opening += 1;
        tokio::spawn(Arc::clone(self).connect());
        Ok(())
    }

    async fn connect(self: Arc<Self>) {
        let made = timeout(self.timing.connect, self.make()).await;
        let made = made.unwrap_or_else(|late| Err(Unreachable::new(Failure::ConnectTimeout, &late)));
        if let Some((connection, opened)) = self.connected(made) {
            let (timing, owner) = (self.timing, Arc::downgrade(&self));
            drop(self);
            match opened {
                Opened::Http2(http2) => http2::drive(owner, connection, *http2, timing).await,
                Opened::Http1(http1) => http1::drive(owner, connection, *http1, timing).await,
            }
        }
    }

    async fn make(&self) -> Result<(Connection, Opened), Unreachable> {
        let (stream, is_http2) = self.connector.connect().await?;
        if is_http2 {
            let made = http2::begin(stream).await.map_err(|error| Unreachable::new(Failure::Connect, &error))?;
            Ok((made.0, Opened::Http2(Box::new(made.1))))
        } else {
            let made = http1::begin(stream).await.map_err(|error| Unreachable::new(Failure::Connect, &error))?;
            Ok((made.0, Opened::Http1(Box::new(made.1))))
        }
    }

    /// Records the result of a connect.
    fn connected(
        self: &Arc<Self>,
        made: Result<(Connection, Opened), Unreachable>,
    ) -> Option<(Arc<Connection>, Opened)> {
        let mut state = self.state.lock();
        state.opening -= 1;
        match made {
            Ok((connection, opened)) => {
                let connection = Arc::new(connection);
                state.is_http1 = matches!(opened, Opened::Http1(_));
                state.connections.push(Arc::clone(&connection));
                self.open_connections.increment(1);
                self.serve_waiting(&mut state);
                self.open_for_waiting(&mut state);
                Some((connection, opened))
            }
            Err(Unreachable { failure, detail }) => {
                let failures = state.consecutive_failures.max(1).saturating_add(1);
                self.back_off(&mut state, failures, failure);
                self.report.unreachable(failure, &detail);
                if state.connections.is_empty() {
                    fail_all(&mut state, unreachable(failure, None));
                }
                None
            }
        }
    }

    /// The first connection that ends without a response is ignored; from the second failure on there is a pause.
    pub(super) fn back_off(&self, state: &mut State, failures: u32, failure: Failure) {
        state.consecutive_failures = failures;
        state.last_failure = Some(failure);
        let wait = self.timing.backoff.after(failures.saturating_sub(1));
        state.not_before = (!wait.is_zero()).then(|| Instant::now() + wait);
    }
}
