//! Huawei Push Kit: version 3 for HarmonyOS 5 and later, version 1 for HMS Core on Android.
//!
//! Invariant: one attempt sends a message at most four times, and again only if Push Kit did not accept it: once with a new
//! access token, once smaller, once with the identifiers alone.

mod client;
mod credentials;
mod payload;
mod request;
mod response;
pub(super) mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use shared::certificate_chain::Validity;

pub(crate) use self::credentials::AccountCache;
pub use self::settings::Settings;

use self::client::{AppPause, SERVICE};
use self::credentials::{Credential, HuaweiAccount};
use self::payload::{LIMIT, MessageTemplate};
use self::request::{headers, is_token};
use self::response::{Action, Answer, interpret};
use self::settings::Version;
use super::access_token::Token;
use super::outcome::{Certainty, Failure, Outcome, Reason};
use super::transport::{Route, Transport};
use super::upstream_metrics::{UpstreamMetrics, network_reason};
use super::{Delivery, Payload, Provider, ProviderContext, SetupError};
use crate::notification::call::Occasion;
use crate::upstream::response::UpstreamResponse;

/// A resend within an attempt needs this much time.
const TIME_FOR_A_RESEND: Duration = Duration::from_secs(3);

/// The limit for a message that Push Kit calls too large.
const SMALL: usize = 2048;

/// Delivers for one app.
pub(crate) struct Huawei {
    app: Arc<str>,
    settings: Settings,
    template: MessageTemplate,
    account: Arc<HuaweiAccount>,
    transport: Transport,
    pause: AppPause,
    metrics: UpstreamMetrics,
    context: ProviderContext,
}

/// The forms of a message that an attempt has tried.
#[derive(Default)]
struct Tried {
    new_token: bool,
    small: bool,
    ids: bool,
}

impl Huawei {
    fn new(app: &str, settings: &Settings, context: &ProviderContext) -> Result<Self, SetupError> {
        settings.check()?;
        let credential = Credential::load(settings)?;
        let url = settings.send_url(credential.id())?;
        let route = Route::new(&context.outbound)?;
        let (clock, concurrent) = (&context.clock, settings.delivery.most_in_flight());
        let app: Arc<str> = Arc::from(app);
        Ok(Self {
            transport: route
                .to(&url, SERVICE, &app, concurrent, clock.clone())
                .map_err(|error| format!("base_url: {error}"))?,
            account: context.huawei_accounts.account(credential, &route, clock),
            template: MessageTemplate::new(settings)?,
            pause: AppPause::new(clock.clone()),
            metrics: UpstreamMetrics::new(&app, "huawei"),
            settings: settings.clone(),
            context: context.clone(),
            app,
        })
    }

    async fn attempt(&self, delivery: &Delivery<'_>) -> Result<Outcome, Failure> {
        let Delivery { notification, device, deadline, .. } = *delivery;
        if !is_token(&device.pushkey) {
            return Ok(Outcome::rejected("invalid_token", Certainty::Suspect));
        }
        let occasion = delivery.occasion(&self.settings.delivery.call_types, self.context.clock.now());
        // The life of a call is in the message and shorter in each attempt.
        let composed = match occasion {
            Occasion::Ring(_) => self.compose(delivery, occasion, LIMIT),
            Occasion::Ordinary | Occasion::ExpiredCall | Occasion::Nudge => {
                delivery.payload(|| self.compose(delivery, occasion, LIMIT)).cloned()
            }
        };
        let mut body = match composed {
            Ok(payload) => payload.body,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let push_type = self.template.push_type(notification, occasion);
        let mut tried = Tried::default();
        let mut token = self.account.token_before(deadline, &self.app).await?;
        self.pause.enter().map_err(|wait| Failure::pause("paused", wait))?;
        loop {
            let response = self.send(&token, push_type, body.clone(), deadline).await?;
            let answer = Answer::parse(&response.body);
            let retry_after = response.retry_after(self.context.clock.now());
            let (outcome, action) = interpret(response.status, &answer, retry_after, &device.pushkey);
            let code = answer.label();
            tracing::debug!(app = &*self.app, status = response.status, code, "Huawei Push Kit answered");
            tracing::Span::current().record("upstream_status", response.status).record("upstream_reason", code);
            if action == Action::Pause {
                return Ok(self.paused(outcome));
            }
            self.pause.answered();
            if action != Action::RenewToken {
                self.account.accept(&token);
            }
            let is_last = match action {
                Action::Finish | Action::Pause => true,
                Action::RenewToken => std::mem::replace(&mut tried.new_token, true),
                Action::Shrink => std::mem::replace(&mut tried.small, true),
                Action::ReducePayload => std::mem::replace(&mut tried.ids, true),
            };
            if is_last {
                return Ok(self.finished(outcome, &tried, &answer.detail(&device.pushkey)));
            }
            if deadline.saturating_duration_since(Instant::now()) < TIME_FOR_A_RESEND {
                return Err(Failure::upstream("no_time", None));
            }
            match action {
                Action::Finish | Action::Pause => {}
                Action::RenewToken => {
                    self.account.refuse(&token);
                    token = self.account.token_before(deadline, &self.app).await?;
                }
                Action::Shrink => match self.compose(delivery, occasion, SMALL) {
                    Ok(payload) => body = payload.body,
                    Err(reason) => return Ok(Outcome::Dropped(reason)),
                },
                Action::ReducePayload => {
                    let detail = answer.detail(&device.pushkey);
                    let Some(reduced) = self.template.reduced(notification, device, occasion) else {
                        return Ok(self.finished(outcome, &tried, &detail));
                    };
                    tracing::warn!(
                        app = &*self.app,
                        detail,
                        "Huawei Push Kit rejected a message: sending its identifiers alone"
                    );
                    body = reduced.body.into();
                }
            }
        }
    }

    /// The outcome of the last answer of an attempt.
    fn finished(&self, outcome: Outcome, tried: &Tried, detail: &str) -> Outcome {
        match outcome {
            Outcome::Delivered if tried.ids => self.count("push_payload_degraded_total"),
            Outcome::Dropped("bad_payload") => {
                tracing::error!(app = &*self.app, detail, "Huawei Push Kit rejected the message after every reduction");
            }
            Outcome::Delivered | Outcome::Dropped(_) | Outcome::Rejected(_) | Outcome::Failed(_) => {}
        }
        outcome
    }

    /// The outcome of an answer that begins a pause.
    fn paused(&self, outcome: Outcome) -> Outcome {
        let rest = self.pause.refused();
        match outcome {
            Outcome::Failed(Failure { reason, retry_after, .. }) => {
                Failure::pause(reason, retry_after.unwrap_or_default().max(rest)).into()
            }
            other => other,
        }
    }

    fn compose(&self, delivery: &Delivery<'_>, occasion: Occasion, limit: usize) -> Result<Payload, Reason> {
        let message = self.template.message(delivery.notification, delivery.device, occasion, limit)?;
        if message.has_ignored_defaults {
            self.count("push_default_payload_ignored_total");
        }
        if message.is_shortened {
            self.count("push_truncated_total");
        }
        Ok(Payload { body: message.body.into(), is_background: false })
    }

    async fn send(
        &self,
        token: &Token,
        push_type: Option<u8>,
        body: Bytes,
        deadline: Instant,
    ) -> Result<UpstreamResponse, Failure> {
        let started = Instant::now();
        let answer = self.transport.post(headers(token.authorization(), push_type), body, deadline).await;
        self.metrics.record(started, &answer);
        answer.map_err(|missing| {
            // The next message may try the app again after a pause.
            self.pause.answered();
            Failure::outage(network_reason(missing), missing.retry_after())
        })
    }

    fn count(&self, name: &'static str) {
        metrics::counter!(name, "app" => Arc::clone(&self.app)).increment(1);
    }
}

impl Provider for Huawei {
    fn deliver<'a>(&'a self, delivery: &'a Delivery<'_>) -> BoxFuture<'a, Outcome> {
        self.attempt(delivery).map(|result| result.unwrap_or_else(Outcome::from)).boxed()
    }

    fn warm_up(&self) -> BoxFuture<'_, Result<(), Duration>> {
        self.account.warm_up(&self.app).boxed()
    }

    fn check_online(&self) -> BoxFuture<'_, Result<&'static str, String>> {
        async {
            let problem = |_| {
                let reason = self.account.last_failure();
                let advice = match self.settings.version {
                    Version::V1 => "client_id, client_secret and the connection to token_url",
                    Version::V3 => "the service account",
                };
                format!("no access token ({reason}): check {advice}")
            };
            self.account.token(&self.app).await.map_err(problem)?;
            let unreachable = |missing| format!("cannot connect ({missing}): check base_url and [outbound] proxy");
            self.transport.check().await.map_err(unreachable)?;
            Ok(match self.settings.version {
                Version::V1 => {
                    "Huawei gave an access token; only a push shows whether it is valid for the app: see test-push"
                }
                Version::V3 => "connected to Push Kit; only a push shows whether it accepts the key: see test-push",
            })
        }
        .boxed()
    }

    fn readiness(&self) -> Result<Option<&'static str>, &'static str> {
        self.account.readiness()
    }

    fn credential_problem(&self) -> Option<String> {
        self.account.problem()
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
