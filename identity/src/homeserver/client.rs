//! The one way to send a request to a homeserver.
//!
//! Invariant: an error names the server and the kind of failure and nothing else; a path, a query or a token is never
//! part of it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use shared::clock::Clock;
use shared::outbound::dns::{Dns, DnsError};
use shared::outbound::failure::Failure;
use shared::outbound::guard::AddressGuard;
use shared::outbound::{client as outbound, tls};
use shared::random::Random;

use super::connect::{Connector, InvalidProxy, Proxy};
use super::resolve::Resolver;
use super::well_known::WellKnown;
use crate::config::federation::Federation;
use crate::domain::server_name::ServerName;

/// How long an unused connection is kept: shorter than the usual server's patience.
const POOL_IDLE: Duration = Duration::from_secs(30);
const POOL_IDLE_PER_SERVER: usize = 16;
/// For the head of a reply; the body has its own cap.
const MAX_BUFFER: usize = 32 * 1024;

/// A client of all homeservers, with a pool of connections. Clones share the pool.
#[derive(Clone)]
pub struct HomeserverClient {
    http: legacy::Client<Connector, Full<Bytes>>,
    resolver: Arc<Resolver>,
    timeout: Duration,
}

/// What a request is for: a label of the error metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Whose an OpenID token is.
    Openid,
    /// The server's signing keys.
    Keys,
    /// Telling the server about a new binding.
    Onbind,
}

/// A request to a homeserver. It has no `Debug`, because the path may hold a token.
pub struct FederationRequest<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The HTTP method.
    pub method: Method,
    /// The server, as users write it; discovery happens on the way.
    pub server: &'a ServerName,
    /// From the first `/` on, percent-encoded.
    pub path_and_query: &'a str,
    /// JSON.
    pub body: Option<String>,
    /// How many bytes of the reply's body are read before it is refused.
    pub max_reply: usize,
}

/// What a homeserver replied, with whatever status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FederationReply {
    /// The HTTP status; redirects are not followed.
    pub status: StatusCode,
    /// `Retry-After`, if it was given in seconds.
    pub retry_after: Option<Duration>,
    /// The body as it was sent.
    pub body: Vec<u8>,
}

/// No usable reply from a homeserver. Its text goes to strangers: to them a forbidden address is a name that does not
/// resolve, or they could ask which names exist on our inside. The log has the difference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot contact homeserver {server}: {}", told(*.failure))]
pub struct ContactError {
    /// The server that was to be reached.
    pub server: ServerName,
    /// Why not; [`Failure::Timeout`] is the caller's 504, all others are 502.
    pub failure: Failure,
}

/// The settings do not make a client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The system's name servers cannot be found out.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// `extra_ca_file` is unusable, or there are no trusted roots.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// The HTTP library refused.
    #[error(transparent)]
    Http(#[from] outbound::SetupError),
    /// `proxy` is not an `http://` URL.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
}

impl HomeserverClient {
    /// A client after `settings`. Must be called within a Tokio runtime.
    ///
    /// # Errors
    /// [`SetupError`] names the setting that is at fault.
    pub fn new(settings: &Federation, clock: Clock, random: Random) -> Result<Self, SetupError> {
        if !settings.tls_verify {
            tracing::warn!("[federation] tls_verify is off: anyone on the way can pose as any homeserver");
        }
        let guard = AddressGuard::new(settings.allow_cidrs.as_slice(), settings.deny_cidrs.as_slice());
        let dns = Dns::new(settings.dns_servers.as_slice())?;
        let mut tls = tls::client_config(settings.extra_ca_file.as_deref(), settings.tls_verify)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let proxy = settings.proxy.as_ref().map(Proxy::parse).transpose()?;
        let connect_timeout = settings.connect_timeout.get();
        let web = outbound::Client::new(&outbound::Settings {
            guard: guard.clone(),
            dns: dns.clone(),
            tls: tls.clone(),
            proxy: proxy.as_ref().map(|proxy| proxy.url().clone()),
            connect_timeout,
            total_timeout: settings.timeout.get(),
        })?;
        let well_known = WellKnown::new(web, clock, settings.well_known_port, settings.timeout.get() / 2);
        let resolver = Arc::new(Resolver::new(settings.overrides.clone(), dns, guard, well_known, random));
        let connector = Connector::new(Arc::clone(&resolver), tls, proxy, connect_timeout);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_PER_SERVER)
            .http1_max_buf_size(MAX_BUFFER)
            .build(connector);
        Ok(Self { http, resolver, timeout: settings.timeout.get() })
    }

    /// Finds the server, sends the request and reads the reply to its end.
    ///
    /// # Errors
    /// [`ContactError`] if there is no whole reply within the cap and the time. It has been logged and counted.
    pub async fn send(&self, request: FederationRequest<'_>) -> Result<FederationReply, ContactError> {
        let (purpose, server) = (request.purpose, request.server);
        let exchange = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        exchange.unwrap_or(Err(Failure::Timeout)).map_err(|failure| {
            tracing::info!(%server, purpose = purpose.label(), "homeserver cannot be contacted: {failure}");
            count_error(purpose, failure.label());
            ContactError { server: server.clone(), failure }
        })
    }

    async fn exchange(&self, request: FederationRequest<'_>) -> Result<FederationReply, Failure> {
        let name = self.resolver.delegate(request.server).await;
        let max_reply = request.max_reply;
        let request = to_http(request, &name).ok_or(Failure::Other)?;
        let response = self.http.request(request).await.map_err(|error| Failure::of(&error))?;
        let status = response.status();
        let retry_after = retry_after(&response);
        let body = read(response.into_body(), max_reply).await?;
        Ok(FederationReply { status, retry_after, body })
    }
}

impl Purpose {
    /// A word for logs and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Openid => "openid",
            Self::Keys => "keys",
            Self::Onbind => "onbind",
        }
    }
}

fn told(failure: Failure) -> Failure {
    if failure == Failure::Blocked { Failure::Dns } else { failure }
}

/// Counts an exchange that brought nothing usable; `kind` is a word of ours, never a text from outside.
pub(super) fn count_error(purpose: Purpose, kind: &'static str) {
    metrics::counter!("identity_federation_errors_total", "purpose" => purpose.label(), "kind" => kind).increment(1);
}

/// `Host` is the name after delegation, with a port only if the name has one; hyper itself would drop `:443`.
fn to_http(request: FederationRequest<'_>, name: &ServerName) -> Option<Request<Full<Bytes>>> {
    let uri = Uri::builder().scheme("https").authority(name.as_str()).path_and_query(request.path_and_query);
    let mut builder = Request::builder()
        .method(request.method)
        .uri(uri.build().ok()?)
        .header(HOST, name.as_str())
        .header(USER_AGENT, concat!("identity/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT, "application/json");
    if request.body.is_some() {
        builder = builder.header(CONTENT_TYPE, "application/json");
    }
    builder.body(Full::new(Bytes::from(request.body.unwrap_or_default()))).ok()
}

fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER).map(HeaderValue::to_str)?.ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

/// An early end drops the body, which closes the connection instead of reading on.
async fn read(mut body: Incoming, max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| Failure::of(&error))?.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err(Failure::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::{ContactError, Failure, ServerName};

    #[test]
    fn strangers_cannot_tell_a_forbidden_address_from_a_name_that_does_not_resolve() {
        let text = |failure| ContactError { server: ServerName::parse("hs.example").unwrap(), failure }.to_string();
        assert_eq!(text(Failure::Blocked), text(Failure::Dns));
        assert_ne!(text(Failure::Blocked), text(Failure::Tls));
    }
}
