//! What the log says about an app's connections to its push service: for each cause, at most one line a minute.

use std::fmt::Display;

use shared::clock::Clock;
use shared::outbound::failure::Failure;

use super::log_throttle::{LogThrottle, LogThrottleByCause, escaped};
use crate::upstream::report::Report;

/// The log of one app's connections.
pub(crate) struct ConnectionReport {
    app: String,
    /// Its name, and what to check if it refuses connections.
    push_service: &'static str,
    advice: &'static str,
    clock: Clock,
    unreachable: LogThrottleByCause,
    retired: LogThrottleByCause,
    refused: LogThrottle,
    going_away: LogThrottle,
    closed: LogThrottle,
}

impl ConnectionReport {
    pub(crate) fn new(app: &str, push_service: &'static str, advice: &'static str, clock: Clock) -> Self {
        Self {
            app: app.to_owned(),
            push_service,
            advice,
            clock,
            unreachable: LogThrottleByCause::default(),
            retired: LogThrottleByCause::default(),
            refused: LogThrottle::default(),
            going_away: LogThrottle::default(),
            closed: LogThrottle::default(),
        }
    }
}

impl Report for ConnectionReport {
    fn unreachable(&self, failure: Failure, detail: &dyn Display) {
        let reason = failure.label();
        if self.unreachable.allow(reason, self.clock.now()) {
            tracing::warn!(app = self.app, reason, detail = text(detail), "cannot connect to {}", self.push_service);
        }
    }

    fn refused(&self) {
        if self.refused.allow(self.clock.now()) {
            tracing::warn!(
                app = self.app,
                "{} closes the gateway's connections without a response: check {}",
                self.push_service,
                self.advice
            );
        }
    }

    fn going_away(&self, error: &dyn Display) {
        let reason = text(error);
        if reason.contains("reason") && self.going_away.allow(self.clock.now()) {
            tracing::warn!(app = self.app, reason, "{} refused a connection (GOAWAY)", self.push_service);
        }
    }

    fn retired(&self, reason: &'static str) {
        if self.retired.allow(reason, self.clock.now()) {
            tracing::info!(app = self.app, reason, "{} connection retired", self.push_service);
        }
    }

    fn closed(&self, reason: &dyn Display) {
        if self.closed.allow(self.clock.now()) {
            tracing::info!(app = self.app, reason = text(reason), "{} connection closed", self.push_service);
        }
    }
}

fn text(text: &dyn Display) -> String {
    escaped(&text.to_string())
}
