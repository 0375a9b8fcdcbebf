//! Web Push for browsers, and UnifiedPush: each device names its own push service.
//!
//! Invariant: nothing is sent to an endpoint before its form is checked, and no connection leads to an address that the guard
//! does not permit. One attempt sends a message at most twice, and again only in a smaller form after a 413.

mod base64;
mod client;
mod credentials;
mod endpoint;
mod payload;
mod request;
mod response;
pub(super) mod settings;
pub(crate) mod subscription;

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use metrics::{Counter, Histogram};
use shared::certificate_chain::Validity;
use shared::clock::Clock;
use shared::random::Random;

pub(crate) use self::client::Connections;
pub(crate) use self::credentials::{InvalidKey, VapidKey};
pub use self::settings::Settings;

use self::client::Transport;
use self::client::pauses::Pauses;
use self::credentials::Vapid;
use self::endpoint::{Endpoint, EndpointRules, Refusal, canonical, host_of};
use self::payload::encryption::{Ephemeral, MAX_PLAINTEXT, encrypt};
use self::payload::{Fitted, MAX_BODY, browser, unified};
use self::request::{Body, Handling, request};
use self::response::{Action, Answer, interpret, network_failure, unreachable_name};
use self::settings::Form;
use self::settings::declarative::Declarative;
use self::subscription::{InvalidSubscription, Keys, Subscription};
use super::log_throttle::LogOncePerText;
use super::outcome::{Certainty, Failure, Outcome, Reason};
use super::{Delivery, Payload, Provider, ProviderContext, SetupError, note_answer};
use crate::notification::Device;

/// A resend within an attempt needs this much time.
const TIME_FOR_A_RESEND: Duration = Duration::from_secs(3);
/// The limit for a payload after a 413.
const SMALL: usize = 2048;

/// Delivers for one app.
pub(crate) struct WebPush {
    app: Arc<str>,
    settings: Settings,
    rules: EndpointRules,
    vapid: Option<Vapid>,
    declarative: Option<Declarative>,
    transport: Transport,
    pauses: Arc<Pauses>,
    clock: Clock,
    seconds: OnceLock<Histogram>,
    accepted: OnceLock<Counter>,
    refused_hosts: LogOncePerText,
}

/// Stands for the receiver in the canonical pushkey of an endpoint with wrong keys.
const INVALID: &str = "invalid";

/// The name of the circuit of an endpoint's host.
const CIRCUIT: &str = "webpush ";

/// The host of this circuit, if it is one of an endpoint.
pub(crate) fn endpoint_host(circuit: &str) -> Option<&str> {
    circuit.strip_prefix(CIRCUIT)
}

impl WebPush {
    fn new(app: &str, settings: &Settings, context: &ProviderContext) -> Result<Self, SetupError> {
        let vapid = settings.key()?.map(|key| Vapid::new(key, settings.contact(), context.clock.clone()));
        if let Some(vapid) = &vapid {
            // A changed key invalidates all subscriptions.
            let public_key = &vapid.public_key()[..8];
            tracing::info!(app, r#type = super::ProviderSettings::type_name(settings), public_key, "VAPID key loaded");
        }
        let has_allowed_networks = !context.outbound.allow_cidrs.is_empty();
        let (allowed, guard) = (settings.allowed_endpoints.as_slice(), context.outbound.address_guard());
        Ok(Self {
            app: Arc::from(app),
            rules: EndpointRules::new(settings.allow_http, allowed, guard, has_allowed_networks),
            vapid,
            declarative: settings.declarative()?,
            transport: context.endpoints.transport(context)?,
            pauses: context.endpoints.pauses(),
            clock: context.clock.clone(),
            seconds: OnceLock::new(),
            accepted: OnceLock::new(),
            refused_hosts: LogOncePerText::default(),
            settings: settings.clone(),
        })
    }

    async fn attempt(&self, delivery: &Delivery<'_>) -> Result<Outcome, Failure> {
        let Ok(subscription) = self.subscription(delivery.device) else {
            return Ok(Outcome::rejected("invalid_subscription", Certainty::Suspect));
        };
        let endpoint = match self.rules.check(&subscription.endpoint) {
            Ok(endpoint) => endpoint,
            Err(refusal) => return Ok(self.refused(&subscription.endpoint, refusal)),
        };
        let host = endpoint.host_name();
        if endpoint.needs_allowance {
            match self.transport.allows(&endpoint).await {
                Some(true) => {}
                Some(false) => return Ok(Refusal::Invalid.into()),
                None => return Err(unreachable_name("dns")),
            }
        }
        let is_encrypted = subscription.keys.is_some();
        let payload = match delivery.payload(|| self.compose(delivery, is_encrypted, None)) {
            Ok(payload) => payload,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        self.pauses.enter(delivery.key, &host).map_err(|wait| Failure::pause("paused", wait))?;
        let (mut json, mut is_small) = (payload.body.clone(), false);
        loop {
            let answer = self.send(delivery, &endpoint, &host, subscription.keys.as_ref(), json).await?;
            let (outcome, action) = interpret(&answer, &host);
            tracing::debug!(app = &*self.app, host, status = answer.status, "push service answered");
            note_answer(answer.status, (answer.status >= 300).then(|| answer.detail()).as_deref());
            match action {
                Action::Pause(pause) => self.pauses.refused(delivery.key, &host, pause),
                Action::NoSubscriber if self.pauses.is_inactive(delivery.key) => {
                    return Ok(Outcome::rejected("endpoint_inactive", Certainty::Suspect));
                }
                Action::Shrink if !is_small => {
                    let has_time = delivery.deadline.saturating_duration_since(Instant::now()) >= TIME_FOR_A_RESEND;
                    if !has_time {
                        return Err(Failure::upstream("no_time", None));
                    }
                    match self.compose(delivery, is_encrypted, Some(SMALL)) {
                        Ok(payload) => json = payload.body,
                        Err(reason) => return Ok(Outcome::Dropped(reason)),
                    }
                    is_small = true;
                    continue;
                }
                Action::Finish | Action::NoSubscriber | Action::Shrink => {}
            }
            if outcome == Outcome::Delivered {
                self.pauses.accepted(delivery.key, &host);
            } else if !matches!(answer.status, 406 | 429 | 500..) {
                self.pauses.answered(&host);
            }
            return Ok(outcome);
        }
    }

    /// The outcome of an endpoint that is not sent to.
    fn refused(&self, endpoint: &str, refusal: Refusal) -> Outcome {
        let host = host_of(endpoint).unwrap_or_default();
        if refusal == Refusal::NotAllowed && self.refused_hosts.allow(&host) {
            let action = "add it to allowed_endpoints if the app may use it";
            tracing::warn!(app = &*self.app, host, action, "a pushkey names a push server that is not allowed");
        }
        refusal.into()
    }

    fn subscription<'a>(&self, device: &'a Device) -> Result<Subscription<'a>, InvalidSubscription> {
        match self.settings.form {
            Form::Subscription => Subscription::of_browser(&device.pushkey, &device.data),
            Form::Url => Subscription::of_endpoint(&device.pushkey, &device.data),
        }
    }

    /// The JSON for the device, in at most `limit` bytes if it is given.
    fn compose(&self, delivery: &Delivery<'_>, is_encrypted: bool, limit: Option<usize>) -> Result<Payload, Reason> {
        let limit = limit.unwrap_or(if is_encrypted { MAX_PLAINTEXT } else { MAX_BODY });
        let Delivery { notification, device, .. } = delivery;
        let Fitted { json, is_shortened } = match self.settings.form {
            Form::Subscription if delivery.is_nudge => browser::nudge(device),
            Form::Url if delivery.is_nudge => Ok(unified::nudge()),
            Form::Subscription => browser::payload(notification, device, self.declarative.as_ref(), limit),
            Form::Url => unified::payload(notification, device, self.settings.forward_device, limit),
        }?;
        if is_shortened {
            metrics::counter!("push_truncated_total", "app" => Arc::clone(&self.app)).increment(1);
        }
        Ok(Payload { body: json.into(), is_background: false })
    }

    async fn send(
        &self,
        delivery: &Delivery<'_>,
        endpoint: &Endpoint,
        host: &str,
        keys: Option<&Keys>,
        json: Bytes,
    ) -> Result<Answer, Failure> {
        let broken = || Failure::ours("request", "the message cannot be encrypted or signed");
        let body = match keys {
            Some(keys) => {
                let ephemeral = Ephemeral::new(Random.bytes()).map_err(|_| broken())?;
                Body::Encrypted(encrypt(&json, keys, &ephemeral).map_err(|_| broken())?.into())
            }
            None => Body::Json { json, is_labelled: self.settings.label_encrypted },
        };
        let authorization = match &self.vapid {
            Some(vapid) => Some(vapid.authorization(&endpoint.origin()).ok_or_else(broken)?),
            None => None,
        };
        let occasion = delivery.occasion(&self.settings.delivery.call_types, self.clock.now());
        let has_topic = self.settings.form == Form::Subscription;
        let is_last_of_room = delivery.device.data.get("only_last_per_room") == Some(&true.into());
        let handling = Handling::new(delivery.notification, occasion, self.settings.ttl(), has_topic, is_last_of_room);
        let (origin, path) = endpoint.target().ok_or_else(broken)?;
        let request = request(path, &handling, authorization, body).ok_or_else(broken)?;
        let started = Instant::now();
        let answer = self.transport.send(host, &origin, &request, delivery.deadline).await;
        let (app, type_name) = (|| Arc::clone(&self.app), super::ProviderSettings::type_name(&self.settings));
        let seconds = || metrics::histogram!("push_upstream_seconds", "app" => app(), "type" => type_name);
        self.seconds.get_or_init(seconds).record(started.elapsed());
        let counter = |code: String| metrics::counter!("push_upstream_status_total", "app" => app(), "code" => code);
        match &answer {
            Ok(Answer { status: 201, .. }) => self.accepted.get_or_init(|| counter("201".to_owned())).increment(1),
            Ok(answer) => counter(answer.status.to_string()).increment(1),
            Err(missing) => counter(missing.reason().to_owned()).increment(1),
        }
        answer.map_err(network_failure)
    }
}

impl Provider for WebPush {
    fn deliver<'a>(&'a self, delivery: &'a Delivery<'_>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).map(|result| result.unwrap_or_else(Outcome::from)).boxed()
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<(), Duration>> {
        std::future::ready(Ok(())).boxed()
    }

    fn check_online(&self) -> BoxFuture<'_, Result<&'static str, String>> {
        std::future::ready(Ok(
            "each device names its own push service; only a push shows whether it works: see test-push",
        ))
        .boxed()
    }

    fn readiness(&self) -> Result<Option<&'static str>, &'static str> {
        Ok(None)
    }

    fn credential_validity(&self) -> Option<Validity> {
        None
    }

    fn public_key(&self) -> Option<&str> {
        self.vapid.as_ref().map(Vapid::public_key)
    }

    /// The endpoint, and the receiver's key if it has one.
    fn canonical_pushkey<'a>(&self, device: &'a Device) -> Cow<'a, str> {
        match (self.subscription(device), self.settings.form) {
            (Ok(subscription), _) => {
                let (endpoint, receiver) = (canonical(&subscription.endpoint), subscription.receiver());
                // An endpoint that is no URL keeps its blanks: its rejection must not concern the URL without them.
                Cow::Owned(if receiver.is_empty() { endpoint } else { format!("{endpoint} {receiver}") })
            }
            // The rejection of wrong keys concerns no other device with this endpoint.
            (Err(InvalidSubscription), Form::Url) => Cow::Owned(format!("{} {INVALID}", canonical(&device.pushkey))),
            (Err(InvalidSubscription), Form::Subscription) => Cow::Borrowed(&device.pushkey),
        }
    }

    /// The endpoint.
    fn installation<'a>(&self, pushkey: &'a str) -> &'a str {
        pushkey.split_once(' ').map_or(pushkey, |(endpoint, _)| endpoint)
    }

    fn circuit_key(&self) -> String {
        String::from("webpush")
    }

    fn circuit_of(&self, pushkey: &str) -> Option<String> {
        let (endpoint, receiver) = pushkey.split_once(' ').unwrap_or((pushkey, ""));
        host_of(endpoint).filter(|_| receiver != INVALID).map(|host| format!("{CIRCUIT}{host}"))
    }

    fn describe(&self) -> String {
        let name = match self.settings.form {
            Form::Subscription => "Web Push",
            Form::Url => "UnifiedPush",
        };
        match &self.vapid {
            Some(vapid) => format!("{name}, VAPID key {}…", &vapid.public_key()[..8]),
            None => format!("{name}, without VAPID"),
        }
    }
}
