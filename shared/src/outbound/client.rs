//! HTTP client over a [`Connector`] with a connection pool.
//!
//! Invariant: it follows no redirect, decodes no content and keeps no cookies. Its limits for time and size always apply.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, PROXY_AUTHORIZATION};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

use super::connector::Connector;
use super::failure::{ConnectError, Failure};

/// How often a request is sent again that the server declined to process.
const MAX_RESENDS: usize = 2;
/// The default lifetime of an idle connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// An HTTP client. Clones share the pool.
#[derive(Clone)]
pub struct Client<C = Connector> {
    http: legacy::Client<C, Full<Bytes>>,
    /// Opens a connection for each request.
    without_pool: legacy::Client<C, Full<Bytes>>,
    /// Knows the proxy that forwards requests to `http` URLs.
    forwarding: Option<Connector>,
    timeout: Duration,
    repeats_get: bool,
}

/// A response whose body has not been read yet.
#[derive(Debug)]
pub struct Response {
    /// The status code, redirects included.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    body: Incoming,
    deadline: Instant,
}

/// A complete response.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status code, redirects included.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// The settings of a connection pool, with timers and defaults.
pub fn pool() -> legacy::Builder {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_TIMEOUT);
    builder
}

impl Client {
    /// A client with the settings of `pool`. `timeout` limits each request from the connection to the last byte of the
    /// response.
    pub fn new(connector: Connector, pool: &legacy::Builder, timeout: Duration) -> Self {
        Self { forwarding: Some(connector.clone()), ..Self::over(connector, pool, timeout) }
    }
}

impl<C: legacy::connect::Connect + Clone + Send + Sync + 'static> Client<C> {
    /// Like [`Client::new`], over a connector that finds its targets itself.
    pub fn over(connector: C, pool: &legacy::Builder, timeout: Duration) -> Self {
        let mut without_pool = pool.clone();
        let without_pool = without_pool.pool_max_idle_per_host(0).build(connector.clone());
        Self { http: pool.build(connector), without_pool, forwarding: None, timeout, repeats_get: false }
    }

    /// A client that sends a GET once more, over a new connection, if the server closes the connection before it responds
    /// (RFC 9112 §9.3.1): a server may close a kept connection at any time. Only for servers where a GET changes nothing.
    #[must_use]
    pub fn repeating_get(self) -> Self {
        Self { repeats_get: true, ..self }
    }

    fn may_repeat(&self, request: &Request<Full<Bytes>>) -> bool {
        self.repeats_get && request.method() == Method::GET
    }

    /// Sends `request` and reads the response.
    ///
    /// # Errors
    /// [`Failure`] if no complete response arrives in time or if its body exceeds `max_body` bytes.
    pub async fn fetch(&self, request: Request<Full<Bytes>>, max_body: usize) -> Result<Reply, Failure> {
        let mut response = self.send(request).await?;
        let body = response.read(max_body).await?;
        Ok(Reply { status: response.status, headers: response.headers, body })
    }

    /// Sends `request`; the response has no body yet. `Accept` is `*/*` unless the request has its own.
    ///
    /// A request that the server explicitly declined to process (`REFUSED_STREAM`, or a GOAWAY without an error that
    /// excludes its stream) is sent again, at most twice. Both are safe (RFC 9113 §8.7).
    ///
    /// # Errors
    /// [`Failure`] if no status arrives in time.
    pub async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response, Failure> {
        let deadline = Instant::now() + self.timeout;
        request.headers_mut().entry(ACCEPT).or_insert(const { HeaderValue::from_static("*/*") });
        let authorization = self.forwarding.as_ref().and_then(|proxy| proxy.forward_authorization(request.uri()));
        if let Some(authorization) = authorization.cloned() {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        let (mut resends, mut http) = (0, &self.http);
        loop {
            let sent = timeout_at(deadline, http.request(request.clone())).await.map_err(|_| Failure::Timeout)?;
            match sent {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Response { status: head.status, headers: head.headers, body, deadline });
                }
                Err(error) if resends < MAX_RESENDS && is_unprocessed(&error) => resends += 1,
                Err(error) if resends == 0 && self.may_repeat(&request) && is_closed_by_server(&error) => {
                    (resends, http) = (MAX_RESENDS, &self.without_pool);
                }
                Err(error) => {
                    let failure = Failure::of(&error);
                    let cause = error.source().map(ToString::to_string).unwrap_or_default();
                    tracing::debug!(failure = failure.label(), %error, cause, "request failed");
                    return Err(failure);
                }
            }
        }
    }
}

impl Response {
    /// The body, at most `max` bytes. An early end closes the connection instead of reading on.
    ///
    /// # Errors
    /// [`Failure`] if the body is larger, breaks off or does not arrive in time.
    pub async fn read(&mut self, max: usize) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        while let Some(data) = self.chunk().await? {
            if bytes.len() + data.len() > max {
                return Err(Failure::TooLarge);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    }

    /// The beginning of the body, at most `max` bytes: as much as arrives in time.
    pub async fn read_prefix(mut self, max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Ok(Some(data)) = self.chunk().await {
            let room = max - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
            if data.len() >= room {
                break;
            }
        }
        bytes
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout_at(self.deadline, self.body.frame()).await.map_err(|_| Failure::Timeout)?;
            match frame.transpose().map_err(|error| Failure::of(&error))?.map(hyper::body::Frame::into_data) {
                None => return Ok(None),
                Some(Ok(data)) => return Ok(Some(data)),
                // Trailers.
                Some(Err(_)) => {}
            }
        }
    }
}

/// Whether the server declared that it has not processed the request.
fn is_unprocessed(error: &legacy::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason();
            return error.is_remote()
                && (error.is_go_away() && reason == Some(h2::Reason::NO_ERROR)
                    || error.is_reset() && reason == Some(h2::Reason::REFUSED_STREAM));
        }
        next = error.source();
    }
    false
}

/// Whether the server closed the connection before it sent a response. The server may have processed the request.
fn is_closed_by_server(error: &legacy::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(error) = next {
        let is_cut = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message);
        let is_reset = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe));
        if error.is::<ConnectError>() {
            return false;
        }
        if is_cut || is_reset {
            return true;
        }
        next = error.source();
    }
    false
}

impl<C> fmt::Debug for Client<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

#[cfg(test)]
mod tests;
