//! The metrics of an app. Each series is looked up by its name and labels once: a lookup for every delivery took a tenth of
//! its time.
//!
//! Invariant: labels come from the configuration and from closed sets, never from a request.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

/// The metrics of one app.
pub(crate) struct AppMetrics {
    app: String,
    queue_seconds: OnceLock<Histogram>,
    in_flight: OnceLock<Gauge>,
    waiting: OnceLock<Gauge>,
    answered: OnceLock<Counter>,
}

/// Raises a gauge by one until it is dropped.
pub(crate) struct RaisedGauge<'a>(&'a Gauge);

impl AppMetrics {
    pub(super) fn new(app: &str) -> Self {
        Self {
            app: app.to_owned(),
            queue_seconds: OnceLock::new(),
            in_flight: OnceLock::new(),
            waiting: OnceLock::new(),
            answered: OnceLock::new(),
        }
    }

    /// Counts an attempt by its result.
    pub(crate) fn count_attempt(&self, result: &'static str) {
        let counter = || metrics::counter!("push_attempts_total", "app" => self.app.clone(), "result" => result);
        match result {
            "answered" => self.answered.get_or_init(counter).increment(1),
            _ => counter().increment(1),
        }
    }

    /// Records how long a delivery waited for a permit.
    pub(crate) fn record_queue_time(&self, wait: Duration) {
        let histogram = || metrics::histogram!("push_queue_seconds", "app" => self.app.clone());
        self.queue_seconds.get_or_init(histogram).record(wait);
    }

    /// Counts a delivery that waits for a permit.
    pub(crate) fn waiting(&self) -> RaisedGauge<'_> {
        RaisedGauge::new(self.waiting.get_or_init(|| metrics::gauge!("push_waiting", "app" => self.app.clone())))
    }

    /// Counts a delivery that holds a permit.
    pub(crate) fn in_flight(&self) -> RaisedGauge<'_> {
        RaisedGauge::new(self.in_flight.get_or_init(|| metrics::gauge!("push_in_flight", "app" => self.app.clone())))
    }
}

/// The counter of deliveries with this outcome, for an app of this pattern and type.
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

impl<'a> RaisedGauge<'a> {
    fn new(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for RaisedGauge<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}
