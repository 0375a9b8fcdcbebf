//! `push-gateway check-config`: whether the settings can be served, and with `--online` whether the push services are
//! there.
//!
//! Invariant: it listens on nothing and sends no push; without `--online` it asks nobody anything.

use futures_util::future::join_all;
use shared::clock::Clock;
use shared::http::listen::{self, ListenError};
use shared::random::Random;

use crate::apps::registry::AppsError;
use crate::apps::status::app_lines;
use crate::config::Config;
use crate::delivery::state::State;

/// What is wrong with the settings, or a file that they name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// An app cannot be served.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The certificate of the listener is of no use.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// What was found, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Lines to print.
    pub(crate) lines: Vec<String>,
    /// How many apps cannot be served although their settings could be.
    pub(crate) failures: usize,
}

/// Checks the settings, and every key and certificate; if `is_online` also asks for an access token for each app that
/// needs one and connects to Apple for the others. Gives a line for each app and finding.
///
/// # Errors
/// [`CheckError`] for the first thing that is wrong with the settings or a file.
pub(crate) async fn check(config: Config, is_online: bool) -> Result<Findings, CheckError> {
    listen::check(&config.http)?;
    let state = State::new(config, Clock::system(), Random)?;
    let setup = state.setup();
    let mut findings = Findings { lines: app_lines(&setup, state.clock.now()), failures: 0 };
    if is_online {
        // In the order in which they stand in the lines above.
        let apps = setup.config.apps.keys().filter_map(|pattern| setup.apps.find(pattern));
        let tried = apps.map(|app| async { (app.pattern.clone(), app.try_out().await) });
        for (pattern, result) in join_all(tried).await {
            findings.failures += usize::from(result.is_err());
            findings.lines.push(match result {
                Ok(text) => format!("app {pattern}: {text}"),
                Err(text) => format!("app {pattern}: FAILED: {text}"),
            });
        }
    }
    Ok(findings)
}
