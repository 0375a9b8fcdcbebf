//! A bridge: posts notifications to a URL of the operator, such as another push gateway or a webhook.
//!
//! Invariant: what is sent is a request of the Push Gateway API with one device; the receiver answers as a push gateway does.

mod client;
mod credentials;
mod payload;
mod request;
mod response;
pub(super) mod settings;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared::certificate_chain::Validity;

pub use self::settings::Settings;

use self::client::SERVICE;
use self::credentials::Signer;
use self::payload::payload;
use self::request::Headers;
use self::response::interpret;
use super::outcome::{Failure, Outcome};
use super::transport::{Route, Transport};
use super::upstream_metrics::{UpstreamMetrics, network_reason};
use super::{Delivery, Payload, Provider, ProviderContext, SetupError};
use crate::notification::Device;

/// Delivers for one app.
pub(crate) struct Bridge {
    app: Arc<str>,
    settings: Settings,
    headers: Headers,
    signer: Option<Signer>,
    transport: Transport,
    metrics: UpstreamMetrics,
    context: ProviderContext,
}

impl Bridge {
    fn new(app: &str, settings: &Settings, context: &ProviderContext) -> Result<Self, SetupError> {
        let (url, clock) = (settings.url()?, context.clock.clone());
        let app: Arc<str> = Arc::from(app);
        let route = Route::new(&context.outbound)?;
        Ok(Self {
            transport: route
                .to(&url, SERVICE, &app, settings.delivery.most_in_flight(), clock)
                .map_err(|error| format!("url: {error}"))?,
            headers: Headers::new(&settings.headers)?,
            signer: Signer::load(settings)?,
            metrics: UpstreamMetrics::new(&app, "http"),
            settings: settings.clone(),
            context: context.clone(),
            app,
        })
    }

    async fn attempt(&self, delivery: &Delivery<'_>) -> Result<Outcome, Failure> {
        let compose = || Ok(Payload { body: payload(delivery.notification, delivery.device), is_background: false });
        let body = match delivery.payload(compose) {
            Ok(payload) => payload.body.clone(),
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let now = self.context.clock.now();
        let signature = self.signer.as_ref().map(|signer| signer.signature(now, &body));
        let started = Instant::now();
        let answer = self.transport.post(self.headers.with(signature), body, delivery.deadline).await;
        self.metrics.record(started, &answer);
        let answer = answer.map_err(|missing| Failure::outage(network_reason(missing), missing.retry_after()))?;
        let retry_after = answer.retry_after(self.context.clock.now());
        tracing::debug!(app = &*self.app, status = answer.status, "the receiver answered");
        tracing::Span::current().record("upstream_status", answer.status);
        Ok(interpret(answer.status, &answer.body, retry_after, &delivery.device.pushkey))
    }
}

impl Provider for Bridge {
    fn deliver<'a>(&'a self, delivery: &'a Delivery<'_>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).map(|result| result.unwrap_or_else(Outcome::from)).boxed()
    }

    /// All that the receiver sees: what it rejects may be the data or the app_id, and says nothing about other devices.
    fn canonical_pushkey<'a>(&self, device: &'a Device) -> Cow<'a, str> {
        let data = serde_json::to_string(&device.data).unwrap_or_default();
        Cow::Owned(format!("{}\n{}\n{data}", device.pushkey, device.app_id))
    }

    fn installation<'a>(&self, pushkey: &'a str) -> &'a str {
        pushkey.split_once('\n').map_or(pushkey, |(pushkey, _)| pushkey)
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<(), Duration>> {
        std::future::ready(Ok(())).boxed()
    }

    fn check_online(&self) -> BoxFuture<'_, Result<&'static str, String>> {
        async {
            let unreachable = |missing| format!("cannot connect ({missing}): check url and [outbound] proxy");
            self.transport.check().await.map_err(unreachable)?;
            Ok("connected; only a push shows whether the receiver accepts it: see test-push")
        }
        .boxed()
    }

    fn readiness(&self) -> Result<Option<&'static str>, &'static str> {
        Ok(None)
    }

    fn credential_validity(&self) -> Option<Validity> {
        None
    }

    fn circuit_key(&self) -> String {
        self.settings.circuit_key()
    }

    fn describe(&self) -> String {
        self.settings.describe()
    }
}
