//! Providers that take a message in one HTTP request: how it is carried, and what its failures mean.
//!
//! Invariant: a request is written at most once, on a connection that nothing was sent on before. A connection kept from
//! an earlier message may be closing, and then nobody can tell whether the request was still read.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, StatusCode};
use shared::clock::{Clock, Timestamp};
use shared::config::Globs;
use shared::outbound::client::{Client, Reply, pool};
use shared::outbound::connector::Connector;
use shared::outbound::failure::Failure;
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use shared::outbound::tls;
use url::Url;

use super::SmsSetupError;
use super::provider::{Outcome, Provider, Reason, Sms};
use crate::config::sms::SmsConfig;

/// The most that is read of a reply; what matters stands at its beginning.
const MAX_REPLY: usize = 64 << 10;

/// What a vendor wants to be asked, and what its answers mean; pure.
pub(super) trait Api: Send + Sync {
    /// The request for one message.
    fn request(&self, sms: &Sms<'_>, now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error>;

    /// What an answer means.
    fn outcome(&self, reply: &Reply) -> Outcome;
}

/// A vendor behind HTTP.
pub(super) struct OverHttp<A> {
    api: A,
    carrier: Carrier,
}

impl<A: Api> OverHttp<A> {
    pub(super) fn new(api: A, carrier: Carrier) -> Self {
        Self { api, carrier }
    }
}

impl<A: Api> Provider for OverHttp<A> {
    fn send<'a>(&'a self, sms: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        let request = self.api.request(sms, self.carrier.clock.now());
        async move {
            match self.carrier.exchange(request).await {
                Ok(reply) => self.api.outcome(&reply),
                Err(outcome) => outcome,
            }
        }
        .boxed()
    }
}

/// Carries requests to addresses that the operator wrote. Clones share everything.
#[derive(Clone)]
pub(super) struct Carrier {
    client: Client,
    clock: Clock,
}

impl Carrier {
    pub(super) fn new(config: &SmsConfig, extra_ca: Option<&Path>, clock: Clock) -> Result<Self, SmsSetupError> {
        let setup = |error: &dyn std::fmt::Display| SmsSetupError::Setup(error.to_string());
        let tls = tls::client_config(extra_ca, true).map_err(|error| setup(&error))?;
        let proxy = ProxyRule::new(config.proxy.clone(), Globs::default());
        let total = config.timeout.get();
        // Shorter than the total, so that a connection that times out differs from a request that was sent.
        let connect_timeout = (total / 2).min(Duration::from_secs(5));
        let connector = Connector::new(Resolver::System, proxy, tls, connect_timeout);
        Ok(Self { client: Client::new(connector, &pool(), total), clock })
    }

    async fn exchange(&self, request: Result<Request<Vec<u8>>, hyper::http::Error>) -> Result<Reply, Outcome> {
        let unsayable = || Outcome::refused(Reason::new("the request cannot be written with these settings"));
        let (mut head, body) = request.map_err(|_| unsayable())?.into_parts();
        // Normalises the URL: percent-encodes what `Uri` leaves as it is.
        let url = Url::parse(&head.uri.to_string()).map_err(|_| unsayable())?;
        head.uri = url.as_str().parse().map_err(|_| unsayable())?;
        head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        let request = Request::from_parts(head, Full::new(Bytes::from(body)));
        self.client.fetch(request, MAX_REPLY).await.map_err(unanswered)
    }
}

/// The outcome of a request without a response.
fn unanswered(failure: Failure) -> Outcome {
    let reason = Reason::new(match failure {
        Failure::Blocked => "its address is not allowed",
        Failure::Dns => "its name does not resolve",
        Failure::Connect => "it accepts no connection",
        Failure::ConnectTimeout => "no connection in time",
        Failure::Tls => "its TLS certificate or handshake is not acceptable",
        Failure::Timeout => "no answer in time",
        Failure::TooLarge => "its answer is too large",
        Failure::Other => "its answer broke off",
    });
    if failure.may_have_been_sent() {
        return Outcome::Unclear(reason);
    }
    Outcome::NotSent { reason, again: failure != Failure::Blocked }
}

/// What a status other than success means, whoever sends it: only who refuses a request has surely not carried it out.
/// `code` is the vendor's own, if it gave one.
pub(super) fn by_status(status: StatusCode, code: Option<&str>) -> Outcome {
    let reason = |what| match code {
        Some(code) => Reason::with_code(what, code),
        None => Reason::with_code(what, status.as_str()),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Outcome::NotSent { reason: reason("it asks for patience:"), again: true }
        }
        // Something between us may say 408 for a request that went on all the same.
        StatusCode::REQUEST_TIMEOUT => Outcome::Unclear(reason("it failed:")),
        status if status.is_server_error() => Outcome::Unclear(reason("it failed:")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Outcome::refused(reason("it does not let us in:")),
        status if status.is_success() => Outcome::Unclear(reason("it answered something unheard of:")),
        _ => Outcome::refused(reason("it refused:")),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use shared::outbound::failure::Failure;

    use super::{Outcome, by_status, unanswered};

    fn kind(outcome: &Outcome) -> (&'static str, bool) {
        (outcome.label(), matches!(outcome, Outcome::NotSent { again: true, .. }))
    }

    #[test]
    fn only_what_surely_was_not_read_may_be_sent_by_somebody_else() {
        for (failure, label, again) in [
            (Failure::Blocked, "not_sent", false),
            (Failure::Dns, "not_sent", true),
            (Failure::Connect, "not_sent", true),
            (Failure::ConnectTimeout, "not_sent", true),
            (Failure::Tls, "not_sent", true),
            (Failure::Timeout, "unclear", false),
            (Failure::TooLarge, "unclear", false),
            (Failure::Other, "unclear", false),
        ] {
            assert_eq!(kind(&unanswered(failure)), (label, again), "{failure:?}");
        }
    }

    #[test]
    fn who_refuses_has_not_sent_it_and_who_fails_may_have() {
        for (status, label, again) in [
            (200, "unclear", false),
            (302, "not_sent", false),
            (400, "not_sent", false),
            (401, "not_sent", false),
            (404, "not_sent", false),
            (408, "unclear", false),
            (429, "not_sent", true),
            (500, "unclear", false),
            (502, "unclear", false),
            (503, "not_sent", true),
            (504, "unclear", false),
        ] {
            assert_eq!(kind(&by_status(StatusCode::from_u16(status).unwrap(), None)), (label, again), "{status}");
        }
        let told = |code| match by_status(StatusCode::BAD_REQUEST, code) {
            Outcome::NotSent { reason, .. } => reason.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(told(None), "it refused: 400");
        assert_eq!(told(Some("21408")), "it refused: 21408");
    }
}
