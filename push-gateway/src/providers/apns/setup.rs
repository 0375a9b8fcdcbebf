//! From settings to what delivers by them.
//!
//! Invariant: everything that can be known to be wrong before the first push is an error here; nothing is connected.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use shared::clock::{Clock, Timestamp};
use shared::config::ConfigError;
use shared::outbound::connector::Connector;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::HTTP_2;
use shared::outbound::tls::TlsError;

use super::client::{Endpoint, EndpointConnector, NoConnection, Timing, Transport};
use super::credentials::certificate::{ClientCertificate, InvalidCertificate};
use super::credentials::token::{InvalidKey, ProviderToken, ProviderTokenCache};
use super::request::Fields;
use super::settings::Settings;

/// From when on a certificate's end is worth a warning.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Why an app of type `apns` cannot work with its settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// No topic, or one that cannot stand in a header field.
    #[error("topic: expected the app's bundle id")]
    Topic,
    /// Neither a key nor a certificate, or both.
    #[error("expected either key_file (with key_id and team_id) or cert_file")]
    Credentials,
    /// A key without its names.
    #[error("key_id and team_id: both are needed with a key")]
    HalfAKey,
    /// Not a key of Apple's kind.
    #[error("key: {0}")]
    Key(#[from] InvalidKey),
    /// Not a certificate that can be used.
    #[error("cert_file: {0}")]
    Certificate(#[from] InvalidCertificate),
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A secret that cannot be had.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// Not where anything can be sent.
    #[error("{0}: expected \"https://host[:port]\"")]
    Endpoint(&'static str),
    /// There are no roots to trust.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What proves that it is us.
pub(super) enum Credentials {
    Token(Arc<ProviderToken>),
    Certificate(ClientCertificate),
}

/// The parts of a provider.
pub(super) struct Parts {
    pub(super) fields: Fields,
    pub(super) credentials: Credentials,
    pub(super) platform: Transport,
    /// Where a device is tried that the platform does not know.
    pub(super) fallback: Option<Transport>,
}

impl Parts {
    /// Connects to every place that the app needs; says what is wrong if it cannot.
    pub(super) async fn connect(&self) -> Result<(), String> {
        for transport in std::iter::once(&self.platform).chain(&self.fallback) {
            transport.connect().await.map_err(|NoConnection { reason, .. }| {
                let advice = match reason {
                    "dns" => "the name does not resolve: check endpoint and this machine's name servers",
                    "tls" => "no TLS with HTTP/2: check endpoint, cert_file, [outbound] extra_ca_file and the clock",
                    "connect_timeout" => "no answer in time: check the firewall, endpoint and [outbound] proxy",
                    _ => "the connection is refused: check the firewall, endpoint and [outbound] proxy",
                };
                format!("no connection to Apple ({reason}): {advice}")
            })?;
        }
        Ok(())
    }
}

/// Reads files and sets everything up.
pub(super) fn set_up(
    app: &str,
    settings: &Settings,
    outbound: &Outbound,
    tokens: &ProviderTokenCache,
    timing: Timing,
) -> Result<Parts, SetupError> {
    let fields = Fields::new(settings).ok_or(SetupError::Topic)?;
    let credentials = credentials(settings, tokens)?;
    let mut tls = outbound.tls()?;
    tls.alpn_protocols = vec![HTTP_2.to_vec()];
    if let Credentials::Certificate(certificate) = &credentials {
        certificate.present(&mut tls);
    }
    let connector = Connector::new(Resolver::System, outbound.proxy_rule(), tls, timing.connect);
    let transport = |key, given: Option<&String>, usual: &str| {
        let endpoint = Endpoint::parse(given.map_or(usual, String::as_str)).ok_or(SetupError::Endpoint(key))?;
        let connector = EndpointConnector::new(endpoint, connector.clone());
        Ok::<_, SetupError>(Transport::new(app, connector, settings.max_connections, timing))
    };
    let platform = transport("endpoint", settings.endpoint.as_ref(), settings.platform.endpoint())?;
    let fallback = settings.sandbox_fallback.then(|| {
        transport("fallback_endpoint", settings.fallback_endpoint.as_ref(), settings.platform.other().endpoint())
    });
    Ok(Parts { fields, credentials, platform, fallback: fallback.transpose()? })
}

fn credentials(settings: &Settings, tokens: &ProviderTokenCache) -> Result<Credentials, SetupError> {
    let key = shared::config::secret("key", settings.key.as_ref(), settings.key_file.as_deref())?;
    match (key, &settings.cert_file) {
        (Some(key), None) => {
            let names = settings.team_id.as_deref().zip(settings.key_id.as_deref());
            let (team_id, key_id) =
                names.filter(|(a, b)| !a.is_empty() && !b.is_empty()).ok_or(SetupError::HalfAKey)?;
            Ok(Credentials::Token(tokens.find(team_id, key_id, &key)?))
        }
        (None, Some(path)) => {
            let password = shared::config::secret(
                "cert_password",
                settings.cert_password.as_ref(),
                settings.cert_password_file.as_deref(),
            )?;
            let file = std::fs::read(path).map_err(|source| SetupError::Unreadable { path: path.clone(), source })?;
            Ok(Credentials::Certificate(ClientCertificate::parse(&file, password.as_ref())?))
        }
        (None, None) | (Some(_), Some(_)) => Err(SetupError::Credentials),
    }
}

/// Tells the operator when a certificate ends soon.
pub(super) fn report_expiry(app: &str, not_after: Timestamp, clock: &Clock) {
    let left = not_after.since(clock.now());
    if left.is_zero() {
        tracing::error!(app, "the APNs certificate of this app has ended: nothing is delivered until it is renewed");
    } else if left < WARN_BEFORE {
        tracing::warn!(app, days = left.as_secs() / 86_400, "the APNs certificate of this app ends soon: renew it");
    }
}
