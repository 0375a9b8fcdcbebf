//! How the gateway authenticates to APNs: with provider tokens or with a client certificate.
//!
//! Invariant: no log and no error shows a secret.

mod certificate;
pub(super) mod token;

use std::sync::Arc;
use std::time::Duration;

use shared::certificate_chain::Validity;
use shared::clock::Timestamp;
use shared::config::{ConfigError, secret, secret_content};
use shared::pem;

use self::certificate::ClientCertificate;
use self::token::{ProviderToken, ProviderTokenCache};
use super::settings::Settings;

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
    /// A file, or the value of a key, is unusable. The problem contains nothing of it.
    #[error("{key}: {subject} {problem}")]
    Unusable { key: &'static str, subject: String, problem: String },
    #[error("cert_file: cannot read {path}: {source}")]
    Unreadable { path: std::path::PathBuf, source: std::io::Error },
    #[error(transparent)]
    Secret(#[from] ConfigError),
}

impl Credentials {
    /// Reads the key or the certificate of the settings.
    pub(super) fn load(settings: &Settings, tokens: &ProviderTokenCache) -> Result<Self, CredentialsError> {
        let key = secret_content("key", settings.key.as_ref(), settings.key_file.as_deref())?;
        match (key, &settings.cert_file) {
            (Some(key), None) => {
                let names = settings.team_id.as_deref().zip(settings.key_id.as_deref());
                let (team_id, key_id) =
                    names.filter(|(a, b)| !a.is_empty() && !b.is_empty()).ok_or(CredentialsError::KeyNames)?;
                let unusable = |problem: String| match &settings.key_file {
                    Some(file) => {
                        CredentialsError::Unusable { key: "key_file", subject: file.display().to_string(), problem }
                    }
                    None => CredentialsError::Unusable { key: "key", subject: String::from("its value"), problem },
                };
                let key = pem::private_key_pem(&key).map_err(|error| unusable(error.to_string()))?;
                Ok(Self::Token(tokens.find(team_id, key_id, &key).map_err(|error| unusable(error.to_string()))?))
            }
            (None, Some(path)) => {
                let password =
                    secret("cert_password", settings.cert_password.as_ref(), settings.cert_password_file.as_deref())?;
                let file = std::fs::read(path)
                    .map_err(|source| CredentialsError::Unreadable { path: path.clone(), source })?;
                let certificate = ClientCertificate::parse(&file, password.as_ref());
                certificate.map(Self::Certificate).map_err(|error| CredentialsError::Unusable {
                    key: "cert_file",
                    subject: path.display().to_string(),
                    problem: error.to_string(),
                })
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

    /// From when to when the certificate is valid, if there is one.
    pub(super) fn validity(&self) -> Option<Validity> {
        match self {
            Self::Certificate(certificate) => Some(certificate.validity),
            Self::Token(_) => None,
        }
    }

    /// Logs a certificate that is not valid, or expires soon.
    pub(super) fn report_validity(&self, app: &str, now: Timestamp) {
        let Some(validity) = self.validity() else { return };
        let Some(problem) = validity.problem(now, EXPIRY_NOTICE) else { return };
        if now < validity.start || validity.end < now {
            tracing::error!(app, problem, "nothing is delivered: the APNs certificate of this app is not valid");
        } else {
            tracing::warn!(app, problem, "the APNs certificate of this app expires soon");
        }
    }
}
