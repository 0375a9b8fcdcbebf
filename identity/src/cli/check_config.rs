//! `identity check-config`: sets up everything that needs no socket, database or new file.
//!
//! Invariant: opens no socket and creates no file. Reports all errors, not the first one.

use std::path::Path;

use shared::clock::Clock;
use shared::config::{ConfigError, ConfigErrors};
use shared::http::listen;
use shared::random::Random;

use crate::config::Config;
use crate::homeserver::client::HomeserverClient;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::signing_keys::SigningKeys;
use crate::store::Store;

/// Checks the configuration, and certificates, keys, terms and templates, and that each part accepts its settings. Returns
/// the lines for the operator.
///
/// # Errors
/// [`ConfigErrors`] with all errors.
pub(super) fn check(file: Option<&Path>) -> Result<Vec<String>, ConfigErrors> {
    let (config, notices) = checked(file)?;
    let mut lines = vec![config.describe_source().to_owned()];
    lines.extend(config.outbound.describe_proxy());
    lines.extend(notices.into_iter().map(|notice| format!("note: {notice}")));
    lines.push("the configuration is good".to_owned());
    Ok(lines)
}

/// The configuration, and what an operator should know of it.
///
/// # Errors
/// As [`check`].
pub(super) fn checked(file: Option<&Path>) -> Result<(Config, Vec<String>), ConfigErrors> {
    let config = Config::load_and(file, |config| parts(config).map(drop))?;
    let found = parts(&config)?;
    let notices = config.notices().into_iter().chain(found).collect();
    Ok((config, notices))
}

/// What an operator should know of the parts.
fn parts(config: &Config) -> Result<Vec<String>, ConfigError> {
    let identity = config.server.identity(None);
    config.terms.read().map_err(ConfigError::Invalid)?;
    let certificate = listen::check(&config.http, Clock::system().now()).map_err(invalid)?;
    config.email.check_token_source()?;
    Store::check(&config.database).map_err(invalid)?;
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    Mailer::new(&config.email, &identity.name, extra_ca, Clock::system(), Random).map_err(invalid)?;
    SmsSender::new(&config.sms, extra_ca, Clock::system()).map_err(invalid)?;
    let templates = Templates::load(&config.templates, &config.sms, &identity.base_url).map_err(invalid)?;
    let keys = &config.keys;
    // `serve` creates a missing file.
    if keys.file.exists() {
        SigningKeys::read(&keys.file, &keys.revoked, keys.sign_as(&identity)).map_err(invalid)?;
    }
    HomeserverClient::new(&config.federation, &config.outbound, Clock::system(), Random).map_err(invalid)?;
    Ok(templates.notices().into_iter().chain(certificate).collect())
}

fn invalid(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::Invalid(error.to_string())
}
