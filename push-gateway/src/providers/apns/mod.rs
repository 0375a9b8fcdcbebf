//! Apple's push service: one request for each notification and device.
//!
//! Invariant: a pushkey is rejected only if it cannot be a device token, or if APNs reports that it has expired, is
//! invalid in this environment, or belongs to another topic. A wrong `topic` or `platform` causes the last two: the
//! mass-rejection guard limits the damage. Every other response, and a missing one, keeps the pusher.

mod client;
mod credentials;
mod identifiers;
mod payload;
mod renewed;
mod request;
mod response;
pub(super) mod settings;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use moka::future::Cache;
use shared::certificate_chain::Validity;
use shared::clock::Clock;

pub(crate) use self::credentials::token::ProviderTokenCache;
pub use self::settings::Settings;

use self::client::{Clients, TIMING};
use self::credentials::Credentials;
use self::credentials::token::Authorization;
use self::payload::{SMALLER_LIMIT, compose};
use self::renewed::{CACHE_CAPACITY, Renewed};
use self::request::{DeviceToken, Push, PushHeaders, PushTemplate};
use self::response::{Action, ApnsResponse};
use super::device_key::DeviceKey;
use super::outcome::{Certainty, Failure, Outcome, Reason};
use super::pause::Pause;
use super::{Delivery, Payload, Provider, ProviderContext, SetupError, count_oversize, note_answer};
use crate::notification::Device;
use crate::notification::call::Occasion;
use crate::upstream::client::Client;
use crate::upstream::options::Timing;
use crate::upstream::response::UpstreamResponse;

/// How long a device gets no push after a 429.
const DEVICE_PAUSE: Duration = Duration::from_secs(30);
/// Delivers for one app.
pub(crate) struct Apns {
    app: String,
    settings: Settings,
    template: PushTemplate,
    credentials: Credentials,
    clients: Clients,
    clock: Clock,
    /// The pauses of devices.
    paused: Cache<DeviceKey, Pause>,
    renewed: Renewed,
    seconds: Histogram,
    /// Looked up once: nearly every response is a 200.
    accepted: OnceLock<Counter>,
    truncated: Counter,
}

impl Apns {
    fn new(app: &str, settings: &Settings, context: &ProviderContext) -> Result<Self, SetupError> {
        Self::with_timing(app, settings, context, TIMING)
    }

    fn with_timing(
        app: &str,
        settings: &Settings,
        context: &ProviderContext,
        timing: Timing,
    ) -> Result<Self, SetupError> {
        let template = PushTemplate::new(settings)?;
        let credentials = Credentials::load(settings, &context.apns_tokens)?;
        let clients = Clients::new(app, settings, &context.outbound, &credentials, timing, &context.clock)?;
        credentials.report_validity(app, context.clock.now());
        Ok(Self {
            app: app.to_owned(),
            settings: settings.clone(),
            template,
            credentials,
            clients,
            clock: context.clock.clone(),
            paused: Cache::builder().max_capacity(CACHE_CAPACITY).time_to_live(DEVICE_PAUSE).build(),
            renewed: Renewed::default(),
            accepted: OnceLock::new(),
            seconds: metrics::histogram!("push_upstream_seconds", "app" => app.to_owned(), "type" => "apns"),
            truncated: metrics::counter!("push_truncated_total", "app" => app.to_owned()),
        })
    }

    async fn attempt(&self, delivery: &Delivery<'_>) -> Result<Outcome, Failure> {
        let Some(token) = DeviceToken::parse(&delivery.device.pushkey, self.settings.token_encoding) else {
            return Ok(Outcome::rejected("invalid_token", Certainty::Suspect));
        };
        let now = self.clock.now();
        let occasion = delivery.occasion(&self.settings.delivery.call_types, now);
        let payload = match delivery.payload(|| self.compose(delivery, occasion, None)) {
            Ok(payload) => payload,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let pause = self.paused.get(&delivery.key).await.map_or(Duration::ZERO, |pause| pause.rest(now));
        if !pause.is_zero() {
            return Err(Failure::pause("TooManyRequests", pause));
        }
        let headers = PushHeaders { notification: delivery.notification, id: delivery.id, occasion, now };
        let mut push = self.template.push(token, &headers, &self.settings, payload);
        self.send_in_forms(delivery, occasion, &mut push).await
    }

    /// Sends the push, and resends it in each other form that APNs asks for, once.
    async fn send_in_forms(
        &self,
        delivery: &Delivery<'_>,
        occasion: Occasion,
        push: &mut Push,
    ) -> Result<Outcome, Failure> {
        let mut authorization = self.authorize(push)?;
        let mut client = &self.clients.main;
        let mut fallback = self.clients.fallback.as_ref();
        let (mut is_renewed, mut is_smaller) = (false, false);
        loop {
            let (answer, response) = self.send(client, push, delivery.deadline).await?;
            let (outcome, action) = response.interpret();
            match action {
                Action::Finish => return Ok(outcome),
                Action::OtherEnvironment => match fallback.take() {
                    Some(other) => client = other,
                    None => return Ok(outcome),
                },
                Action::RenewToken => match self.renew(authorization.as_ref(), push) {
                    Some(renewed) if !is_renewed => (authorization, is_renewed) = (Some(renewed), true),
                    Some(_) | None => return Ok(outcome),
                },
                Action::ReducePayload if is_smaller => return Ok(outcome),
                Action::ReducePayload => match self.compose(delivery, occasion, Some(SMALLER_LIMIT)) {
                    Ok(payload) => {
                        push.set_body(payload.body);
                        is_smaller = true;
                    }
                    Err(reason) => return Ok(Outcome::Dropped(reason)),
                },
                Action::CheckRegistration => return self.renewed.check(delivery, &response, outcome).await,
                Action::PauseDevice => {
                    self.paused.insert(delivery.key, Pause::new(self.clock.now(), DEVICE_PAUSE)).await;
                    return Ok(outcome);
                }
                Action::FreezeToken => {
                    if let Credentials::Token(token) = &self.credentials {
                        token.freeze(self.clock.now());
                    }
                    return Ok(outcome);
                }
                Action::RetireConnection => {
                    answer.retire_connection();
                    return Ok(outcome);
                }
            }
        }
    }

    async fn send(
        &self,
        client: &Client,
        push: &Push,
        deadline: Instant,
    ) -> Result<(UpstreamResponse, ApnsResponse), Failure> {
        let start = Instant::now();
        let result = client.send(push.request(), deadline).await;
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
        let answer = result.map_err(|missing| Failure::outage(missing.reason(), missing.retry_after()))?;
        let response = ApnsResponse::read(answer.status, &answer.body, answer.retry_after(self.clock.now()));
        if answer.status == 200 {
            note_answer(answer.status, None);
        } else {
            let reason = response.escaped_reason();
            note_answer(answer.status, Some(&reason));
            tracing::debug!(app = self.app, status = answer.status, reason, "APNs refused a push");
        }
        Ok((answer, response))
    }

    fn compose(&self, delivery: &Delivery<'_>, occasion: Occasion, limit: Option<usize>) -> Result<Payload, Reason> {
        let composed = compose(delivery.notification, delivery.device, &self.settings, occasion, limit)?;
        match (composed.is_truncated, &delivery.notification.relayed) {
            (true, Some(_)) => count_oversize(&self.app),
            (true, None) => self.truncated.increment(1),
            (false, _) => {}
        }
        Ok(Payload { body: composed.bytes.into(), is_background: composed.is_background })
    }

    /// Sets the current provider token, if the app has a provider key.
    fn authorize(&self, push: &mut Push) -> Result<Option<Authorization>, Failure> {
        let Credentials::Token(token) = &self.credentials else { return Ok(None) };
        let (authorization, is_new) = token
            .at(self.clock.now())
            .ok_or_else(|| Failure::ours("no_provider_token", "the provider key cannot sign"))?;
        self.count_refresh(is_new);
        push.authorize(authorization.value.clone());
        Ok(Some(authorization))
    }

    /// Sets another provider token than the refused one, if there can be one.
    fn renew(&self, refused: Option<&Authorization>, push: &mut Push) -> Option<Authorization> {
        let Credentials::Token(token) = &self.credentials else { return None };
        let (authorization, is_new) = token.instead_of(refused?, self.clock.now())?;
        self.count_refresh(is_new);
        push.authorize(authorization.value.clone());
        Some(authorization)
    }

    fn count_refresh(&self, is_new: bool) {
        if is_new {
            metrics::counter!("push_token_refresh_total", "app" => self.app.clone(), "result" => "success")
                .increment(1);
        }
    }
}

impl Provider for Apns {
    fn deliver<'a>(&'a self, delivery: &'a Delivery<'_>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).map(|result| result.unwrap_or_else(Outcome::from)).boxed()
    }

    /// Must run on a runtime that outlives this provider, as must `deliver`: connections live on it.
    fn warm_up(&self) -> BoxFuture<'_, Result<(), Duration>> {
        self.clients.main.warm_up();
        std::future::ready(Ok(())).boxed()
    }

    fn check_online(&self) -> BoxFuture<'_, Result<&'static str, String>> {
        async {
            self.clients.check().await?;
            Ok("connected to Apple; only a push shows whether it accepts the credential: see test-push")
        }
        .boxed()
    }

    fn readiness(&self) -> Result<Option<&'static str>, &'static str> {
        Ok(None)
    }

    fn credential_validity(&self) -> Option<Validity> {
        self.credentials.validity()
    }

    fn canonical_pushkey<'a>(&self, device: &'a Device) -> Cow<'a, str> {
        self.settings.token_encoding.digits(&device.pushkey).unwrap_or(Cow::Borrowed(&device.pushkey))
    }

    fn device_token(&self, text: &str) -> Option<Vec<u8>> {
        DeviceToken::parse(text, self.settings.token_encoding.lenient()).map(|token| token.bytes())
    }

    fn pushkey(&self, device_token: &[u8]) -> Option<String> {
        Some(self.settings.token_encoding.encode(device_token))
    }

    fn circuit_key(&self) -> String {
        self.settings.circuit_key()
    }

    fn describe(&self) -> String {
        self.settings.describe()
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
