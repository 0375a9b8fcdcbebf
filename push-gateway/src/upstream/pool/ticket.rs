//! The right to one stream, and what the outcome of its push says about the connection.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1;

use super::super::connection::{Connection, Sender};
use super::Pool;

/// The right to one request at a time; dropping it gives it to the next one.
pub(in super::super) struct Ticket {
    pool: Arc<Pool>,
    /// `None` once it is released.
    connection: Option<Arc<Connection>>,
    began: Instant,
    /// Whether the server responded, or certainly did not process the request.
    answered: AtomicBool,
}

impl Ticket {
    pub(super) fn new(pool: Arc<Pool>, connection: Arc<Connection>) -> Self {
        Self { pool, connection: Some(connection), began: Instant::now(), answered: false.into() }
    }

    /// Releases the right without a change of the pool, whose lock the caller holds.
    pub(super) fn take(&mut self) -> Option<Arc<Connection>> {
        self.connection.take()
    }

    /// Starts the request; `None` if the connection gets no new ones any more.
    pub(in super::super) fn sender(&self) -> Option<Sender> {
        self.connection.as_ref()?.sender()
    }

    /// Records a response.
    pub(in super::super) fn answered(&self, status: u16) {
        self.answered.store(true, Relaxed);
        let Some(connection) = &self.connection else { return };
        connection.received();
        if (200..300).contains(&status) {
            connection.proven.store(true, Relaxed);
        }
        if !connection.answered.swap(true, Relaxed) {
            let mut state = self.pool.state.lock();
            (state.consecutive_failures, state.not_before) = (0, None);
        }
        if status >= 500 {
            self.pool.failed(connection, false);
        } else {
            connection.failures.store(0, Relaxed);
        }
    }

    /// Records that the server ended the connection with a GOAWAY.
    pub(in super::super) fn going_away(&self, error: &h2::Error) {
        self.pool.report.going_away(error);
    }

    /// Records that the server reset the stream. If it certainly did not process the request, the connection is not at fault.
    pub(in super::super) fn reset(&self, is_processed: bool) {
        if let Some(connection) = &self.connection {
            connection.received();
        }
        self.answered.store(!is_processed, Relaxed);
    }

    /// Records that the connection was closed before anything of the request was written.
    pub(in super::super) fn closed_unused(&self) {
        self.answered.store(true, Relaxed);
        self.retire();
    }

    /// Permits the next request on a connection of HTTP/1.1 after a complete response.
    pub(in super::super) fn give_back(&self, sender: http1::SendRequest<Full<Bytes>>) {
        if let Some(connection) = &self.connection {
            connection.give_back(sender);
        }
    }

    /// Starts no new requests on its connection.
    pub(in super::super) fn retire(&self) {
        if let Some(connection) = &self.connection {
            self.pool.retire(connection);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        if !self.answered.load(Relaxed) {
            connection.suspect();
            self.pool.failed(&connection, connection.is_silent_since(self.began));
        }
        if connection.is_used_up() {
            self.pool.retire(&connection);
        }
        let mut state = self.pool.state.lock();
        connection.in_flight.fetch_sub(1, Relaxed);
        self.pool.serve_waiting(&mut state);
    }
}
