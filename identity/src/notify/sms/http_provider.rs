//! Providers that take a message in one HTTP request: sends the request and interprets failures.
//!
//! Invariant: each request is written at most once, on a new connection. A kept connection may be closing, and then it is
//! unknown whether the provider read the request.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode};
use serde_json::Value;
use shared::config::Globs;
use shared::outbound::client::{Client, Reply, pool};
use shared::outbound::connector::Connector;
use shared::outbound::failure::Failure;
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use shared::outbound::tls;
use shared::secret::Secret;
use url::Url;

use super::SmsSetupError;
use super::provider::{Outcome, Provider, Reason, Sms};
use crate::config::sms::SmsConfig;

/// The most that is read of a response.
const MAX_RESPONSE: usize = 64 << 10;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";
pub(super) const JSON: &str = "application/json";

/// A request, or the settings or text that cannot be written into one.
pub(super) type RequestResult = Result<Request<Vec<u8>>, hyper::http::Error>;

/// A vendor's HTTP API: its requests and responses, without I/O.
pub(super) trait HttpApi: Send + Sync {
    /// Builds the request for one message.
    fn request(&self, sms: &Sms<'_>) -> RequestResult;

    /// Interprets the response.
    fn outcome(&self, response: &Reply) -> Outcome;

    /// Builds a request that only a valid credential may send and that changes nothing, if the vendor has one.
    fn credential_request(&self) -> Option<RequestResult> {
        None
    }
}

/// A provider behind an HTTP API.
pub(super) struct HttpProvider<A> {
    api: A,
    client: HttpClient,
}

impl<A: HttpApi> HttpProvider<A> {
    pub(super) fn new(api: A, client: HttpClient) -> Self {
        Self { api, client }
    }
}

impl<A: HttpApi> Provider for HttpProvider<A> {
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        let request = self.api.request(sms);
        async move {
            match self.client.exchange(request).await {
                Ok(response) => self.api.outcome(&response),
                Err(outcome) => outcome,
            }
        }
        .boxed()
    }

    fn check_online(&self) -> BoxFuture<'_, Option<Result<(), String>>> {
        async move {
            Some(match self.client.exchange(self.api.credential_request()?).await {
                Ok(response) if response.status.is_success() => Ok(()),
                Ok(response) => Err(format!("the provider answers {}", response.status)),
                Err(outcome) => Err(match outcome {
                    Outcome::NotSent { reason, .. } | Outcome::NumberRefused(reason) | Outcome::Unclear(reason) => {
                        reason.to_string()
                    }
                    Outcome::Accepted => String::new(),
                }),
            })
        }
        .boxed()
    }
}

/// Sends requests to URLs from the configuration. Clones share one client.
#[derive(Clone)]
pub(super) struct HttpClient(Client);

impl HttpClient {
    pub(super) fn new(config: &SmsConfig, extra_ca: Option<&Path>) -> Result<Self, SmsSetupError> {
        let tls = tls::client_config(extra_ca, true).map_err(|error| SmsSetupError::Setup(error.to_string()))?;
        let proxy = ProxyRule::new(config.proxy.clone(), &Globs::default());
        let total = config.timeout.get();
        // Shorter than the total, so that a connection that times out differs from a request that was sent.
        let connect_timeout = (total / 2).min(Duration::from_secs(5));
        let connector = Connector::new(Resolver::System, proxy, tls, connect_timeout);
        Ok(Self(Client::new(connector, &pool(), total)))
    }

    async fn exchange(&self, request: RequestResult) -> Result<Reply, Outcome> {
        let invalid = || Outcome::refused(Reason::new("request invalid with these settings"));
        let (mut head, body) = request.map_err(|_| invalid())?.into_parts();
        // Normalises the URL: percent-encodes what `Uri` leaves as it is.
        let url = Url::parse(&head.uri.to_string()).map_err(|_| invalid())?;
        head.uri = url.as_str().parse().map_err(|_| invalid())?;
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let request = Request::from_parts(head, Full::new(Bytes::from(body)));
        self.0.fetch(request, MAX_RESPONSE).await.map_err(unanswered)
    }
}

/// Starts a POST with these headers.
pub(super) fn post(url: &str, authorization: Option<&Secret<String>>, content_type: &str) -> Builder {
    let request = Request::post(url);
    let request = match authorization {
        Some(value) => request.header(AUTHORIZATION, value.expose()),
        None => request,
    };
    request.header(CONTENT_TYPE, content_type)
}

/// Starts a GET with this authorization.
pub(super) fn get(url: &str, authorization: Option<&Secret<String>>) -> Builder {
    let request = Request::get(url);
    match authorization {
        Some(value) => request.header(AUTHORIZATION, value.expose()),
        None => request,
    }
}

/// A form-encoded body.
pub(super) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The response body as JSON; `Null` if it is not JSON.
pub(super) fn json_body(response: &Reply) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

/// The outcome of a request without a response.
fn unanswered(failure: Failure) -> Outcome {
    let reason = Reason::new(match failure {
        Failure::Blocked => "address not allowed",
        Failure::Dns => "name resolution failed",
        Failure::Connect => "connection failed",
        Failure::ConnectTimeout => "connection timed out",
        Failure::Tls => "TLS handshake or certificate rejected",
        Failure::Timeout => "response timed out",
        Failure::TooLarge => "response too large",
        Failure::Other => "connection closed before the response",
    });
    if failure.may_have_been_sent() {
        return Outcome::Unclear(reason);
    }
    Outcome::NotSent { reason, can_retry: failure != Failure::Blocked }
}

/// The outcome of a status without the vendor's success. Only a rejected request certainly sent nothing: a load
/// balancer may answer 503, and a web server may redirect, after the gateway has received the message. `code` is the
/// vendor's own error code.
pub(super) fn by_status(status: StatusCode, code: Option<&str>) -> Outcome {
    let reason = |what| Reason::with_code(what, code.unwrap_or(status.as_str()));
    match status {
        StatusCode::TOO_MANY_REQUESTS => Outcome::busy(reason("rate limited:")),
        // A proxy may answer 408 for a request that it has forwarded.
        StatusCode::REQUEST_TIMEOUT => Outcome::Unclear(reason("server error:")),
        status if status.is_server_error() => Outcome::Unclear(reason("server error:")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::refused(reason("authentication failed:")),
        status if status.is_client_error() => Outcome::refused(reason("request rejected:")),
        _ => Outcome::Unclear(reason("unexpected response:")),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use shared::outbound::failure::Failure;

    use super::{Outcome, by_status, unanswered};

    fn kind(outcome: &Outcome) -> (&'static str, bool) {
        (outcome.label(), matches!(outcome, Outcome::NotSent { can_retry: true, .. }))
    }

    #[test]
    fn only_a_request_that_was_not_written_may_go_to_another_provider() {
        for (failure, label, can_retry) in [
            (Failure::Blocked, "not_sent", false),
            (Failure::Dns, "not_sent", true),
            (Failure::Connect, "not_sent", true),
            (Failure::ConnectTimeout, "not_sent", true),
            (Failure::Tls, "not_sent", true),
            (Failure::Timeout, "unclear", false),
            (Failure::TooLarge, "unclear", false),
            (Failure::Other, "unclear", false),
        ] {
            assert_eq!(kind(&unanswered(failure)), (label, can_retry), "{failure:?}");
        }
    }

    #[test]
    fn a_rejected_request_sent_nothing_and_a_failed_one_may_have() {
        for (status, label, can_retry) in [
            (200, "unclear", false),
            (100, "unclear", false),
            (302, "unclear", false),
            (307, "unclear", false),
            (400, "not_sent", false),
            (401, "not_sent", false),
            (404, "not_sent", false),
            (408, "unclear", false),
            (429, "not_sent", true),
            (500, "unclear", false),
            (502, "unclear", false),
            (503, "unclear", false),
            (504, "unclear", false),
        ] {
            let outcome = by_status(StatusCode::from_u16(status).unwrap(), None);
            assert_eq!(kind(&outcome), (label, can_retry), "{status}");
        }
        let shown = |code| match by_status(StatusCode::BAD_REQUEST, code) {
            Outcome::NotSent { reason, .. } => reason.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(shown(None), "request rejected: 400");
        assert_eq!(shown(Some("21408")), "request rejected: 21408");
    }
}
