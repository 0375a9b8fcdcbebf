//! The right to one stream, and what the outcome of its push says about the connection.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use h2::client::SendRequest;

use super::super::connection::Connection;
use super::Pool;

/// The right to one stream; dropping it frees the stream.
pub(in super::super) struct Ticket {
    pool: Arc<Pool>,
    /// `None` once the stream is released.
    connection: Option<Arc<Connection>>,
    began: Instant,
    /// Whether APNs answered, or certainly did not process the push.
    answered: AtomicBool,
}

impl Ticket {
    pub(super) fn new(pool: Arc<Pool>, connection: Arc<Connection>) -> Self {
        Self { pool, connection: Some(connection), began: Instant::now(), answered: false.into() }
    }

    /// Releases the stream without a word to the pool, whose lock the caller holds.
    pub(super) fn take(&mut self) -> Option<Arc<Connection>> {
        self.connection.take()
    }

    /// Starts the stream; `None` if the connection gets no new streams any more.
    pub(in super::super) fn sender(&self) -> Option<SendRequest<Bytes>> {
        self.connection.as_ref()?.sender()
    }

    /// Records an answer.
    pub(in super::super) fn answered(&self, status: u16) {
        self.answered.store(true, Relaxed);
        let Some(connection) = &self.connection else { return };
        connection.received();
        if status == 200 {
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

    /// Records that APNs ended the connection with a GOAWAY.
    pub(in super::super) fn going_away(&self, error: &h2::Error) {
        self.pool.report.goaway(error);
    }

    /// Records that APNs reset the stream. If it certainly did not process the push, the connection is not at fault.
    pub(in super::super) fn reset(&self, is_processed: bool) {
        if let Some(connection) = &self.connection {
            connection.received();
        }
        self.answered.store(!is_processed, Relaxed);
    }

    /// Starts no new streams on its connection.
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
        let mut state = self.pool.state.lock();
        connection.in_flight.fetch_sub(1, Relaxed);
        self.pool.serve_waiting(&mut state);
    }
}
