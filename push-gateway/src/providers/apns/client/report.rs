//! What the log says about the connections of an app.

use std::fmt::Display;

use shared::clock::Clock;

use crate::providers::log_throttle::{LogThrottle, escaped};

/// The log of one app's connections.
pub(super) struct Report {
    app: String,
    goaway: LogThrottle,
}

impl Report {
    pub(super) fn new(app: &str) -> Self {
        Self { app: app.to_owned(), goaway: LogThrottle::default() }
    }

    pub(super) fn unreachable(&self, reason: &str, detail: &dyn Display) {
        tracing::warn!(app = self.app, reason, detail = text(detail), "cannot connect to APNs");
    }

    /// APNs closes connections without a response. With TLS 1.3 the server refuses a certificate after the client considers
    /// the connection open.
    pub(super) fn refused(&self) {
        tracing::warn!(
            app = self.app,
            "APNs closes the gateway's connections without a response: check cert_file, endpoint"
        );
    }

    /// APNs shuts a connection down. A routine GOAWAY says nothing in its debug data.
    pub(super) fn goaway(&self, error: &h2::Error) {
        let reason = text(error);
        if reason.contains("reason") && self.goaway.allow(Clock::system().now()) {
            tracing::warn!(app = self.app, reason, "APNs refused a connection (GOAWAY)");
        }
    }

    pub(super) fn retired(&self, reason: &'static str) {
        tracing::info!(app = self.app, reason, "APNs connection retired");
    }

    pub(super) fn closed(&self, reason: &dyn Display) {
        tracing::info!(app = self.app, reason = text(reason), "APNs connection closed");
    }
}

fn text(text: &dyn Display) -> String {
    escaped(&text.to_string())
}
