//! Opens TLS connections to homeservers for the HTTP client's pool.
//!
//! Invariant: the certificate is verified for the name in the URL, whichever target the connection uses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper::Uri;
use hyper_util::rt::TokioIo;
use rustls::pki_types;
use shared::outbound::connector::{AddressBudget, Connector, Target};
use shared::outbound::failure::{ConnectError, Failure};
use shared::outbound::failure_log::FailureLog;
use shared::outbound::stream::Stream;
use tower_service::Service;

use super::resolve::Discovery;
use crate::domain::server_name::ServerName;

/// The addresses that are tried for one request, over all targets: a stranger's DNS names the targets.
const MAX_ADDRESSES: usize = 16;

/// Connects to the targets of a URL whose authority is a server name after delegation.
#[derive(Clone)]
pub(super) struct HomeserverConnector {
    discovery: Arc<Discovery>,
    connector: Connector,
    failures: Arc<FailureLog>,
}

/// One target, and what came of the attempt to connect to it.
pub(super) struct Attempt {
    /// Host and port.
    pub(super) tried: String,
    pub(super) result: Result<Stream, ConnectError>,
}

impl HomeserverConnector {
    pub(super) fn new(discovery: Arc<Discovery>, connector: Connector) -> Self {
        Self { discovery, connector, failures: Arc::default() }
    }

    async fn connect(&self, name: &ServerName) -> Result<Stream, ConnectError> {
        let log = |tried: &str, error: &ConnectError| self.failures.homeserver(name.as_str(), tried, error);
        let mut attempts = self.attempts(name).await.inspect_err(|error| log(name.as_str(), error))?;
        let Some(Attempt { tried, result }) = attempts.pop() else { return Err(Failure::Dns.into()) };
        result.inspect_err(|error| log(&tried, error))
    }

    /// Tries the targets in their order until one accepts a connection. The last attempt decides.
    ///
    /// # Errors
    /// [`ConnectError`] if there is no target.
    pub(super) async fn attempts(&self, name: &ServerName) -> Result<Vec<Attempt>, ConnectError> {
        let targets = self.discovery.targets(name).await?;
        let tls_name = match name.ip() {
            Some(ip) => pki_types::ServerName::from(ip),
            None => pki_types::ServerName::try_from(name.host().to_owned()).map_err(|_| Failure::Dns)?,
        };
        let mut attempts = Vec::new();
        let mut budget = AddressBudget::new(MAX_ADDRESSES);
        for target in targets {
            if budget.is_used_up() {
                break;
            }
            let target = Target { tls: Some(tls_name.clone()), ..target };
            let tried = format!("{}:{}", target.host, target.port);
            let result = self.connector.connect_within(&target, &mut budget).await;
            if let Err(error) = &result {
                tracing::debug!(server = %name, tried, %error, "connection to homeserver failed");
            }
            let is_connected = result.is_ok();
            attempts.push(Attempt { tried, result });
            if is_connected {
                break;
            }
        }
        Ok(attempts)
    }
}

impl Service<Uri> for HomeserverConnector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move {
            let name = uri.authority().and_then(|authority| ServerName::parse(authority.as_str()).ok());
            connector.connect(&name.ok_or(Failure::Dns)?).await.map(TokioIo::new)
        })
    }
}
