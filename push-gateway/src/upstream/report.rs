//! What a client reports about its connections.

use std::fmt::Display;

use shared::outbound::failure::Failure;

/// Receives the events of a client's connections, for the operator's log. No text is escaped yet.
pub(crate) trait Report: Send + Sync + 'static {
    /// An attempt to connect failed.
    fn unreachable(&self, failure: Failure, detail: &dyn Display);

    /// The server closes connections without a response. With TLS 1.3 it refuses a certificate after the client considers
    /// the connection open.
    fn refused(&self);

    /// The server shuts a connection down. A routine GOAWAY says nothing in its debug data.
    fn going_away(&self, error: &dyn Display);

    /// The client left a connection.
    fn retired(&self, reason: &'static str);

    /// A connection ended with an error.
    fn closed(&self, reason: &dyn Display);
}

/// For servers that users choose: their failures concern no operator.
pub(super) struct Quiet;

impl Report for Quiet {
    fn unreachable(&self, failure: Failure, _: &dyn Display) {
        tracing::debug!(reason = failure.label(), "cannot connect to a push server");
    }

    fn refused(&self) {
        tracing::debug!("a push server closes connections without a response");
    }

    fn going_away(&self, _: &dyn Display) {}

    fn retired(&self, reason: &'static str) {
        tracing::debug!(reason, "connection to a push server retired");
    }

    fn closed(&self, _: &dyn Display) {}
}
