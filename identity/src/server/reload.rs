//! Reloads the configuration on SIGHUP, and when it or a file that it names has changed.
//!
//! Invariant: a reload replaces everything or nothing. An unusable configuration is logged, and the server continues with the
//! previous one.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use shared::config::ConfigErrors;
use shared::reload::{LastReload, ReloadTrigger};

use super::StartError;
use super::assemble::reassemble;
use crate::config::Config;
use crate::state::{CurrentState, State};

/// Reloads the configuration.
pub(super) struct Reload {
    /// The configuration at start: some keys apply until the process ends.
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
    Start(#[from] StartError),
}

impl Reload {
    /// From here on SIGHUP does not end the process.
    ///
    /// # Errors
    /// If the operating system refuses the signal handler.
    pub(super) fn new(initial: &Config) -> io::Result<Self> {
        let trigger = ReloadTrigger::new(initial.watched_files())?;
        Ok(Self { trigger, initial: initial.clone(), last: LastReload::default() })
    }

    /// The result of the last reload, now and later.
    pub(super) fn last(&self) -> LastReload {
        self.last.clone()
    }

    /// The start creates the missing file of the keys.
    pub(super) fn has_started(&mut self) {
        self.trigger.has_written(&self.initial.keys.file);
    }

    /// Reloads on each signal and each change; never ends. `listening` is the first address of the server.
    pub(super) async fn run(mut self, current: Arc<CurrentState>, listening: Option<SocketAddr>) {
        while let Some(reason) = self.trigger.next().await {
            let result = self.reload(&current, listening).await;
            self.last.set(result.is_err());
            match result {
                Ok(()) => {
                    let signer = current.load().keys.current().id().to_owned();
                    tracing::info!(reason, signer, "the configuration was read again");
                }
                Err(error) => {
                    tracing::error!(reason, %error, "the configuration is unusable; the previous one stays in use");
                }
            }
        }
    }

    async fn reload(&mut self, current: &CurrentState, listening: Option<SocketAddr>) -> Result<(), ReloadError> {
        let mut config = self.initial.load_again(|files| self.trigger.watch(files))?;
        let fixed = config.keep_fixed(&self.initial);
        let old = current.load();
        let state = reassemble(&old, config, listening).await?;
        let notices = |state: &State| state.config.notices().into_iter().chain(state.templates.notices());
        let known: Vec<String> = notices(&old).collect();
        if state.identity.name != old.identity.name {
            let (before, now) = (&old.identity.name, &state.identity.name);
            tracing::warn!(before, now, "the name in signatures has changed with [server] public_base_url or name");
        }
        for key in fixed {
            tracing::warn!(key, "a change of this setting needs a restart");
        }
        for notice in notices(&state).filter(|notice| !known.contains(notice)) {
            tracing::warn!("{notice}");
        }
        self.trigger.watch(state.config.watched_files());
        current.store(state);
        Ok(())
    }
}
