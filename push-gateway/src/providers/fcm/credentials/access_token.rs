//! Access tokens: one for each account, however many apps and deliveries need it.
//!
//! Invariant: at any time at most one request for an account's token is under way; it runs to its end even if nobody
//! waits any more; and while a token is good, nobody waits for the next one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use serde::Deserialize;
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;
use shared::outbound::client::Client;
use shared::secret::Secret;
use tokio::sync::watch;
use url::Url;

use super::super::client::exchange;
use super::super::error_body::escaped;
use super::service_account::{SCOPE, ServiceAccount};

/// How long before its end a token is renewed.
const EARLY: Duration = Duration::from_secs(5 * 60);

/// The delay after failed requests.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));

/// How long a token must have been in use before it is given up a second time without ever having been accepted:
/// otherwise every delivery of a project that refuses us would ask for another one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where tokens come from.
pub(in super::super) enum Source {
    /// Google's token endpoint, for an assertion that the account's key signs.
    ServiceAccount(ServiceAccount),
    /// The cloud's metadata server.
    Metadata(Url),
}

/// An account and its token.
pub(in super::super) struct Account {
    source: Source,
    client: Client,
    clock: Clock,
    state: Mutex<State>,
    /// Counts the requests that have ended, however they did.
    ended: watch::Sender<u64>,
}

/// A token as it is sent, and what is known of it.
#[derive(Clone)]
pub(in super::super) struct Token(Arc<Issued>);

struct Issued {
    authorization: HeaderValue,
    since: Timestamp,
    renew_at: Timestamp,
    end: Timestamp,
}

/// Why there is no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct NoToken {
    /// When the next request for one will be made.
    pub(in super::super) retry_after: Duration,
}

#[derive(Default)]
struct State {
    token: Option<Token>,
    /// Whether `token` was fetched because Google refused the one before, and has not been accepted since.
    is_doubtful: bool,
    is_fetching: bool,
    has_had_token: bool,
    failures: u32,
    last_failure: String,
    not_before: Option<Timestamp>,
}

/// What a token endpoint answers.
#[derive(Deserialize)]
struct TokenAnswer {
    access_token: Secret<String>,
    expires_in: u64,
}

/// What it answers when it refuses (RFC 6749 §5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: String,
    error_description: String,
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
    pub(in super::super) fn new(source: Source, client: Client, clock: Clock) -> Self {
        Self { source, client, clock, state: Mutex::default(), ended: watch::Sender::new(0) }
    }

    /// Whether it has ever got a token.
    pub(in super::super) fn has_had_token(&self) -> bool {
        self.state().has_had_token
    }

    /// Why there was no token when one was last asked for in vain; fit for a log.
    pub(in super::super) fn last_failure(&self) -> String {
        self.state().last_failure.clone()
    }

    /// The token to use now; waits for one only if there is none that is good. `app` labels what is counted.
    ///
    /// # Errors
    /// [`NoToken`] after a failure, until it is time for the next request.
    pub(in super::super) async fn token(self: &Arc<Self>, app: &Arc<str>) -> Result<Token, NoToken> {
        if let Some(outcome) = self.token_now(app) {
            return outcome;
        }
        // From here on no end can be missed: the state is looked at again after this.
        let mut ended = self.ended.subscribe();
        loop {
            if let Some(outcome) = self.token_now(app) {
                return outcome;
            }
            // The sender lives as long as `self` does.
            let _changed = ended.changed().await;
        }
    }

    /// Gives up `refused`, which Google does not accept, so that the next call of [`Account::token`] gets a new one.
    pub(in super::super) fn refuse(&self, refused: &Token) {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(current) = &state.token else { return };
        let is_hopeless = state.is_doubtful && now.since(current.0.since) < PATIENCE;
        if current.is(refused) && !is_hopeless {
            state.token = None;
            state.is_doubtful = true;
        }
    }

    /// Takes note that Google accepts `token`.
    pub(in super::super) fn accept(&self, token: &Token) {
        let mut state = self.state();
        if state.is_doubtful && state.token.as_ref().is_some_and(|current| current.is(token)) {
            state.is_doubtful = false;
        }
    }

    /// The answer that needs no waiting; `None` while a request is under way. Starts one if it is time.
    fn token_now(self: &Arc<Self>, app: &Arc<str>) -> Option<Result<Token, NoToken>> {
        let now = self.clock.now();
        let mut state = self.state();
        let wait = state.not_before.map_or(Duration::ZERO, |not_before| not_before.since(now));
        let good = state.token.clone().filter(|token| now < token.0.end);
        let is_wanted = good.as_ref().is_none_or(|token| now >= token.0.renew_at);
        if is_wanted && !state.is_fetching && wait.is_zero() {
            state.is_fetching = true;
            let (account, app) = (Arc::clone(self), Arc::clone(app));
            tokio::spawn(async move { account.fetch(&app).await });
        }
        match good {
            Some(token) => Some(Ok(token)),
            None if state.is_fetching => None,
            None => Some(Err(NoToken { retry_after: wait })),
        }
    }

    async fn fetch(&self, app: &str) {
        let started = self.clock.now();
        let outcome = self.ask(started).await;
        let result = if outcome.is_ok() { "success" } else { "failure" };
        metrics::counter!("push_token_refresh_total", "app" => app.to_owned(), "result" => result).increment(1);
        let now = self.clock.now();
        let mut state = self.state();
        state.is_fetching = false;
        match outcome {
            Ok(token) => {
                state.token = Some(token);
                state.has_had_token = true;
                (state.failures, state.not_before) = (0, None);
            }
            Err(reason) => {
                state.failures = state.failures.saturating_add(1);
                let wait = BACKOFF.after(state.failures);
                state.not_before = Some(now.plus(wait));
                tracing::error!(
                    app,
                    reason,
                    wait_s = wait.as_secs(),
                    "no access token for Google: check the service account, the clock and the way to Google"
                );
                state.last_failure = reason;
            }
        }
        drop(state);
        self.ended.send_modify(|count| *count += 1);
    }

    /// Asks once; tells why there is no token in words fit for a log.
    async fn ask(&self, now: Timestamp) -> Result<Token, String> {
        let request = self.request(now)?;
        let answer = exchange(&self.client, request, &self.clock).await.map_err(|failure| failure.to_string())?;
        if answer.status != 200 {
            let Refusal { error, error_description } = serde_json::from_slice(&answer.body).unwrap_or_default();
            return Err(escaped(&format!("status {} {error} {error_description}", answer.status)));
        }
        let unusable = || String::from("the answer to the request for a token cannot be read");
        let answer: TokenAnswer = serde_json::from_slice(&answer.body).map_err(|_| unusable())?;
        let lifetime = Duration::from_secs(answer.expires_in.min(24 * 60 * 60));
        let mut authorization =
            HeaderValue::try_from(format!("Bearer {}", answer.access_token.expose())).map_err(|_| unusable())?;
        authorization.set_sensitive(true);
        if lifetime.is_zero() {
            return Err(String::from("the token that came has ended already"));
        }
        // A short life leaves half of it, so that a token is never renewed as soon as it is there.
        let renew_at = now.plus(lifetime - EARLY.min(lifetime / 2));
        Ok(Token(Arc::new(Issued { authorization, since: self.clock.now(), renew_at, end: now.plus(lifetime) })))
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Account")
    }
}
