//! Firebase Cloud Messaging, HTTP v1 API: Android, and whatever else an operator routes through Google.
//!
//! Invariant: within one attempt a message is sent at most three times, and again only if Google did not take it: once
//! with a new access token, once with less in it.

mod client;
mod credentials;
mod error_body;
mod payload;
mod response;
pub(crate) mod settings;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use metrics::{Counter, Histogram};
use shared::clock::Clock;
use shared::outbound::failure::Failure;
use shared::outbound::settings::Outbound;
use shared::random::Random;

pub(crate) use self::credentials::AccountCache;
pub use self::settings::Settings;

use self::client::pauses::Pauses;
use self::client::{Answer, Route, Transport, TransportError};
use self::credentials::access_token::{Account, NoToken, Source, Token};
use self::credentials::service_account::{ServiceAccount, ServiceAccountError};
use self::error_body::ErrorBody;
use self::payload::Form;
use self::response::{Verdict, advice, verdict};
use self::settings::{Credentials, SettingsError};
use crate::providers::{Delivery, Outcome, Provider, ProviderError, Rejection};

/// A second request within an attempt needs this much time.
const ENOUGH_TIME: Duration = Duration::from_secs(3);

/// How much of what Google says goes into a log, with our advice, in characters.
const MAX_DETAIL: usize = 200;

/// The longest wait after a 429 within one request of a homeserver.
const SHORT_PAUSE: Duration = Duration::from_secs(10);

/// The provider for one app.
#[derive(Debug)]
pub(crate) struct Fcm {
    app: Arc<str>,
    form: Form,
    account: Arc<Account>,
    transport: Transport,
    pauses: Arc<Pauses>,
    seconds: OnceLock<Histogram>,
    /// Looked up once: nearly every answer is of this kind.
    accepted: OnceLock<Counter>,
}

/// Why there is no provider.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The service account's file is of no use.
    #[error(transparent)]
    ServiceAccount(#[from] ServiceAccountError),
    /// There is no way out.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Neither the settings nor the service account name the project.
    #[error("project_id: missing, and the service account's file does not tell it")]
    NoProject,
}

impl Fcm {
    /// The provider for the app with the pattern `app`, which labels what is counted. Nothing is sent to anyone yet.
    ///
    /// # Errors
    /// [`SetupError`]; its text begins with the key that is at fault.
    pub(crate) fn new(
        app: &str,
        settings: &Settings,
        outbound: &Outbound,
        accounts: &AccountCache,
        clock: Clock,
        random: Random,
    ) -> Result<Self, SetupError> {
        settings.check()?;
        let mut project_id = settings.project_id.clone();
        let source = match (settings.credentials, &settings.service_account_file) {
            (Credentials::ServiceAccount, Some(path)) => {
                let account = ServiceAccount::load(path)?;
                project_id = project_id.or_else(|| account.project_id().map(str::to_owned));
                Source::ServiceAccount(account)
            }
            (Credentials::ServiceAccount, None) | (Credentials::Metadata, _) => {
                Source::Metadata(settings.metadata_url()?)
            }
        };
        let project_id = project_id.ok_or(SetupError::NoProject)?;
        let url = settings.send_url(&project_id)?;
        let route = Route::new(outbound).map_err(TransportError::from)?;
        Ok(Self {
            app: Arc::from(app),
            seconds: OnceLock::new(),
            accepted: OnceLock::new(),
            form: Form::new(settings),
            account: accounts.account(source, &route, &clock),
            pauses: accounts.pauses(url.as_str(), &clock, random),
            transport: Transport::new(&url, settings.max_concurrent, &route, clock)?,
        })
    }

    /// Gets an access token unless there is a good one: at start, and to check the credentials.
    ///
    /// # Errors
    /// [`ProviderError::Temporary`]; the reason is in the log.
    pub(crate) async fn obtain_token(&self) -> Result<(), ProviderError> {
        self.account.token(&self.app).await.map(drop).map_err(no_token)
    }

    /// As [`Fcm::obtain_token`], for people.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) async fn try_token(&self) -> Result<(), String> {
        let why = |_| {
            let reason = self.account.last_failure();
            format!("no access token ({reason}): check the service account, the clock and the way to Google")
        };
        self.account.token(&self.app).await.map(drop).map_err(why)
    }

    /// Whether there has ever been an access token.
    pub(crate) fn has_had_token(&self) -> bool {
        self.account.has_had_token()
    }

    async fn token(&self, deadline: Instant) -> Result<Token, ProviderError> {
        match tokio::time::timeout_at(deadline.into(), self.account.token(&self.app)).await {
            Ok(token) => token.map_err(no_token),
            Err(_) => Err(temporary("no_token", None, false)),
        }
    }

    async fn send(&self, token: &Token, body: Bytes) -> Result<Answer, ProviderError> {
        let started = Instant::now();
        let answer = self.transport.send(token.authorization(), body).await;
        let app = || Arc::clone(&self.app);
        let seconds = || metrics::histogram!("push_upstream_seconds", "app" => app(), "type" => "fcm");
        self.seconds.get_or_init(seconds).record(started.elapsed());
        let counter = |code: String| metrics::counter!("push_upstream_status_total", "app" => app(), "code" => code);
        match &answer {
            Ok(answer) if answer.status == 200 => {
                self.accepted.get_or_init(|| counter(String::from("200"))).increment(1);
            }
            Ok(answer) => counter(answer.status.to_string()).increment(1),
            Err(failure) => counter(failure.label().to_owned()).increment(1),
        }
        answer.map_err(|failure| ProviderError::Temporary {
            reason: failure_reason(failure),
            retry_after: None,
            again: true,
            is_outage: true,
        })
    }

    fn count(&self, name: &'static str) {
        metrics::counter!(name, "app" => Arc::clone(&self.app)).increment(1);
    }

    /// A 429: no further attempt within the request, unless Google itself says that it may soon be made.
    fn pause(&self, pushkey: &str, retry_after: Option<Duration>) -> ProviderError {
        let pause = self.pauses.begin(pushkey, retry_after);
        let again = retry_after.is_some_and(|wait| wait <= SHORT_PAUSE);
        temporary("QUOTA_EXCEEDED", Some(pause), again)
    }
}

impl Provider for Fcm {
    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Outcome, ProviderError> {
        let Delivery { notification, device, deadline, .. } = *delivery;
        let message = match self.form.message(notification, device) {
            Ok(message) => message,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        if let Some(wait) = self.pauses.wait(&device.pushkey) {
            return Err(temporary("paused", Some(wait), wait <= SHORT_PAUSE));
        }
        if message.has_ignored_defaults {
            self.count("push_default_payload_ignored_total");
        }
        if message.is_shortened {
            self.count("push_truncated_total");
        }
        let (mut has_renewed, mut is_reduced) = (false, false);
        let mut body = Bytes::from(message.body);
        loop {
            let token = self.token(deadline).await?;
            let answer = self.send(&token, body.clone()).await?;
            let error = if answer.status < 300 { ErrorBody::default() } else { ErrorBody::parse(&answer.body) };
            let verdict = verdict(answer.status, &error);
            tracing::debug!(app = &*self.app, status = answer.status, code = error.label(), "Google has answered");
            tracing::Span::current().record("upstream_status", answer.status).record("upstream_reason", error.label());
            if verdict != Verdict::Renew {
                self.account.accept(&token);
            }
            let permanent = |reason| {
                let detail = format!("{}; Google says: {}", advice(reason), error.detail(&device.pushkey));
                Err(ProviderError::Permanent { reason, detail: detail.chars().take(MAX_DETAIL).collect() })
            };
            match verdict {
                Verdict::Delivered => {
                    if is_reduced {
                        self.count("push_payload_degraded_total");
                    }
                    return Ok(Outcome::Delivered);
                }
                Verdict::Rejected(reason, certainty) => return Ok(Outcome::Rejected(Rejection { reason, certainty })),
                Verdict::Permanent(reason) => return permanent(reason),
                Verdict::Pause => return Err(self.pause(&device.pushkey, answer.retry_after)),
                Verdict::Outage(reason) => {
                    let retry_after = answer.retry_after;
                    return Err(ProviderError::Temporary { reason, retry_after, again: true, is_outage: true });
                }
                Verdict::Renew if has_renewed => return permanent("UNAUTHENTICATED"),
                // An operator who mends them has lost nothing.
                Verdict::Reduce if is_reduced && error.blames_options() => return permanent("INVALID_ARGUMENT"),
                Verdict::Reduce if is_reduced => {
                    let detail = error.detail(&device.pushkey);
                    tracing::error!(app = &*self.app, detail, "Google finds fault with every form of a message");
                    return Ok(Outcome::Dropped("bad_payload"));
                }
                Verdict::Renew | Verdict::Reduce
                    if deadline.saturating_duration_since(Instant::now()) < ENOUGH_TIME =>
                {
                    return Err(temporary("no_time", None, false));
                }
                Verdict::Renew => {
                    self.account.refuse(&token);
                    has_renewed = true;
                }
                Verdict::Reduce => {
                    let detail = error.detail(&device.pushkey);
                    tracing::warn!(app = &*self.app, detail, "Google finds fault with a message: sending less of it");
                    body = self.form.reduced(notification, device).into();
                    is_reduced = true;
                }
            }
        }
    }
}

/// Trouble that says nothing of the push service as a whole.
fn temporary(reason: &'static str, retry_after: Option<Duration>, again: bool) -> ProviderError {
    ProviderError::Temporary { reason, retry_after, again, is_outage: false }
}

fn no_token(NoToken { retry_after }: NoToken) -> ProviderError {
    temporary("no_token", Some(retry_after), true)
}

fn failure_reason(failure: Failure) -> &'static str {
    match failure {
        Failure::Timeout | Failure::ConnectTimeout => "timeout",
        Failure::Tls => "tls",
        Failure::Dns | Failure::Connect | Failure::Blocked => "connect",
        Failure::TooLarge | Failure::Other => "connection_lost",
    }
}

#[cfg(test)]
mod tests;
