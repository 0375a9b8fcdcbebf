//! `push-gateway check-config`: validates the configuration, and with `--online` the connections to the push services.
//!
//! Invariant: it opens no listener and sends no push; without `--online` it opens no connection.

use futures_util::future::join_all;
use shared::clock::Clock;
use shared::http::listen::{self, ListenError};
use shared::random::Random;

use crate::apps::registry::AppsError;
use crate::apps::status::app_lines;
use crate::config::Config;
use crate::delivery::state::State;

/// Why the configuration is unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The certificate of the listener is unusable.
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// The findings for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    pub(crate) lines: Vec<String>,
    /// The number of apps that failed the online check.
    pub(crate) failures: usize,
}

/// Checks the settings, and every key and certificate; with `is_online` also the connection of each app. Returns a line for
/// each app and finding.
///
/// # Errors
/// [`CheckError`] for the first problem with the settings or a file.
pub(crate) async fn check(config: Config, is_online: bool) -> Result<Findings, CheckError> {
    let clock = Clock::system();
    let certificate = listen::check(&config.http, clock.now())?;
    let mut lines: Vec<String> = config.outbound.describe_proxy().into_iter().collect();
    let state = State::new(config, clock, Random)?;
    let setup = state.setup();
    lines.extend(app_lines(&setup, state.clock.now()));
    lines.extend(certificate.map(|notice| format!("note: {notice}")));
    let mut findings = Findings { lines, failures: 0 };
    if is_online {
        // In the order of the lines above.
        let apps = setup.config.apps.keys().filter_map(|pattern| setup.apps.find(pattern));
        let checks = apps.map(|app| async { (app.pattern.clone(), app.own.provider.check_online().await) });
        for (pattern, result) in join_all(checks).await {
            findings.failures += usize::from(result.is_err());
            findings.lines.push(match result {
                Ok(text) => format!("app {pattern}: {text}"),
                Err(text) => format!("app {pattern}: FAILED: {text}"),
            });
        }
    }
    Ok(findings)
}
