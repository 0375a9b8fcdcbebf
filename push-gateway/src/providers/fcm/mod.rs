//! Firebase Cloud Messaging, HTTP v1 API: Android, and every other platform that an operator routes through Google.
//!
//! Invariant: one attempt sends a message at most three times, and again only if FCM did not accept it: once with a new access
//! token, once in a reduced form.

mod client;
mod credentials;
mod payload;
mod request;
mod response;
pub(super) mod settings;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::HeaderValue;
use shared::certificate_chain::Validity;

pub(crate) use self::credentials::AccountCache;
pub use self::settings::Settings;

use self::client::SERVICE;
use self::client::pauses::Pauses;
use self::credentials::GoogleAccount;
use self::credentials::source::Source;
use self::payload::MessageTemplate;
use self::request::{Authorization, headers};
use self::response::{Action, ErrorBody, interpret};
use super::access_token::Token;
use super::outcome::{Failure, Outcome, Reason};
use super::transport::{Route, Transport};
use super::upstream_metrics::{UpstreamMetrics, network_reason};
use super::{Delivery, Payload, Provider, ProviderContext, SetupError, count_oversize, note_answer};
use crate::notification::call::Occasion;
use crate::upstream::response::UpstreamResponse;

/// A resend within an attempt needs this much time.
const TIME_FOR_A_RESEND: Duration = Duration::from_secs(3);

/// Delivers for one app.
pub(crate) struct Fcm {
    app: Arc<str>,
    settings: Settings,
    template: MessageTemplate,
    account: Arc<GoogleAccount>,
    /// The project that pays for the messages, if it is another one.
    quota_project: Option<HeaderValue>,
    context: ProviderContext,
    route: Route,
    /// Made once the project is known.
    project: OnceLock<Project>,
    metrics: UpstreamMetrics,
}

/// The project of the messages.
struct Project {
    transport: Transport,
    pauses: Arc<Pauses>,
}

impl Fcm {
    fn new(app: &str, settings: &Settings, context: &ProviderContext) -> Result<Self, SetupError> {
        settings.check()?;
        let source = Source::load(settings)?;
        let project_id = settings.known_project_id().or(source.project_id()).map(str::to_owned);
        if project_id.is_none() && !source.brings_project() {
            return Err("project_id: missing, and the credential file does not name it".into());
        }
        let route = Route::new(&context.outbound)?;
        let app = Arc::from(app);
        let app = Self {
            settings: settings.clone(),
            metrics: UpstreamMetrics::new(&app, "fcm"),
            app,
            quota_project: source.quota_project(),
            template: MessageTemplate::new(settings),
            account: context.fcm_accounts.account(source, &route, &context.clock),
            context: context.clone(),
            route,
            project: OnceLock::new(),
        };
        if let Some(id) = project_id {
            let project = app.open_project(&id)?;
            app.project.get_or_init(|| project);
        }
        Ok(app)
    }

    fn open_project(&self, id: &str) -> Result<Project, SetupError> {
        let url = request::send_url(&self.settings.base_url, id)?;
        let clock = &self.context.clock;
        Ok(Project {
            transport: self
                .route
                .to(&url, SERVICE, &self.app, self.settings.delivery.most_in_flight(), clock.clone())
                .map_err(|error| format!("base_url: {error}"))?,
            pauses: self.context.fcm_accounts.pauses(url.as_str(), clock),
        })
    }

    /// The project, which the metadata server names together with the first token if nothing else does.
    fn project(&self) -> Result<&Project, Failure> {
        if let Some(project) = self.project.get() {
            return Ok(project);
        }
        let unusable = |detail: &str| Failure::ours("no_project", detail);
        let id = self.account.project_id().ok_or_else(|| unusable("set project_id"))?;
        let project = self.open_project(&id).map_err(|error| unusable(&error.to_string()))?;
        Ok(self.project.get_or_init(|| project))
    }

    async fn attempt(&self, delivery: &Delivery<'_>) -> Result<Outcome, Failure> {
        let Delivery { notification, device, deadline, .. } = *delivery;
        let occasion = delivery.occasion(&self.settings.delivery.call_types, self.context.clock.now());
        // The life of a call is in the message and shorter in each attempt.
        let composed = match occasion {
            Occasion::Ring(_) => self.compose(delivery, occasion),
            Occasion::Ordinary | Occasion::ExpiredCall | Occasion::Nudge => {
                delivery.payload(|| self.compose(delivery, occasion)).cloned()
            }
        };
        let mut body = match composed {
            Ok(payload) => payload.body,
            Err(reason) => return Ok(Outcome::Dropped(reason)),
        };
        let (mut is_renewed, mut is_reduced) = (false, false);
        let mut token = self.account.token_before(deadline, &self.app).await?;
        // Last, because the push that tries a paused project must reach Google.
        let is_collapsible = self.template.is_collapsible(notification, occasion);
        let project = self.project()?;
        let pass = project.pauses.enter(delivery.key, is_collapsible).map_err(|wait| Failure::pause("paused", wait))?;
        loop {
            let answer = self.send(project, &token, body.clone(), deadline).await?;
            let error = if answer.status < 300 { ErrorBody::default() } else { ErrorBody::parse(&answer.body) };
            let (outcome, action) =
                interpret(answer.status, &error, answer.retry_after(self.context.clock.now()), &device.pushkey);
            tracing::debug!(app = &*self.app, status = answer.status, code = error.label(), "FCM answered");
            note_answer(answer.status, Some(error.label()));
            if action != Action::RenewToken {
                self.account.accept(&token);
            }
            if answer.status < 500 && answer.status != 429 {
                pass.passed();
            }
            let has_time = deadline.saturating_duration_since(Instant::now()) >= TIME_FOR_A_RESEND;
            match action {
                Action::Finish => {
                    if is_reduced && outcome == Outcome::Delivered {
                        self.count("push_payload_degraded_total");
                    }
                    return Ok(outcome);
                }
                Action::Pause(pause, quota) => {
                    pass.refused(pause, quota);
                    return Ok(outcome);
                }
                Action::RenewToken if is_renewed => return Ok(outcome),
                Action::ReducePayload if is_reduced => {
                    if let Outcome::Dropped(_) = outcome {
                        let detail = error.detail(&device.pushkey);
                        tracing::error!(app = &*self.app, detail, "FCM rejected the message after every reduction");
                    }
                    return Ok(outcome);
                }
                Action::RenewToken | Action::ReducePayload if !has_time => {
                    return Err(Failure::upstream("no_time", None));
                }
                Action::RenewToken => {
                    self.account.refuse(&token);
                    token = self.account.token_before(deadline, &self.app).await?;
                    is_renewed = true;
                }
                Action::ReducePayload => {
                    let detail = error.detail(&device.pushkey);
                    tracing::warn!(app = &*self.app, detail, "FCM rejected a message: sending a reduced one");
                    body = match self.template.reduced(notification, device, occasion) {
                        Ok(reduced) => reduced.into(),
                        Err(reason) => return Ok(Outcome::Dropped(reason)),
                    };
                    is_reduced = true;
                }
            }
        }
    }

    fn compose(&self, delivery: &Delivery<'_>, occasion: Occasion) -> Result<Payload, Reason> {
        let message = self.template.message(delivery.notification, delivery.device, occasion)?;
        if message.has_ignored_defaults {
            self.count("push_default_payload_ignored_total");
        }
        match (message.is_shortened, &delivery.notification.relayed) {
            (true, Some(_)) => count_oversize(&self.app),
            (true, None) => self.count("push_truncated_total"),
            (false, _) => {}
        }
        Ok(Payload { body: message.body.into(), is_background: false })
    }

    async fn send(
        &self,
        project: &Project,
        token: &Token,
        body: Bytes,
        deadline: Instant,
    ) -> Result<UpstreamResponse, Failure> {
        let started = Instant::now();
        let authorization = Authorization { value: token.authorization(), quota_project: self.quota_project.clone() };
        let answer = project.transport.post(headers(authorization), body, deadline).await;
        self.metrics.record(started, &answer);
        answer.map_err(|missing| Failure::outage(network_reason(missing), missing.retry_after()))
    }

    fn count(&self, name: &'static str) {
        metrics::counter!(name, "app" => Arc::clone(&self.app)).increment(1);
    }
}

impl Provider for Fcm {
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
                format!("no access token ({reason}): check the service account, the clock and the connection to Google")
            };
            self.account.token(&self.app).await.map_err(problem)?;
            Ok("Google gave an access token; only a push shows whether it is valid for the project: see test-push")
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

    /// A registration token begins with the installation ID of the app, which is a pushkey too.
    fn installation<'a>(&self, pushkey: &'a str) -> &'a str {
        payload::installation_id(pushkey)
    }

    fn device_token(&self, text: &str) -> Option<Vec<u8>> {
        Some(text.as_bytes().to_vec())
    }

    fn pushkey(&self, device_token: &[u8]) -> Option<String> {
        String::from_utf8(device_token.to_vec()).ok()
    }

    fn circuit_key(&self) -> String {
        self.settings.circuit_key()
    }

    fn describe(&self) -> String {
        self.settings.describe()
    }
}

#[cfg(test)]
mod tests;
