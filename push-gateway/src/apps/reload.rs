//! Reloads the configuration on SIGHUP, and when it or a file that it names has changed.
//!
//! Invariant: a reload replaces everything or nothing. An unusable configuration is logged, and the gateway continues with
//! the previous one.

use std::path::PathBuf;
use std::sync::Arc;

use shared::config::{ConfigError, ConfigErrors};
use shared::http::listen::{self, ListenError};
use shared::reload::{LastReload, ReloadTrigger, check_not_empty};

use super::legacy_names::AppTypes;
use super::registry::{AppsError, warm_up};
use super::status::reset_gauges;
use crate::config::Config;
use crate::delivery::state::{Setup, State};

/// Reloads the configuration.
pub(crate) struct Reload {
    state: Arc<State>,
    types: AppTypes,
    file: Option<PathBuf>,
    /// The configuration at start: some sections apply until the process ends.
    initial: Config,
    trigger: ReloadTrigger,
    last: LastReload,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Secret(#[from] ConfigError),
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

impl Reload {
    /// From here on SIGHUP does not end the process. `file` is the one that `state` was made from.
    ///
    /// # Errors
    /// If the operating system refuses the signal handler.
    pub(crate) fn new(state: Arc<State>, file: Option<PathBuf>, types: AppTypes) -> std::io::Result<Self> {
        let initial = state.setup().config.clone();
        let trigger = ReloadTrigger::new(initial.watched_files(file.as_deref()))?;
        types.set(app_types(&state.setup()));
        Ok(Self { state, types, file, initial, trigger, last: LastReload::default() })
    }

    /// The result of the last reload, now and later.
    pub(crate) fn last(&self) -> LastReload {
        self.last.clone()
    }

    /// Reloads on each signal and each change; never ends.
    pub(crate) async fn run(mut self) {
        while let Some(reason) = self.trigger.next().await {
            self.reload(&reason);
        }
    }

    fn reload(&mut self, reason: &str) {
        let result = self.try_reload();
        self.last.set(result.is_err());
        match result {
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
        check_not_empty(self.file.as_deref())?;
        // Before these files are read: the operator may repair one of them.
        self.trigger.watch(config.watched_files(self.file.as_deref()));
        config.read_secrets()?;
        listen::check(&config.http, self.state.clock.now())?;
        let fixed = fixed_sections(&self.initial, &config);
        let known = self.state.setup().config.notices();
        let notices: Vec<String> = config.notices().into_iter().filter(|notice| !known.contains(notice)).collect();
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
