//! Access tokens: one for each account, shared by all its apps and deliveries.
//!
//! Invariant: at most one request for an account's token is in flight; it completes even if every delivery stops waiting; and
//! no delivery waits for a new token while the current one is valid.

pub(crate) mod grant;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;
use tokio::sync::watch;

use self::grant::Grant;
use super::log_throttle::LogThrottle;
use super::outcome::Failure;

/// How long before its expiry a token is renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The delay after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// The minimum age of an unproven token before it is replaced again: otherwise every delivery of a project that refuses the
/// account would request a new one.
const MIN_UNPROVEN_AGE: Duration = Duration::from_secs(10);

/// The source of an account's tokens: a token endpoint, or a key that signs them.
pub(crate) trait TokenSource: Send + Sync + 'static {
    /// The line for the log when there is no token: what is missing and what the operator has to check.
    const PROBLEM: &'static str;

    /// The note on an app whose account has no token.
    const NOTE: &'static str;

    /// Requests a token once.
    ///
    /// # Errors
    /// The reason, for a log.
    fn request(&self, now: Timestamp) -> impl Future<Output = Result<Grant, String>> + Send;
}

/// An account and its token.
pub(crate) struct Account<S> {
    source: S,
    clock: Clock,
    log: LogThrottle,
    state: Mutex<State>,
    /// The number of completed requests.
    completed: watch::Sender<u64>,
}

/// A token as the value of the header field, with its times.
#[derive(Clone)]
pub(crate) struct Token(Arc<Issued>);

struct Issued {
    authorization: HeaderValue,
    issued: Timestamp,
    renew_at: Timestamp,
    expires: Timestamp,
}

/// The token is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoToken {
    /// The time until the next request for a token.
    pub(crate) retry_after: Duration,
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
    project_id: Option<String>,
}

impl Token {
    /// The value of `Authorization`.
    pub(crate) fn authorization(&self) -> HeaderValue {
        self.0.authorization.clone()
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<S: TokenSource> Account<S> {
    pub(crate) fn new(source: S, clock: Clock) -> Self {
        let (log, state, completed) = (LogThrottle::default(), Mutex::default(), watch::Sender::new(0));
        Self { source, clock, log, state, completed }
    }

    /// The project that the source of the last token named.
    pub(crate) fn project_id(&self) -> Option<String> {
        self.state.lock().project_id.clone()
    }

    /// Whether the last request brought a token, as [`Provider::readiness`] says it.
    ///
    /// [`Provider::readiness`]: super::Provider::readiness
    ///
    /// # Errors
    /// What is missing before the first response.
    pub(crate) fn readiness(&self) -> Result<Option<&'static str>, &'static str> {
        match self.state.lock().has_token {
            Some(true) => Ok(None),
            Some(false) => Ok(Some(S::NOTE)),
            None => Err("has no access token yet"),
        }
    }

    /// Why the last request brought no token.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = self.state.lock();
        (state.has_token == Some(false)).then(|| state.last_failure.clone())
    }

    /// The reason of the last failed request, for a log.
    pub(crate) fn last_failure(&self) -> String {
        self.state.lock().last_failure.clone()
    }

    /// The token to use now; waits only if there is no valid one. `app` labels the metrics.
    ///
    /// # Errors
    /// [`NoToken`] during the backoff after a failure.
    pub(crate) async fn token(self: &Arc<Self>, app: &Arc<str>) -> Result<Token, NoToken> {
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

    /// Gets a token unless there is a valid one.
    ///
    /// # Errors
    /// The wait before the next try.
    pub(crate) async fn warm_up(self: &Arc<Self>, app: &Arc<str>) -> Result<(), Duration> {
        self.token(app).await.map(drop).map_err(|NoToken { retry_after }| retry_after)
    }

    /// As [`Account::token`], for a delivery that ends at `deadline`.
    ///
    /// # Errors
    /// [`Failure`] if there is no token in time.
    pub(crate) async fn token_before(self: &Arc<Self>, deadline: Instant, app: &Arc<str>) -> Result<Token, Failure> {
        match tokio::time::timeout_at(deadline.into(), self.token(app)).await {
            Ok(Ok(token)) => Ok(token),
            Ok(Err(NoToken { retry_after })) => {
                Err(Failure { retry_in_request: true, ..Failure::upstream("no_token", Some(retry_after)) })
            }
            Err(_) => Err(Failure::upstream("no_token", None)),
        }
    }

    /// Discards a token that the push service refused, so that the next call of [`Account::token`] requests a new one.
    pub(crate) fn refuse(&self, refused: &Token) {
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

    /// Records that the push service accepts `token`.
    pub(crate) fn accept(&self, token: &Token) {
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
            Ok((token, project_id)) => {
                state.token = Some(token);
                state.project_id = project_id.or(state.project_id.take());
                state.has_token = Some(true);
                (state.failures, state.not_before) = (0, None);
            }
            Err(reason) => {
                state.failures = state.failures.saturating_add(1);
                let wait = BACKOFF.after(state.failures);
                state.not_before = Some(now.plus(wait));
                let next_retry_in = wait.as_secs();
                if self.log.allow(now) {
                    tracing::error!(app, reason, next_retry_in, "{}", S::PROBLEM);
                }
                state.last_failure = reason;
                state.has_token = Some(state.token.as_ref().is_some_and(|token| now < token.0.expires));
            }
        }
        drop(state);
        self.completed.send_modify(|count| *count += 1);
    }

    /// Requests a token once; with it the project, if the source names one.
    ///
    /// # Errors
    /// The reason, for a log.
    async fn request_token(&self, now: Timestamp) -> Result<(Token, Option<String>), String> {
        let Grant { access_token, lifetime, project_id } = self.source.request(now).await?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", access_token.expose()))
            .map_err(|_| String::from("the token endpoint sent an unreadable response"))?;
        value.set_sensitive(true);
        // A short-lived token is used for half of its time, so that it is not renewed at once.
        let renew_at = now.plus(lifetime - RENEW_BEFORE.min(lifetime / 2));
        let (issued, expires) = (self.clock.now(), now.plus(lifetime));
        Ok((Token(Arc::new(Issued { authorization: value, issued, renew_at, expires })), project_id))
    }
}
