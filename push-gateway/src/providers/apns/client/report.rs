//! What the log says about the connections of an app: for each cause, at most one line a minute.

use std::fmt::Display;

use shared::clock::Clock;

use crate::providers::log_throttle::{LogThrottle, LogThrottleByCause, escaped};

/// The log of one app's connections.
pub(super) struct Report {
    app: String,
    clock: Clock,
    unreachable: LogThrottleByCause,
    retired: LogThrottleByCause,
    refused: LogThrottle,
    goaway: LogThrottle,
    closed: LogThrottle,
}

impl Report {
    pub(super) fn new(app: &str, clock: Clock) -> Self {
        Self {
            app: app.to_owned(),
            clock,
            unreachable: LogThrottleByCause::default(),
            retired: LogThrottleByCause::default(),
            refused: LogThrottle::default(),
            goaway: LogThrottle::default(),
            closed: LogThrottle::default(),
        }
    }

    pub(super) fn unreachable(&self, reason: &'static str, detail: &dyn Display) {
        if self.unreachable.allow(reason, self.clock.now()) {
            tracing::warn!(app = self.app, reason, detail = text(detail), "cannot connect to APNs");
        }
    }

    /// APNs closes connections without a response. With TLS 1.3 the server refuses a certificate after the client considers
    /// the connection open.
    pub(super) fn refused(&self) {
        if self.refused.allow(self.clock.now()) {
            tracing::warn!(
                app = self.app,
                "APNs closes the gateway's connections without a response: check cert_file, endpoint"
            );
        }
    }

    /// APNs shuts a connection down. A routine GOAWAY says nothing in its debug data.
    pub(super) fn goaway(&self, error: &h2::Error) {
        let reason = text(error);
        if reason.contains("reason") && self.goaway.allow(self.clock.now()) {
            tracing::warn!(app = self.app, reason, "APNs refused a connection (GOAWAY)");
        }
    }

    pub(super) fn retired(&self, reason: &'static str) {
        if self.retired.allow(reason, self.clock.now()) {
            tracing::info!(app = self.app, reason, "APNs connection retired");
        }
    }

    pub(super) fn closed(&self, reason: &dyn Display) {
        if self.closed.allow(self.clock.now()) {
            tracing::info!(app = self.app, reason = text(reason), "APNs connection closed");
        }
    }
}

fn text(text: &dyn Display) -> String {
    escaped(&text.to_string())
}
