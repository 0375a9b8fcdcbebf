//! The metrics of an app's requests to its push service.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use metrics::{Counter, Histogram};

use super::outcome::Reason;
use crate::upstream::no_response::NoResponse;
use crate::upstream::response::UpstreamResponse;

/// The metrics of one app.
pub(crate) struct UpstreamMetrics {
    app: Arc<str>,
    type_name: &'static str,
    seconds: OnceLock<Histogram>,
    /// Looked up once: nearly every response is a 200.
    accepted: OnceLock<Counter>,
}

impl UpstreamMetrics {
    pub(crate) fn new(app: &Arc<str>, type_name: &'static str) -> Self {
        Self { app: Arc::clone(app), type_name, seconds: OnceLock::new(), accepted: OnceLock::new() }
    }

    /// Records a request that began at `started`.
    pub(crate) fn record(&self, started: Instant, answer: &Result<UpstreamResponse, NoResponse>) {
        let app = || Arc::clone(&self.app);
        let seconds = || metrics::histogram!("push_upstream_seconds", "app" => app(), "type" => self.type_name);
        self.seconds.get_or_init(seconds).record(started.elapsed());
        let counter = |code: String| metrics::counter!("push_upstream_status_total", "app" => app(), "code" => code);
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.accepted.get_or_init(|| counter(String::from("200"))).increment(1);
            }
            Ok(answer) => counter(answer.status.to_string()).increment(1),
            Err(missing) => counter(network_reason(*missing).to_owned()).increment(1),
        }
    }
}

/// The reason of a failure without a response.
pub(crate) fn network_reason(missing: NoResponse) -> Reason {
    match missing.reason() {
        "connect_timeout" => "timeout",
        "dns" | "blocked" => "connect",
        "not_processed" => "connection_lost",
        reason => reason,
    }
}
