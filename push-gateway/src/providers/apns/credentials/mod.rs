//! How the gateway authenticates to APNs: with provider tokens or with a client certificate.
//!
//! Invariant: no log and no error shows a secret.

mod certificate;
pub(super) mod token;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;
use shared::config::{ConfigError, secret};

use self::certificate::{ClientCertificate, InvalidCertificate};
use self::token::{InvalidKey, ProviderToken, ProviderTokenCache};
use super::settings::Settings;
use crate::providers::pem;

/// A certificate that expires within this time is logged.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What a request or a connection presents.
pub(super) enum Credentials {
    Token(Arc<ProviderToken>),
    Certificate(ClientCertificate),
}

/// Why the credentials are unusable.
#[derive(Debug, thiserror::Error)]
pub(super) enum CredentialsError {
    /// Neither a key nor a certificate, or both.
    #[error("expected either key_file (with key_id and team_id) or cert_file")]
    KeyOrCertificate,
    #[error("key_id and team_id: both are needed with a key")]
    KeyNames,
    #[error("key: {0}")]
    Key(#[from] InvalidKey),
    #[error("key: it is encrypted with a password; decrypt it, or use the file as Apple hands it out")]
    EncryptedKey,
    #[error("cert_file: {0}")]
    Certificate(#[from] InvalidCertificate),
    #[error("cannot read {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Secret(#[from] ConfigError),
}

impl Credentials {
    /// Reads the key or the certificate of the settings.
    pub(super) fn load(settings: &Settings, tokens: &ProviderTokenCache) -> Result<Self, CredentialsError> {
        let key = secret("key", settings.key.as_ref(), settings.key_file.as_deref())?;
        match (key, &settings.cert_file) {
            (Some(key), None) => {
                // Copied ids often bring a blank or a line break.
                let names = settings.team_id.as_deref().map(str::trim).zip(settings.key_id.as_deref().map(str::trim));
                let (team_id, key_id) =
                    names.filter(|(a, b)| !a.is_empty() && !b.is_empty()).ok_or(CredentialsError::KeyNames)?;
                let key = pem::normalize(&key);
                if pem::is_encrypted(&key) {
                    return Err(CredentialsError::EncryptedKey);
                }
                Ok(Self::Token(tokens.find(team_id, key_id, &key)?))
            }
            (None, Some(path)) => {
                let password =
                    secret("cert_password", settings.cert_password.as_ref(), settings.cert_password_file.as_deref())?;
                let file = std::fs::read(path)
                    .map_err(|source| CredentialsError::Unreadable { path: path.clone(), source })?;
                Ok(Self::Certificate(ClientCertificate::parse(&file, password.as_ref())?))
            }
            (None, None) | (Some(_), Some(_)) => Err(CredentialsError::KeyOrCertificate),
        }
    }

    /// Makes connections with `config` present the certificate, if there is one.
    pub(super) fn present(&self, config: &mut rustls::ClientConfig) {
        if let Self::Certificate(certificate) = self {
            certificate.present(config);
        }
    }

    /// When the certificate expires, if there is one.
    pub(super) fn expiry(&self) -> Option<Timestamp> {
        match self {
            Self::Certificate(certificate) => Some(certificate.not_after),
            Self::Token(_) => None,
        }
    }

    /// Logs a certificate that has expired or expires soon.
    pub(super) fn report_expiry(&self, app: &str, now: Timestamp) {
        let Some(left) = self.expiry().map(|expiry| expiry.since(now)) else { return };
        if left.is_zero() {
            tracing::error!(
                app,
                "the APNs certificate of this app has expired: nothing is delivered until it is renewed"
            );
        } else if left < EXPIRY_NOTICE {
            let days = left.as_secs() / 86_400;
            tracing::warn!(app, days, "the APNs certificate of this app expires soon: renew it");
        }
    }
}
