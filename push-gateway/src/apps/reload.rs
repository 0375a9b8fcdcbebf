//! Reading the configuration again: on SIGHUP, and when it or a file that it names has changed.
//!
//! Invariant: either all of it is taken or nothing. What cannot be used is told in the log, and everything goes on as it
//! was.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use shared::config::ConfigError;
use shared::http::listen::{self, ListenError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::apps::legacy_names::AppTypes;
use crate::apps::registry::{AppsError, prepare};
use crate::apps::status::forget_gauges;
use crate::config::Config;
use crate::delivery::state::{Setup, State};

/// How often the files are looked at. A change counts when two looks in a row have seen the same, so that nobody reads
/// a file that is half written.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What reads the configuration again.
pub(crate) struct Reload {
    state: Arc<State>,
    types: AppTypes,
    file: Option<PathBuf>,
    /// What the process was started with: some of it holds until it ends.
    first: Config,
    hang_up: Signal,
    /// What was named by the configuration that was read last.
    files: Vec<PathBuf>,
}

/// Why everything stays as it was.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// How a file looks from outside; `None` if it is not there.
type Look = Option<(Option<SystemTime>, u64)>;

impl Reload {
    /// From here on SIGHUP does not end the process. `file` is the one that `state` was made from.
    ///
    /// # Errors
    /// If the operating system refuses the signal handler.
    pub(crate) fn new(state: Arc<State>, file: Option<PathBuf>, types: AppTypes) -> std::io::Result<Self> {
        let hang_up = signal(SignalKind::hangup())?;
        let first = state.setup().config.clone();
        let files = named_files(&first, file.as_deref());
        types.set(app_types(&state.setup()));
        Ok(Self { state, types, file, first, hang_up, files })
    }

    /// Reads whenever there is a reason to; never ends.
    pub(crate) async fn run(mut self) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut read, mut before) = (self.look(), self.look());
        loop {
            let reason = tokio::select! {
                hung_up = self.hang_up.recv() => match hung_up {
                    Some(()) => "SIGHUP",
                    None => return,
                },
                _ = looks.tick() => {
                    let now = self.look();
                    let (is_changed, is_settled) = (now != read, now == before);
                    before = now;
                    if !is_changed || !is_settled {
                        continue;
                    }
                    "a file has changed"
                }
            };
            // Looked at before they are read: what is written meanwhile is another change.
            let (files, seen) = (self.files.clone(), self.look());
            self.reload(reason);
            read = if files == self.files { seen } else { self.look() };
            before.clone_from(&read);
        }
    }

    fn reload(&mut self, reason: &'static str) {
        match self.try_reload() {
            Ok(changed) => {
                let apps = self.state.setup().config.apps.len();
                tracing::info!(reason, apps, changed, "the configuration was read again");
            }
            Err(error) => {
                tracing::error!(reason, %error, "the configuration cannot be used: everything stays as it was");
            }
        }
    }

    /// Gives the apps that are not what they were, by their patterns.
    fn try_reload(&mut self) -> Result<String, ReloadError> {
        let config = Config::load(self.file.as_deref())?;
        // Even if it cannot be used: one of these may be what has to be put right.
        self.files = named_files(&config, self.file.as_deref());
        listen::check(&config.http)?;
        let fixed = fixed_sections(&self.first, &config);
        let notices = config.notices();
        let difference = self.state.replace(config)?;

        self.types.set(app_types(&self.state.setup()));
        for app in &difference.ended {
            forget_gauges(&app.pattern);
        }
        for app in &difference.begun {
            self.state.runtime.spawn(prepare(Arc::downgrade(app)));
        }
        for section in fixed {
            tracing::warn!(section, "this section cannot be changed while the gateway runs: start it again");
        }
        for notice in notices {
            tracing::warn!("{notice}");
        }
        let mut changed: Vec<&str> =
            difference.begun.iter().chain(&difference.ended).map(|app| app.pattern.as_str()).collect();
        changed.sort_unstable();
        changed.dedup();
        Ok(changed.join(" "))
    }

    fn look(&self) -> Vec<Look> {
        let look = |path: &PathBuf| fs::metadata(path).ok().map(|data| (data.modified().ok(), data.len()));
        self.files.iter().map(look).collect()
    }
}

fn named_files(config: &Config, file: Option<&Path>) -> Vec<PathBuf> {
    let apps = config.apps.values().flat_map(|settings| settings.files());
    let all = file.into_iter().chain(config.outbound.files()).chain(apps);
    all.map(Path::to_path_buf).collect()
}

fn app_types(setup: &Setup) -> impl Iterator<Item = (String, &'static str)> {
    setup.apps.iter().map(|app| (app.pattern.clone(), app.type_name))
}

/// The sections that are other than they were at start, among those that hold until the end.
fn fixed_sections(first: &Config, now: &Config) -> Vec<&'static str> {
    // What is shown of secrets is the same for all of them, but there are none in these sections.
    let shown = |config: &Config| {
        [
            ("[http]", format!("{:?}", config.http)),
            ("[admin]", format!("{:?}", config.admin)),
            ("[log]", format!("{:?}", config.log)),
            ("[metrics]", format!("{:?}", config.metrics)),
            ("[dedup] ttl, capacity", format!("{:?} {}", config.dedup.ttl, config.dedup.capacity)),
        ]
    };
    let pairs = shown(first).into_iter().zip(shown(now));
    pairs.filter(|(first, now)| first.1 != now.1).map(|(first, _)| first.0).collect()
}
