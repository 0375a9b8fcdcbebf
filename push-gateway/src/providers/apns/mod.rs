//! Apple's push service: one request to it for each notification and device.
//!
//! Invariant: a pushkey is rejected only on Apple's word about that very key, or if it cannot be a device token at all.
//! Whatever else Apple says, and whatever it does not say, leaves the pusher alone.

mod client;
mod credentials;
mod payload;
mod request;
mod response;
pub(crate) mod settings;
mod setup;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use metrics::{Counter, Histogram};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use shared::clock::{Clock, Timestamp};
use shared::outbound::retry_after;
use shared::outbound::settings::Outbound;

pub(crate) use self::credentials::token::ProviderTokenCache;
pub use self::settings::Settings;
pub(crate) use self::setup::SetupError;

use self::client::{Answer, Failure, NoConnection, Timing, Transport};
use self::credentials::token::Authorization;
use self::payload::{Payload, SMALLER_LIMIT, payload};
use self::request::{DeviceToken, Envelope, Push};
use self::response::{Verdict, Words, judge};
use self::setup::{Credentials, Parts, report_expiry, set_up};
use crate::providers::{Certainty, Delivery, Outcome, Provider, ProviderError, Rejection};

/// How long a device gets nothing after Apple said that it got too much.
const DEVICE_PAUSE: Duration = Duration::from_secs(30);
/// How many devices may be paused, or remembered as registered again, at once.
const REMEMBERED: u64 = 100_000;
/// How long it is remembered that a device was registered again.
const REMEMBER_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Delivers for one app.
pub(crate) struct Apns {
    app: String,
    settings: Settings,
    parts: Parts,
    clock: Clock,
    /// Devices, and until when they get nothing.
    paused: Cache<[u8; 32], Timestamp>,
    /// Devices that were gone before they registered again, and were given another chance for it.
    renewed: Cache<[u8; 32], ()>,
    seconds: Histogram,
    /// Looked up once: nearly every answer is of this kind.
    accepted: OnceLock<Counter>,
    truncated: Counter,
}

impl Apns {
    /// Reads keys and certificates; connects to nothing. `app` is the app's pattern, for labels; apps with the same key
    /// must be given the same `tokens`.
    ///
    /// # Errors
    /// [`SetupError`] for settings that cannot work.
    pub(crate) fn new(
        app: &str,
        settings: &Settings,
        outbound: &Outbound,
        tokens: &ProviderTokenCache,
        clock: Clock,
    ) -> Result<Self, SetupError> {
        Self::with_timing(app, settings, outbound, tokens, clock, Timing::USUAL)
    }

    fn with_timing(
        app: &str,
        settings: &Settings,
        outbound: &Outbound,
        tokens: &ProviderTokenCache,
        clock: Clock,
        timing: Timing,
    ) -> Result<Self, SetupError> {
        let parts = set_up(app, settings, outbound, tokens, timing)?;
        if let Credentials::Certificate(certificate) = &parts.credentials {
            report_expiry(app, certificate.not_after, &clock);
        }
        Ok(Self {
            app: app.to_owned(),
            settings: settings.clone(),
            parts,
            clock,
            paused: Cache::builder().max_capacity(REMEMBERED).time_to_live(DEVICE_PAUSE).build(),
            renewed: Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBER_FOR).build(),
            accepted: OnceLock::new(),
            seconds: metrics::histogram!("push_upstream_seconds", "app" => app.to_owned(), "type" => "apns"),
            truncated: metrics::counter!("push_truncated_total", "app" => app.to_owned()),
        })
    }

    /// Connects, so that the first push need not wait. Must run on a runtime that outlives this provider, as must
    /// [`Provider::deliver`]: the connections live on it.
    pub(crate) fn warm_up(&self) {
        self.parts.platform.warm_up();
    }

    /// Connects, and waits for it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        self.parts.connect().await
    }

    /// When the client certificate ends, if there is one.
    pub(crate) fn credential_expiry(&self) -> Option<Timestamp> {
        match &self.parts.credentials {
            Credentials::Certificate(certificate) => Some(certificate.not_after),
            Credentials::Token(_) => None,
        }
    }

    /// Sends, and sends again what Apple takes in another form; each form once.
    async fn push(&self, delivery: &Delivery<'_>, mut push: Push) -> Result<Outcome, ProviderError> {
        let mut authorization = self.authorize(&mut push)?;
        let mut transport = &self.parts.platform;
        let mut fallback = self.parts.fallback.as_ref();
        let (mut renewed, mut smaller) = (false, false);
        loop {
            let (answer, words) = self.send(transport, &push, delivery.deadline).await?;
            let (verdict, reason) = judge(answer.status, words.reason.as_deref());
            match verdict {
                Verdict::Delivered => return Ok(Outcome::Delivered),
                Verdict::Suspect if reason == "BadDeviceToken" && fallback.is_some() => {
                    transport = fallback.take().unwrap_or(transport);
                }
                Verdict::Suspect => return Ok(rejected(reason, Certainty::Suspect)),
                Verdict::Dead => return self.dead(delivery, &words, reason).await,
                Verdict::Ours(hint) => return Err(ours(&answer, &words, reason, hint)),
                Verdict::Expired => match self.renew(authorization.as_ref(), &mut push).filter(|_| !renewed) {
                    Some(other) => (authorization, renewed) = (Some(other), true),
                    None => return Err(ours(&answer, &words, reason, "check the clock")),
                },
                Verdict::TooLarge if smaller => return Ok(Outcome::Dropped("too_large")),
                Verdict::TooLarge => match self.payload(delivery, Some(SMALLER_LIMIT)) {
                    Ok(payload) => {
                        push.set_body(payload.bytes.into());
                        smaller = true;
                    }
                    Err(reason) => return Ok(Outcome::Dropped(reason)),
                },
                Verdict::TooMany => {
                    self.paused.insert(device_key(delivery), self.clock.now().plus(DEVICE_PAUSE)).await;
                    return Err(later(reason, Some(DEVICE_PAUSE), false, false));
                }
                Verdict::TooManyTokens => {
                    if let Credentials::Token(token) = &self.parts.credentials {
                        token.freeze(self.clock.now());
                    }
                    return Err(later(reason, None, false, false));
                }
                Verdict::Trouble => return Err(later(reason, self.wait(&answer), true, true)),
                Verdict::BadConnection { is_outage } => {
                    answer.retire_connection();
                    return Err(later(reason, self.wait(&answer), true, is_outage));
                }
            }
        }
    }

    async fn send(
        &self,
        transport: &Transport,
        push: &Push,
        deadline: Instant,
    ) -> Result<(Answer, Words), ProviderError> {
        let start = Instant::now();
        let result = transport.send(push, deadline).await;
        self.seconds.record(start.elapsed());
        let counter =
            |code: String| metrics::counter!("push_upstream_status_total", "app" => self.app.clone(), "code" => code);
        match &result {
            Ok(answer) if answer.status == 200 => {
                self.accepted.get_or_init(|| counter(String::from("200"))).increment(1);
            }
            Ok(answer) => counter(answer.status.to_string()).increment(1),
            Err(_) => counter(String::from("none")).increment(1),
        }
        let answer = result.map_err(failed)?;
        let words = Words::read(&answer.body);
        tracing::Span::current().record("upstream_status", answer.status);
        if answer.status != 200 {
            let reason = words.escaped();
            tracing::Span::current().record("upstream_reason", reason.as_str());
            tracing::debug!(app = self.app, status = answer.status, reason, "APNs did not accept a push");
        }
        Ok((answer, words))
    }

    /// The device is gone, unless it registered again later than that; then it is not believed at once.
    async fn dead(
        &self,
        delivery: &Delivery<'_>,
        words: &Words,
        reason: &'static str,
    ) -> Result<Outcome, ProviderError> {
        let key = device_key(delivery);
        if words.came_before(delivery.device.pushkey_ts) && !self.renewed.contains_key(&key) {
            self.renewed.insert(key, ()).await;
            return Err(later(reason, None, true, false));
        }
        Ok(rejected(reason, Certainty::Certain))
    }

    /// How long Apple asks us to wait, if it does.
    fn wait(&self, answer: &Answer) -> Option<Duration> {
        retry_after::parse(answer.retry_after.as_deref()?, self.clock.now())
    }

    fn payload(&self, delivery: &Delivery<'_>, limit: Option<usize>) -> Result<Payload, &'static str> {
        let payload = payload(delivery.notification, delivery.device, &self.settings, limit)?;
        if payload.cut {
            self.truncated.increment(1);
        }
        Ok(payload)
    }

    /// Sets the present provider token, if it goes by one.
    fn authorize(&self, push: &mut Push) -> Result<Option<Authorization>, ProviderError> {
        let Credentials::Token(token) = &self.parts.credentials else { return Ok(None) };
        let detail = || String::from("the provider key cannot sign");
        let (authorization, new) = token
            .at(self.clock.now())
            .ok_or_else(|| ProviderError::Permanent { reason: "no_provider_token", detail: detail() })?;
        self.count_refresh(new);
        push.authorize(authorization.value.clone());
        Ok(Some(authorization))
    }

    /// Sets another provider token than the one that was refused, if there may be one.
    fn renew(&self, refused: Option<&Authorization>, push: &mut Push) -> Option<Authorization> {
        let Credentials::Token(token) = &self.parts.credentials else { return None };
        let (authorization, new) = token.instead_of(refused?, self.clock.now())?;
        self.count_refresh(new);
        push.authorize(authorization.value.clone());
        Some(authorization)
    }

    fn count_refresh(&self, new: bool) {
        if new {
            metrics::counter!("push_token_refresh_total", "app" => self.app.clone(), "result" => "success")
                .increment(1);
        }
    }
}

impl Provider for Apns {
    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Outcome, ProviderError> {
        let Some(token) = DeviceToken::parse(&delivery.device.pushkey, self.settings.token_encoding) else {
            return Ok(rejected("invalid_token", Certainty::Suspect));
        };
        let payload = match self.payload(delivery, None) {
            Ok(payload) => payload,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let now = self.clock.now();
        if let Some(until) = self.paused.get(&device_key(delivery)).await
            && until > now
        {
            return Err(later("TooManyRequests", Some(until.since(now)), false, false));
        }
        let Payload { bytes, background, .. } = payload;
        let (notification, id) = (delivery.notification, delivery.id);
        let envelope = Envelope { token: &token, notification, id, now, background };
        self.push(delivery, self.parts.fields.push(&envelope, &self.settings, bytes.into())).await
    }
}

fn device_key(delivery: &Delivery<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(&delivery.device.pushkey);
    hash.update(delivery.device.pushkey_ts.unwrap_or(i64::MIN).to_be_bytes());
    hash.finalize().into()
}

fn rejected(reason: &'static str, certainty: Certainty) -> Outcome {
    Outcome::Rejected(Rejection { reason, certainty })
}

fn later(reason: &'static str, retry_after: Option<Duration>, again: bool, is_outage: bool) -> ProviderError {
    ProviderError::Temporary { reason, retry_after, again, is_outage }
}

fn ours(answer: &Answer, words: &Words, reason: &'static str, hint: &str) -> ProviderError {
    let said = words.escaped();
    let detail =
        format!("APNs answered {} {}; {hint}", answer.status, if said.is_empty() { "without a reason" } else { &said });
    ProviderError::Permanent { reason, detail: detail.chars().take(200).collect() }
}

fn failed(failure: Failure) -> ProviderError {
    let (reason, retry_after) = match failure {
        Failure::Timeout => ("timeout", None),
        Failure::Lost => ("connection_lost", None),
        Failure::Unprocessed => ("not_processed", None),
        Failure::NoConnection(NoConnection { reason, retry_after }) => (reason, retry_after),
    };
    later(reason, retry_after, true, true)
}
