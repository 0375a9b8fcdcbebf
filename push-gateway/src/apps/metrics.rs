//! What is measured of an app. Each series is looked up by its name and labels when it is first needed, and not again
//! with every delivery: that took a tenth of a delivery's time.
//!
//! Invariant: labels come from the configuration and from closed sets, never from a request.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

/// The measures of one app.
pub(crate) struct Measures {
    app: String,
    type_name: &'static str,
    queue_seconds: OnceLock<Histogram>,
    in_flight: OnceLock<Gauge>,
    waiting: OnceLock<Gauge>,
    delivered: OnceLock<Counter>,
    answered: OnceLock<Counter>,
}

/// A gauge that is higher by one as long as this lives.
pub(crate) struct Raised<'a>(&'a Gauge);

impl Measures {
    /// Of the app with this pattern and type.
    pub(super) fn new(app: &str, type_name: &'static str) -> Self {
        Self {
            app: app.to_owned(),
            type_name,
            queue_seconds: OnceLock::new(),
            in_flight: OnceLock::new(),
            waiting: OnceLock::new(),
            delivered: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    /// One more delivery has come to this end.
    pub(crate) fn count_delivery(&self, outcome: &'static str, reason: &'static str) {
        let counter = || delivery_counter(&self.app, self.type_name, outcome, reason);
        match (outcome, reason) {
            ("delivered", "") => self.delivered.get_or_init(counter).increment(1),
            _ => counter().increment(1),
        }
    }

    /// One more attempt has had this result.
    pub(crate) fn count_attempt(&self, result: &'static str) {
        let counter = || metrics::counter!("push_attempts_total", "app" => self.app.clone(), "result" => result);
        match result {
            "answered" => self.answered.get_or_init(counter).increment(1),
            _ => counter().increment(1),
        }
    }

    /// A delivery has waited so long for its turn.
    pub(crate) fn queued_for(&self, wait: Duration) {
        let histogram = || metrics::histogram!("push_queue_seconds", "app" => self.app.clone());
        self.queue_seconds.get_or_init(histogram).record(wait);
    }

    /// A delivery is waiting for its turn.
    pub(crate) fn waiting(&self) -> Raised<'_> {
        Raised::new(self.waiting.get_or_init(|| metrics::gauge!("push_waiting", "app" => self.app.clone())))
    }

    /// A delivery is on its way.
    pub(crate) fn in_flight(&self) -> Raised<'_> {
        Raised::new(self.in_flight.get_or_init(|| metrics::gauge!("push_in_flight", "app" => self.app.clone())))
    }
}

/// The counter of deliveries that came to this end, for an app of this pattern and type.
pub(crate) fn delivery_counter(
    app: &str,
    type_name: &'static str,
    outcome: &'static str,
    reason: &'static str,
) -> Counter {
    metrics::counter!(
        "push_deliveries_total",
        "app" => app.to_owned(), "type" => type_name, "outcome" => outcome, "reason" => reason
    )
}

impl<'a> Raised<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
