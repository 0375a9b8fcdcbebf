//! The connections to APNs, for each environment.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Clock;
use shared::outbound::backoff::Backoff;
use shared::outbound::connector::Connector;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use shared::outbound::stream::HTTP_2;
use shared::outbound::tls::TlsError;

use super::credentials::Credentials;
use super::settings::Settings;
use crate::providers::connection_report::ConnectionReport;
use crate::upstream::client::Client;
use crate::upstream::options::{Options, Timing};
use crate::upstream::origin::{Origin, Protocols};

/// The most that is read of an error's body, in bytes.
const MAX_BODY: usize = 16 * 1024;

/// The timeouts of both environments.
pub(super) const TIMING: Timing = Timing {
    connect: Duration::from_secs(5),
    attempt: Duration::from_secs(8),
    grow_after: Duration::from_millis(50),
    ping_after: Duration::from_secs(60),
    ping_timeout: Duration::from_secs(10),
    // Apple asks for connections that stay open.
    idle: None,
    backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
};

/// The clients of an app.
pub(super) struct Clients {
    /// For the environment of `platform`.
    pub(super) main: Client,
    /// For devices that this environment does not know.
    pub(super) fallback: Option<Client>,
}

/// Why no connection can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{0}: expected \"https://host[:port]\"")]
    Endpoint(&'static str),
    /// There are no trusted roots.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Clients {
    /// Opens no connection yet.
    pub(super) fn new(
        app: &str,
        settings: &Settings,
        outbound: &Outbound,
        credentials: &Credentials,
        timing: Timing,
        clock: &Clock,
    ) -> Result<Self, ClientError> {
        let mut tls = outbound.tls()?;
        tls.alpn_protocols = vec![HTTP_2.to_vec()];
        credentials.present(&mut tls);
        let connector = Connector::new(Resolver::System, outbound.proxy_rule(), tls, timing.connect);
        let options = Options {
            protocols: Protocols::Http2,
            max_connections: settings.max_connections,
            max_http1_connections: 0,
            max_body: MAX_BODY,
            timing,
        };
        let client = |key, given: Option<&String>, default: &str| {
            let origin = Origin::parse_https(given.map_or(default, String::as_str));
            let report = ConnectionReport::new(app, "APNs", "cert_file, endpoint", clock.clone());
            let connections = metrics::gauge!("push_apns_connections", "app" => app.to_owned());
            origin
                .and_then(|origin| Client::new(origin, connector.clone(), options, Arc::new(report), connections))
                .ok_or(ClientError::Endpoint(key))
        };
        let main = client("endpoint", settings.endpoint.as_ref(), settings.platform.endpoint())?;
        let other = settings.platform.other().endpoint();
        let fallback = settings
            .sandbox_fallback
            .then(|| client("fallback_endpoint", settings.fallback_endpoint.as_ref(), other))
            .transpose()?;
        Ok(Self { main, fallback })
    }

    /// Connects to every environment of the app.
    ///
    /// # Errors
    /// The problem and what to check.
    pub(super) async fn check(&self) -> Result<(), String> {
        for client in std::iter::once(&self.main).chain(&self.fallback) {
            client.check().await.map_err(|missing| {
                let reason = missing.reason();
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
