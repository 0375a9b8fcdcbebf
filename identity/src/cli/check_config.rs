//! `identity check-config`: sets up everything that needs no socket, database or new file.
//!
//! Invariant: opens no socket and creates no file.

use shared::clock::Clock;
use shared::http::listen;
use shared::random::Random;

use crate::config::Config;
use crate::homeserver::client::HomeserverClient;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::signing_keys::SigningKeys;
use crate::store::Store;

/// Checks certificates, keys, terms and templates, and that each part accepts its settings. Returns what an operator
/// should know of them.
///
/// # Errors
/// The first error.
pub(super) fn check(config: &Config) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let identity = config.server.identity(None);
    config.terms.read()?;
    let certificate = listen::check(&config.http, Clock::system().now())?;
    config.email.check_token_source()?;
    Store::check(&config.database)?;
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    Mailer::new(&config.email, &identity.name, extra_ca, Clock::system(), Random)?;
    SmsSender::new(&config.sms, extra_ca, Clock::system())?;
    let templates = Templates::load(&config.templates, &config.sms, &identity.base_url)?;
    let keys = &config.keys;
    // `serve` creates a missing file.
    if keys.file.exists() {
        SigningKeys::read(&keys.file, &keys.revoked, keys.sign_as(&identity))?;
    }
    HomeserverClient::new(&config.federation, &config.outbound, Clock::system(), Random)?;
    Ok(config.notices().into_iter().chain(templates.notices()).chain(certificate).collect())
}
