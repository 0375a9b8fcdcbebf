//! Access tokens: one for each account, shared by all its apps and deliveries.
//!
//! Invariant: at most one request for an account's token is in flight; it completes even if every delivery stops waiting; and
//! no delivery waits for a new token while the current one is valid.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use parking_lot::Mutex;
use serde::Deserialize;
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;
use shared::secret::Secret;
use tokio::sync::watch;
use url::Url;

use super::super::client::exchange;
use super::super::request::plain_url;
use super::super::settings::{Credentials, Settings};
use super::service_account::{SCOPE, ServiceAccount};
use crate::providers::SetupError;
use crate::providers::log_throttle::escaped;
use crate::upstream::origins::Origins;

/// How long before its expiry a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The delay after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The minimum age of an unproven token before it is replaced again: otherwise every delivery of a project that refuses the
/// account would request a new one.
const MIN_UNPROVEN_AGE: Duration = Duration::from_secs(10);

/// The source of tokens.
pub(in super::super) enum Source {
    /// Google's token endpoint, for an assertion that the account's key signs.
    ServiceAccount(ServiceAccount),
    /// The cloud's metadata server.
    Metadata(Url),
}

/// An account and its token.
pub(in super::super) struct Account {
    source: Source,
    client: Origins,
    clock: Clock,
    state: Mutex<State>,
    /// The number of completed requests.
    completed: watch::Sender<u64>,
}

/// A token as the value of the header field, with its times.
#[derive(Clone)]
pub(in super::super) struct Token(Arc<Issued>);

struct Issued {
    authorization: HeaderValue,
    issued: Timestamp,
    renew_at: Timestamp,
    expires: Timestamp,
}

/// The token is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct NoToken {
    /// The time until the next request for a token.
    pub(in super::super) retry_after: Duration,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Whether `token` replaced a refused one, and no request with it has succeeded yet.
    is_unproven: bool,
    is_fetching: bool,
    /// Whether the last request brought a token; `None` before the first response.
    has_token: Option<bool>,
    failures: u32,
    last_failure: String,
    not_before: Option<Timestamp>,
}

/// The response of a token endpoint.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret<String>,
    expires_in: u64,
}

/// The error response of a token endpoint (RFC 6749 §5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenError {
    error: String,
    error_description: String,
}

impl Source {
    /// The source that the settings name; reads the service account's file.
    pub(in super::super) fn load(settings: &Settings) -> Result<Self, SetupError> {
        Ok(match (settings.credentials, &settings.service_account, &settings.service_account_file) {
            (Credentials::ServiceAccount, Some(_), Some(_)) => {
                return Err("service_account and service_account_file are both set; keep one of them".into());
            }
            (Credentials::ServiceAccount, Some(text), None) => Self::ServiceAccount(ServiceAccount::from_text(text)?),
            (Credentials::ServiceAccount, None, Some(path)) => Self::ServiceAccount(ServiceAccount::load(path)?),
            (Credentials::ServiceAccount, None, None) | (Credentials::Metadata, _, _) => {
                Self::Metadata(plain_url("metadata_url", &settings.metadata_url)?)
            }
        })
    }

    /// The project of the service account.
    pub(in super::super) fn project_id(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project_id(),
            Self::Metadata(_) => None,
        }
    }
}

impl Token {
    /// The value of `Authorization`.
    pub(in super::super) fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Account {
    pub(in super::super) fn new(source: Source, client: Origins, clock: Clock) -> Self {
        Self { source, client, clock, state: Mutex::default(), completed: watch::Sender::new(0) }
    }

    /// Whether the last request brought a token; `None` before the first response.
    pub(in super::super) fn has_token(&self) -> Option<bool> {
        self.state.lock().has_token
    }

    /// The reason of the last failed request, for a log.
    pub(in super::super) fn last_failure(&self) -> String {
        self.state.lock().last_failure.clone()
    }

    /// The token to use now; waits only if there is no valid one. `app` labels the metrics.
    ///
    /// # Errors
    /// [`NoToken`] during the backoff after a failure.
    pub(in super::super) async fn token(self: &Arc<Self>, app: &Arc<str>) -> Result<Token, NoToken> {
        if let Some(outcome) = self.token_now(app) {
            return outcome;
        }
        // Subscribed before the state is checked again: no completion is missed.
        let mut completed = self.completed.subscribe();
        loop {
            if let Some(outcome) = self.token_now(app) {
                return outcome;
            }
            // The sender lives as long as `self`.
            let _ = completed.changed().await;
        }
    }

    /// Discards a token that FCM refused, so that the next call of [`Account::token`] requests a new one.
    pub(in super::super) fn refuse(&self, refused: &Token) {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let Some(current) = &state.token else { return };
        // A token from the future was issued before the clock was set back.
        let is_recent = current.0.issued <= now && now.since(current.0.issued) < MIN_UNPROVEN_AGE;
        let is_too_young = state.is_unproven && is_recent;
        if current.is(refused) && !is_too_young {
            state.token = None;
            state.is_unproven = true;
        }
    }

    /// Records that FCM accepts `token`.
    pub(in super::super) fn accept(&self, token: &Token) {
        let mut state = self.state.lock();
        if state.is_unproven && state.token.as_ref().is_some_and(|current| current.is(token)) {
            state.is_unproven = false;
        }
    }

    /// The result that is available now; `None` while a request is in flight. Starts a request if it is due.
    fn token_now(self: &Arc<Self>, app: &Arc<str>) -> Option<Result<Token, NoToken>> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        // A clock that was set back never prolongs the pause.
        let longest = BACKOFF.after(state.failures);
        let wait = state.not_before.map_or(Duration::ZERO, |not_before| not_before.since(now)).min(longest);
        state.not_before = (!wait.is_zero()).then(|| now.plus(wait));
        let valid = state.token.clone().filter(|token| now < token.0.expires);
        let is_due = valid.as_ref().is_none_or(|token| now >= token.0.renew_at);
        if is_due && !state.is_fetching && wait.is_zero() {
            state.is_fetching = true;
            let (account, app) = (Arc::clone(self), Arc::clone(app));
            tokio::spawn(async move { account.fetch(&app).await });
        }
        match valid {
            Some(token) => Some(Ok(token)),
            None if state.is_fetching => None,
            None => Some(Err(NoToken { retry_after: wait })),
        }
    }

    async fn fetch(&self, app: &str) {
        let started = self.clock.now();
        let outcome = self.request_token(started).await;
        let result = if outcome.is_ok() { "success" } else { "failure" };
        metrics::counter!("push_token_refresh_total", "app" => app.to_owned(), "result" => result).increment(1);
        let now = self.clock.now();
        let mut state = self.state.lock();
        state.is_fetching = false;
        match outcome {
            Ok(token) => {
                state.token = Some(token);
                state.has_token = Some(true);
                (state.failures, state.not_before) = (0, None);
            }
            Err(reason) => {
                state.failures = state.failures.saturating_add(1);
                let wait = BACKOFF.after(state.failures);
                state.not_before = Some(now.plus(wait));
                let next_retry_in = wait.as_secs();
                tracing::error!(
                    app,
                    reason,
                    next_retry_in,
                    "no access token for Google: check the service account, the clock and the connection to Google"
                );
                state.last_failure = reason;
                state.has_token = Some(state.token.as_ref().is_some_and(|token| now < token.0.expires));
            }
        }
        drop(state);
        self.completed.send_modify(|count| *count += 1);
    }

    /// Requests a token once.
    ///
    /// # Errors
    /// The reason, for a log.
    async fn request_token(&self, now: Timestamp) -> Result<Token, String> {
        let request = self.request(now)?;
        let answer = exchange(&self.client, request).await.map_err(|failure| failure.to_string())?;
        if answer.status != 200 {
            let TokenError { error, error_description } = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(escaped(&format!("status {} {error} {error_description}", answer.status)));
        }
        let unusable = || String::from("the token endpoint sent an unreadable response");
        let answer: TokenResponse = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
        let lifetime = Duration::from_secs(answer.expires_in.min(24 * 60 * 60));
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", answer.access_token.expose())).map_err(|_| unusable())?;
        authorization.set_sensitive(true);
        if lifetime.is_zero() {
            return Err(String::from("the token endpoint sent an expired token"));
        }
        // A short-lived token is used for half of its time, so that it is not renewed at once.
        let renew_at = now.plus(lifetime - RENEW_BEFORE.min(lifetime / 2));
        Ok(Token(Arc::new(Issued { authorization, issued: self.clock.now(), renew_at, expires: now.plus(lifetime) })))
    }

    fn request(&self, now: Timestamp) -> Result<Request<Full<Bytes>>, String> {
        let request = match &self.source {
            Source::ServiceAccount(account) => {
                let assertion = account.assertion(now).map_err(|_| String::from("the key cannot sign"))?;
                // A JWT contains no characters that a form has to escape.
                let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
                Request::post(account.token_uri().as_str())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::from(format!("{grant}&assertion={}", assertion.expose())))
            }
            Source::Metadata(url) => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("scopes", SCOPE);
                Request::get(url.as_str()).header("metadata-flavor", "Google").body(Full::default())
            }
        };
        request.map_err(|error| format!("invalid URL of the token endpoint: {error}"))
    }
}
