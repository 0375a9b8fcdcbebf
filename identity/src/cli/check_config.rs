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
    let config = Config::load_and(file, |config| parts(config).1)?;
    let (found, _) = parts(&config);
    let notices = config.notices().into_iter().chain(found).collect();
    Ok((config, notices))
}

/// What an operator should know of the parts, and the errors of those that do not accept their settings.
fn parts(config: &Config) -> (Vec<String>, Vec<ConfigError>) {
    let (mut notices, mut errors) = (Vec::new(), Vec::new());
    let identity = config.server.identity(None);
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    let mut check = |result: Result<(), String>| errors.extend(result.err().map(ConfigError::Invalid));
    check(config.terms.read().map(drop));
    check(listen::check(&config.http, Clock::system().now()).map(|found| notices.extend(found)).map_err(text));
    check(config.email.check_token_source().map_err(text));
    check(Store::check(&config.database).map_err(text));
    // These three read the same file of certificates.
    check(Mailer::new(&config.email, &identity.name, extra_ca, Clock::system(), Random).map(drop).map_err(text));
    check(SmsSender::new(&config.sms, extra_ca, Clock::system()).map(drop).map_err(text));
    check(HomeserverClient::new(&config.federation, &config.outbound, Clock::system(), Random).map(drop).map_err(text));
    let (templates, mistakes) = Templates::load_all(&config.templates, &config.sms, &identity.base_url);
    notices.splice(0..0, templates.notices());
    mistakes.iter().for_each(|mistake| check(Err(mistake.to_string())));
    let keys = &config.keys;
    // `serve` creates a missing file.
    if keys.file.exists() {
        check(SigningKeys::read(&keys.file, &keys.revoked, keys.sign_as(&identity)).map(drop).map_err(text));
    }
    (notices, errors)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
