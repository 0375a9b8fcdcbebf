//! One device of one request: deduplicate → rate limit → permit → circuit breaker → retry → provider.
//!
//! Invariant: the task that makes the attempts also records their outcome, so a disconnected homeserver loses no result.

use std::time::Instant;

use tracing::field::Empty;
use tracing::{Instrument, debug_span};

use super::Caller;
use super::admission::{Applicant, admit};
use super::circuit_breaker::Change;
use super::dedup::Claim;
use super::mass_rejection::Withheld;
use super::retry::with_retries;
use super::state::{Setup, State};
use super::target::Target;
use crate::apps::metrics::delivery_counter;
use crate::apps::registry::{App, UNKNOWN_APP};
use crate::config::rules::UnknownApp;
use crate::notification::badge_update::BadgeAction;
use crate::notification::{Device, Notification};
use crate::providers::Delivery;
use crate::providers::device_key::{DeviceKey, Digest};
use crate::providers::log_throttle::{LogThrottle, escaped};
use crate::providers::outcome::{Cause, Failure, Outcome, Reason, Rejection};

/// The label of devices without an app. An `app_id` comes from outside and never becomes a label.
const UNKNOWN: &str = "unknown";

/// The reason for a delivery that an open circuit stopped.
const CIRCUIT_OPEN: Reason = "circuit_open";

/// The delivery of one notification to one device.
pub(super) struct DeviceDelivery<'a> {
    pub(super) state: &'a State,
    pub(super) setup: &'a Setup,
    pub(super) notification: &'a Notification,
    pub(super) device: &'a Device,
    /// The digest of what the notification shows.
    pub(super) shown: Digest,
    pub(super) caller: Caller,
    pub(super) deadline: Instant,
}

impl DeviceDelivery<'_> {
    pub(super) async fn run(self) -> Outcome {
        let Self { state, setup, notification, device, .. } = &self;
        let app = setup.apps.serving(device);
        let span = debug_span!(
            "device",
            app = app.map_or(UNKNOWN, |app| app.pattern.as_str()),
            device = %state.device_keys.log_name(&device.pushkey),
            upstream_status = Empty,
            upstream_reason = Empty
        );
        let work = async {
            let outcome = match app {
                Ok(app) => self.by_route(app).await,
                Err(rejection) => {
                    let outcome = self.without_app(rejection);
                    let (label, reason) = outcome.labels();
                    delivery_counter(UNKNOWN, UNKNOWN, label, reason).increment(1);
                    outcome
                }
            };
            let (label, reason) = outcome.labels();
            let event_id = notification.event_id.as_deref();
            tracing::debug!(outcome = label, reason, event_id, "device");
            outcome
        };
        work.instrument(span).await
    }

    /// Delivers by the push service that the form of the pushkey leads to.
    async fn by_route(&self, app: &App) -> Outcome {
        let keys = &self.state.device_keys;
        let (sender, outcome) = match app.sender(self.device) {
            Ok(sender) => {
                let target = Target::new(app, sender, self.device, keys);
                (sender, self.deduplicate(&target).await)
            }
            Err(rejection) => {
                let pushkey = keys.pushkey(&self.device.pushkey);
                let device = keys.device(&app.scope(), &self.device.pushkey);
                (&app.own, self.reject(&app.own.guard_name, device, pushkey, rejection))
            }
        };
        let (label, reason) = outcome.labels();
        sender.count_delivery(label, reason);
        outcome
    }

    fn without_app(&self, rejection: Rejection) -> Outcome {
        let Self { state, setup, device, .. } = self;
        if rejection.reason == UNKNOWN_APP {
            let detail = "add an app with this app_id or a pattern that matches it";
            let is_error = setup.config.routing.unknown_app == UnknownApp::Error;
            if is_error {
                metrics::counter!("push_config_error_total", "app" => UNKNOWN, "reason" => UNKNOWN_APP).increment(1);
            }
            if setup.apps.unknown_app_log.allow(&device.app_id, self.caller.site, state.clock.now()) {
                let app_id = escaped(&device.app_id);
                if is_error {
                    tracing::error!(%app_id, detail, "no app is configured for a device");
                } else {
                    tracing::warn!(%app_id, detail, "no app is configured for a device");
                }
            }
            if is_error {
                return Failure::ours(UNKNOWN_APP, detail).into();
            }
        }
        let device_key = state.device_keys.device(&[&device.app_id], &device.pushkey);
        let pushkey = state.device_keys.pushkey(&device.pushkey);
        self.reject(UNKNOWN, device_key, pushkey, rejection)
    }

    /// Skips the provider for pushkeys that were rejected, and for events that are delivered or in delivery.
    async fn deduplicate(&self, target: &Target<'_>) -> Outcome {
        let Target { app, keys, .. } = target;
        let Self { state, notification, device, .. } = self;
        if let Some(rejection) = state.rejected_pushkeys.find(keys.device, device.pushkey_ts) {
            metrics::counter!("push_rejected_memory_hits_total").increment(1);
            return Outcome::Rejected(rejection);
        }
        match app.own.delivery.badge_updates.action(app.own.delivery.badge_nudge, notification, device) {
            BadgeAction::Send => {}
            BadgeAction::Nudge => return self.nudge(target).await,
            BadgeAction::Drop(reason) => return Outcome::Dropped(reason),
        }
        let Some(claim) = self.claim(keys.device) else {
            return self.with_concurrency_limit(target, false).await;
        };
        match claim {
            Claim::Delivered => {
                metrics::counter!("push_dedup_hits_total", "kind" => "done").increment(1);
                Outcome::Delivered
            }
            Claim::InFlight(mut other) => {
                metrics::counter!("push_dedup_hits_total", "kind" => "in_flight").increment(1);
                match tokio::time::timeout_at(self.deadline.into(), other.wait_for(Option::is_some)).await {
                    Ok(Ok(outcome)) => outcome.clone().unwrap_or_else(|| super::panicked().into()),
                    // The other delivery panicked.
                    Ok(Err(_)) => super::panicked().into(),
                    Err(_) => super::deadline_exceeded().into(),
                }
            }
            Claim::Acquired(guard) => {
                let outcome = self.with_concurrency_limit(target, false).await;
                guard.finish(&outcome);
                outcome
            }
        }
    }

    /// Asks the device to count its messages itself, once in an interval: events make it count too.
    async fn nudge(&self, target: &Target<'_>) -> Outcome {
        let (nudges, Target { app, keys, .. }) = (&self.state.nudges, target);
        if !nudges.allow(keys.device, app.own.delivery.nudge_interval) {
            return Outcome::Dropped("nudge_throttled");
        }
        let outcome = self.with_concurrency_limit(target, true).await;
        if outcome != Outcome::Delivered {
            nudges.forget(keys.device);
        }
        outcome
    }

    /// Waits for a permit of the app, so that an app that hangs takes no capacity from others.
    async fn with_concurrency_limit(&self, target: &Target<'_>, is_nudge: bool) -> Outcome {
        let Target { app, keys, .. } = target;
        let Self { state, setup, notification, device, caller, deadline, .. } = self;
        let now = state.clock.now();
        let applicant = Applicant {
            kind: notification.kind,
            is_ring: notification.occasion(&app.own.delivery.call_types, now).ring().is_some(),
            limited: keys.limited,
            client: caller.peer,
            is_proven: state.proven_pushkeys.contains(keys.pushkey),
            deadline: *deadline,
            now,
        };
        let permit = match admit(app, state, setup, applicant).await {
            Ok(permit) => permit,
            Err(outcome) => return outcome,
        };
        if device.data.get("default_payload").is_some_and(|given| !given.is_object() && !given.is_null()) {
            metrics::counter!("push_default_payload_ignored_total", "app" => app.pattern.clone()).increment(1);
        }
        let mut delivery =
            Delivery::new(notification, device, keys.installation, state.random.unique_bytes(), *deadline);
        delivery.is_nudge = is_nudge;
        let outcome = {
            let _in_flight = app.metrics.in_flight();
            let attempt = || self.attempt(target, &delivery);
            with_retries(&app.own.delivery.retry_waits, *deadline, state.random, attempt).await
        };
        drop(permit);
        self.record(target, outcome)
    }

    async fn attempt(&self, target: &Target<'_>, delivery: &Delivery<'_>) -> Outcome {
        let (Target { app, sender, .. }, circuits) = (target, &self.state.circuits);
        let circuit = &*target.circuit;
        let pass = match circuits.enter(circuit, Instant::now()) {
            Ok(pass) => pass,
            Err(retry_after) => return Failure::upstream(CIRCUIT_OPEN, Some(retry_after)).into(),
        };
        let outcome = sender.provider.deliver(delivery).await;
        match circuits.record(circuit, pass, &outcome, Instant::now()) {
            Some(Change::Opened) => {
                let reason = outcome.labels().1;
                tracing::warn!(app = app.pattern, push_service = circuit, reason, "circuit breaker opened");
            }
            Some(Change::Closed) => {
                tracing::warn!(app = app.pattern, push_service = circuit, "circuit breaker closed");
            }
            None => {}
        }
        app.metrics.count_attempt(match &outcome {
            Outcome::Failed(_) => outcome.labels().0,
            Outcome::Delivered | Outcome::Rejected(_) | Outcome::Dropped(_) => "answered",
        });
        outcome
    }

    /// Records the outcome of the last attempt.
    fn record(&self, target: &Target<'_>, outcome: Outcome) -> Outcome {
        let Target { app, sender, circuit, keys } = target;
        match &outcome {
            Outcome::Rejected(rejection) => {
                return self.reject(&sender.guard_name, keys.device, keys.pushkey, *rejection);
            }
            Outcome::Failed(Failure { reason, cause: Cause::Ours { detail }, .. }) => {
                if self.count_config_error(&app.config_error_log, &app.pattern, reason) {
                    let app = &app.pattern;
                    tracing::error!(
                        app,
                        reason,
                        detail,
                        "the gateway's credentials or settings for this app are wrong"
                    );
                }
            }
            Outcome::Delivered => {
                if self.state.proven_pushkeys.insert(keys.pushkey) {
                    self.setup.per_pushkey.take_over(&self.setup.per_unproven_pushkey, keys.limited);
                    self.state.calls_per_pushkey.take_over(&self.state.calls_per_unproven_pushkey, keys.limited);
                }
                self.state.mass_rejection.record_delivery(&sender.guard_name, keys.device, self.caller.site);
            }
            Outcome::Failed(Failure { reason, cause: Cause::Upstream { is_outage: true }, .. }) => {
                if app.outage_log.allow(self.state.clock.now()) {
                    let (app, push_service) = (&app.pattern, &**circuit);
                    tracing::warn!(app, push_service, reason, "events are undelivered: the push service fails");
                }
            }
            Outcome::Dropped(_) | Outcome::Failed(_) => {}
        }
        outcome
    }

    /// Counts a mistake in the configuration; returns whether to log it.
    fn count_config_error(&self, log: &LogThrottle, app: &str, reason: Reason) -> bool {
        metrics::counter!("push_config_error_total", "app" => app.to_owned(), "reason" => reason).increment(1);
        log.allow(self.state.clock.now())
    }

    /// Stores and returns a rejection, unless the mass-rejection guard withholds it.
    fn reject(&self, app: &str, device: DeviceKey, pushkey: DeviceKey, rejection: Rejection) -> Outcome {
        let Rejection { reason, .. } = rejection;
        let is_proven = self.state.proven_pushkeys.contains(pushkey);
        let guard = &self.state.mass_rejection;
        match guard.record_rejection(app, device, self.caller.site, is_proven, rejection) {
            Ok(()) => {
                self.state.rejected_pushkeys.insert(device, rejection);
                // The app_id of an unknown app is in a warning, once a minute: any client could write it here.
                tracing::info!(app, reason, "pushkey rejected: its homeserver deletes the pusher");
                Outcome::Rejected(rejection)
            }
            Err(Withheld { retry_after, is_new }) => {
                if is_new {
                    tracing::error!(
                        app,
                        reason,
                        "so many pushkeys are rejected that the gateway's settings are the likelier cause: rejections of \
                         this app are withheld"
                    );
                }
                Failure::upstream("mass_rejection", Some(retry_after)).into()
            }
        }
    }
}
