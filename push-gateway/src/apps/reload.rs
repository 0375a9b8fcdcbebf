//! Reloads the configuration on SIGHUP, and when it or a file that it names has changed.
//!
//! Invariant: a reload replaces everything or nothing. An unusable configuration is logged, and the gateway continues with
//! the previous one.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::config::ConfigError;
use shared::http::listen::{self, ListenError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::legacy_names::AppTypes;
use super::registry::{AppsError, warm_up};
use super::status::reset_gauges;
use crate::config::Config;
use crate::delivery::state::{Setup, State};

/// How often the files are checked. A change counts when two checks in a row see the same, so that no half-written file is
/// read.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Reloads the configuration.
pub(crate) struct Reload {
    state: Arc<State>,
    types: AppTypes,
    file: Option<PathBuf>,
    /// The configuration at start: some sections apply until the process ends.
    initial: Config,
    hang_up: Signal,
    /// The files that the last configuration names.
    files: Vec<PathBuf>,
    /// Their states before they were read: a write since then is another change.
    states: Vec<FileState>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// The modification time and the length of a file; `None` for a missing file.
type FileState = Option<(Option<SystemTime>, u64)>;

impl Reload {
    /// From here on SIGHUP does not end the process. `file` is the one that `state` was made from.
    ///
    /// # Errors
    /// If the operating system refuses the signal handler.
    pub(crate) fn new(state: Arc<State>, file: Option<PathBuf>, types: AppTypes) -> std::io::Result<Self> {
        let hang_up = signal(SignalKind::hangup())?;
        let initial = state.setup().config.clone();
        let files = initial.watched_files(file.as_deref());
        types.set(app_types(&state.setup()));
        Ok(Self { state, types, file, initial, hang_up, states: Vec::new(), files })
    }

    /// Reloads on each signal and each change; never ends.
    pub(crate) async fn run(mut self) {
        let mut checks = interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut loaded, mut previous) = (self.file_states(), self.file_states());
        loop {
            let reason = tokio::select! {
                hung_up = self.hang_up.recv() => match hung_up {
                    Some(()) => "SIGHUP",
                    None => return,
                },
                _ = checks.tick() => {
                    let now = self.file_states();
                    let (is_changed, is_settled) = (now != loaded, now == previous);
                    previous = now;
                    if !is_changed || !is_settled {
                        continue;
                    }
                    "a file has changed"
                }
            };
            self.states = self.file_states();
            self.reload(reason);
            loaded.clone_from(&self.states);
            previous.clone_from(&loaded);
        }
    }

    fn reload(&mut self, reason: &'static str) {
        match self.try_reload() {
            Ok(changed) => {
                let apps = self.state.setup().config.apps.len();
                tracing::info!(reason, apps, changed, "the configuration was read again");
            }
            Err(error) => {
                tracing::error!(reason, %error, "the configuration is invalid; the previous one stays in use");
            }
        }
    }

    /// Returns the patterns of the changed apps.
    fn try_reload(&mut self) -> Result<String, ReloadError> {
        let mut config = Config::parse(self.file.as_deref())?;
        // Before these files are read: the operator may repair one of them.
        self.watch(config.watched_files(self.file.as_deref()));
        config.read_secrets()?;
        listen::check(&config.http, self.state.clock.now())?;
        let fixed = fixed_sections(&self.initial, &config);
        let notices = config.notices();
        let difference = self.state.replace_config(config)?;

        self.types.set(app_types(&self.state.setup()));
        for app in &difference.ended {
            reset_gauges(&app.pattern);
        }
        for app in &difference.started {
            self.state.runtime.spawn(warm_up(Arc::downgrade(app)));
        }
        for section in fixed {
            tracing::warn!(section, "a change of this section needs a restart");
        }
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let mut changed: Vec<&str> =
            difference.started.iter().chain(&difference.ended).map(|app| app.pattern.as_str()).collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(changed.join(" "))
    }

    /// Watches these files from now on. A file that was watched before keeps its state: it may have been read already.
    fn watch(&mut self, files: Vec<PathBuf>) {
        let old: Vec<_> =
            std::mem::replace(&mut self.files, files).into_iter().zip(std::mem::take(&mut self.states)).collect();
        let known = |path: &PathBuf| old.iter().find(|(other, _)| other == path).map(|(_, state)| *state);
        self.states = self.files.iter().zip(self.file_states()).map(|(path, now)| known(path).unwrap_or(now)).collect();
    }

    fn file_states(&self) -> Vec<FileState> {
        let state = |path: &PathBuf| fs::metadata(path).ok().map(|data| (data.modified().ok(), data.len()));
        self.files.iter().map(state).collect()
    }
}

fn app_types(setup: &Setup) -> impl Iterator<Item = (String, &'static str)> {
    setup.apps.iter().map(|app| (app.pattern.clone(), app.own.type_name))
}

/// The changed sections among those that apply until the process ends.
fn fixed_sections(initial: &Config, now: &Config) -> Vec<&'static str> {
    let is_dedup_equal = initial.dedup.ttl == now.dedup.ttl && initial.dedup.capacity == now.dedup.capacity;
    let sections = [
        ("[http]", initial.http == now.http),
        ("[admin]", initial.admin == now.admin),
        ("[log]", initial.log == now.log),
        ("[metrics]", initial.metrics == now.metrics),
        ("[dedup] ttl, capacity", is_dedup_equal),
    ];
    sections.into_iter().filter(|(_, is_equal)| !is_equal).map(|(section, _)| section).collect()
}
