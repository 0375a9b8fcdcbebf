//! `push-gateway check-config`: validates the configuration, and with `--online` the connections to the push services.
//!
//! Invariant: it opens no listener and sends no push; without `--online` it opens no connection.

use std::path::Path;

use futures_util::future::join_all;
use shared::clock::Clock;
use shared::config::{ConfigError, ConfigErrors};
use shared::http::listen::{self, ListenError};
use shared::random::Random;

use crate::apps::registry::{Apps, AppsError};
use crate::apps::status::app_lines;
use crate::config::Config;
use crate::delivery::state::{Setup, State};
use crate::providers::ProviderContext;

/// Why the configuration is unusable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Config(#[from] ConfigErrors),
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
/// [`CheckError`] with all problems of the settings and their files.
pub(crate) async fn check(file: Option<&Path>, is_online: bool) -> Result<Findings, CheckError> {
    let clock = Clock::system();
    let config = checked(file, &clock)?;
    let certificate = listen::check(&config.http, clock.now())?;
    let mut lines = vec![config.source.clone()];
    lines.extend(config.outbound.describe_proxy());
    let notices = config.notices();
    let state = State::new(config, clock, Random)?;
    let setup = state.setup();
    lines.extend(app_lines(&setup, state.clock.now()));
    lines.extend(certificate.into_iter().chain(notices).map(|notice| format!("note: {notice}")));
    let mut findings = Findings { lines, failures: 0 };
    if is_online {
        for (pattern, result) in online(&setup).await {
            findings.failures += usize::from(result.is_err());
            findings.lines.push(match result {
                Ok(text) => format!("app {pattern}: {text}"),
                Err(text) => format!("app {pattern}: FAILED: {text}"),
            });
        }
    }
    Ok(findings)
}

/// The configuration, if every part accepts its settings.
///
/// # Errors
/// [`ConfigErrors`] with all problems of the settings and their files.
pub(super) fn checked(file: Option<&Path>, clock: &Clock) -> Result<Config, ConfigErrors> {
    Config::load_and(file, |config| {
        let listener = listen::check(&config.http, clock.now()).map(drop).map_err(invalid);
        // The apps use these certificates.
        let apps = config
            .outbound
            .check_extra_ca()
            .and_then(|()| Apps::new(config, ProviderContext::new(clock.clone())).map(drop).map_err(invalid));
        [listener, apps].into_iter().filter_map(Result::err).collect()
    })
}

/// What the push service of each app answers, in the order of the configuration.
pub(super) async fn online(setup: &Setup) -> Vec<(String, Result<&'static str, String>)> {
    let apps = setup.config.apps.keys().filter_map(|pattern| setup.apps.find(pattern));
    join_all(apps.map(|app| async { (app.pattern.clone(), app.own.provider.check_online().await) })).await
}

fn invalid(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Invalid(error.to_string())
}
