//! Logs and metrics of a process, set up once at start.
//!
//! Invariant: at every level only our own crates log more than warnings. HTTP, mail and database libraries log URLs,
//! headers and parameters at lower levels, and those contain tokens and addresses.

mod log_buffer;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use serde::Deserialize;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as format};

use self::log_buffer::LogBuffer;

/// The section `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The level.
    #[serde(deserialize_with = "crate::config::word")]
    pub level: Level,
    /// The format.
    #[serde(deserialize_with = "crate::config::word")]
    pub format: Format,
}

/// The level of detail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Problems that an operator must solve.
    Error,
    /// Problems that an operator should know.
    Warn,
    /// One line for each request.
    #[default]
    Info,
    /// The decision of each step.
    Debug,
    /// Everything.
    Trace,
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A readable line.
    #[default]
    Text,
    /// A JSON object.
    Json,
}

impl Log {
    /// Prints the lines of the startup banner: as they are, or as log lines if the log is JSON.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn announce(&self, lines: &[String]) -> io::Result<()> {
        match self.format {
            Format::Json => lines.iter().for_each(|line| tracing::info!("{line}")),
            Format::Text => {
                let mut out = io::stdout().lock();
                lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
                out.flush()?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Writes the last lines of the log when it is dropped.
#[must_use = "without it the last lines may be lost"]
pub struct LogEnd(LogBuffer);

impl Drop for LogEnd {
    fn drop(&mut self) {
        self.0.flush();
    }
}

/// Sends the process's log to standard error until the end of the process. `crates` may log more than warnings.
///
/// A second call has no effect.
pub fn log(settings: Log, crates: &[&'static str]) -> LogEnd {
    let level = tracing::Level::from(settings.level);
    let others = level.min(tracing::Level::WARN);
    let filter = Targets::new()
        .with_default(others)
        // Logs an error for every malformed request, which clients can send in any number.
        .with_target("actix_http", tracing::level_filters::LevelFilter::OFF)
        .with_targets(crates.iter().map(|name| (*name, level)));
    let report_lost = |lines| tracing::warn!(lines, "log lines were lost: the reader of standard error was too slow");
    let buffer = LogBuffer::start(io::stderr(), report_lost);
    let lines = format::layer().with_writer(buffer.clone()).with_span_events(FmtSpan::NONE);
    let lines = match settings.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    // Only a test that starts two servers in one process finds a log that is already set up.
    // One filter for all layers: a filter per layer is evaluated again at each entrance to a span.
    let _ = tracing_subscriber::registry().with(filter).with(AcceptErrors).with(lines).try_init();
    LogEnd(buffer)
}

/// The target of errors of listening sockets.
const ACCEPT: &str = "actix_server::accept";

/// Whether the process stops.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

/// From here on the log has no errors of listening sockets: the stopping server has shut them down.
pub(crate) fn expect_accept_errors() {
    IS_STOPPING.store(true, Ordering::Relaxed);
}

/// Leaves out errors of listening sockets while the process stops.
struct AcceptErrors;

impl<S: Subscriber> Layer<S> for AcceptErrors {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Only for this target the answer may change.
        if metadata.target() == ACCEPT { Interest::sometimes() } else { Interest::always() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target() != ACCEPT || !IS_STOPPING.load(Ordering::Relaxed)
    }
}

/// The values of the `metrics` macros.
#[derive(Clone)]
pub struct Recorder(PrometheusHandle);

impl Recorder {
    /// All metrics in Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

/// The interval at which measured values are aggregated into histograms. Until then each value is kept, which takes
/// megabytes under load.
const UPKEEP: Duration = Duration::from_secs(1);

/// The upper bounds of the histograms' buckets in seconds.
const BUCKETS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Why metrics cannot be set up.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot set up the metrics: {0}")]
pub struct MetricsError(String);

/// Installs the recorder of the `metrics` macros and aggregates its values regularly. Must be called
/// on a Tokio runtime.
///
/// # Errors
/// If a recorder is already installed.
pub fn metrics() -> Result<Recorder, MetricsError> {
    metrics_through(|recorder| recorder)
}

/// Like [`metrics()`], with a wrapper around the recorder.
///
/// # Errors
/// Those of [`metrics()`].
pub fn metrics_through<R>(wrap: impl FnOnce(PrometheusRecorder) -> R) -> Result<Recorder, MetricsError>
where
    R: metrics::Recorder + Sync + 'static,
{
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(|error| MetricsError(error.to_string()))?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(wrap(recorder)).map_err(|error| MetricsError(error.to_string()))?;
    let kept = handle.clone();
    tokio::spawn(async move {
        let mut turns = tokio::time::interval(UPKEEP);
        loop {
            turns.tick().await;
            kept.run_upkeep();
        }
    });
    Ok(Recorder(handle))
}
