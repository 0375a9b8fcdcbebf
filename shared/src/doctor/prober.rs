//! The client with which `doctor` reaches services as others do.
//!
//! Invariant: it uses no proxy, and sends no body.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::Value;
use url::Url;

use crate::outbound::client::{Client, Reply, pool};
use crate::outbound::connector::{Connector, Target};
use crate::outbound::failure::{ConnectError, Failure};
use crate::outbound::proxy::ProxyRule;
use crate::outbound::resolver::Resolver;
use crate::outbound::settings::Outbound;
use crate::outbound::stream::Stream;

/// The longest time for one connection or request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest response that is read.
const MAX_BODY: usize = 64 * 1024;

/// A client for the requests of a doctor.
#[derive(Debug)]
pub struct Prober {
    connector: Connector,
    client: Client,
}

impl Prober {
    /// Trusts the system's roots and those of `[outbound] extra_ca_file`; uses no proxy.
    ///
    /// # Errors
    /// The problem with the roots.
    pub fn new(outbound: &Outbound) -> Result<Self, String> {
        let tls = outbound.tls().map_err(|error| error.to_string())?;
        let connector = Connector::new(Resolver::System, ProxyRule::default(), tls, TIMEOUT);
        Ok(Self { client: Client::new(connector.clone(), &pool(), TIMEOUT), connector })
    }

    /// Opens a connection to the host of `url`; with TLS if the scheme is `https`.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub async fn connect(&self, url: &Url) -> Result<Stream, ConnectError> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let target = if url.scheme() == "https" { Target::tls(host, port) } else { Target::tcp(host, port) };
        self.connector.connect(&target.ok_or(Failure::Dns)?).await
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn request(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).map_err(|_| Failure::Other)?;
        self.client.fetch(request, MAX_BODY).await
    }

    /// Sends GET.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn get(&self, url: &str) -> Result<Reply, Failure> {
        self.request(Method::GET, url, &[]).await
    }
}

/// The JSON object in a response, or null.
pub fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}
