//! One device of one request, from its app to its verdict.
//!
//! Invariant: whatever is remembered is remembered here, after the attempt and by the same task, so a request that is
//! given up loses no result.

use std::sync::Arc;
use std::time::Instant;

use tracing::field::Empty;
use tracing::{Instrument, debug_span};

use super::circuit_breaker::Sign;
use super::dedup::Claim;
use super::mass_rejection::Doubted;
use super::outcome::{Trouble, Verdict, outcome};
use super::retry::{AttemptError, attempts};
use super::state::{Setup, State};
use crate::apps::metrics::delivery_counter;
use crate::apps::registry::{App, Unserved};
use crate::config::rules::UnknownApp;
use crate::notification::{Device, Kind, Notification};
use crate::providers::device_key::Fingerprint;
use crate::providers::log_throttle::Complaints;
use crate::providers::{Certainty, Delivery, Outcome, Provider, ProviderError, Rejection};

/// The label for app IDs that no pattern matches; they come from outside and are never labels themselves.
const UNKNOWN: &str = "unknown";

/// What is to be delivered, to whom, until when, and with what.
pub(super) struct Errand {
    pub(super) state: Arc<State>,
    pub(super) setup: Arc<Setup>,
    pub(super) notification: Arc<Notification>,
    pub(super) device: Device,
    pub(super) deadline: Instant,
}

/// Delivers to one device.
pub(super) async fn deliver(errand: Errand) -> Verdict {
    let Errand { state, setup, notification, device, .. } = &errand;
    let app = setup.apps.serving(device);
    let label = app.map_or(UNKNOWN, |app| app.pattern.as_str());
    let span = debug_span!(
        "device",
        app = label,
        device = %state.fingerprints.name(&device.pushkey),
        upstream_status = Empty,
        upstream_reason = Empty
    );
    let work = async {
        let verdict = match app {
            Ok(app) => {
                // An app whose settings were changed remembers nothing of the time before.
                let names = ["device", &app.pattern, &app.era, &device.app_id, &device.pushkey];
                errand.through_memory(app, state.fingerprints.of(&names)).await
            }
            Err(unserved) => errand.without_app(unserved),
        };
        let (outcome, reason) = outcome(&verdict);
        match app {
            Ok(app) => app.measures.count_delivery(outcome, reason),
            Err(_) => delivery_counter(UNKNOWN, UNKNOWN, outcome, reason).increment(1),
        }
        let event_id = notification.event_id.as_deref();
        tracing::debug!(outcome, reason, event_id, "device");
        verdict
    };
    work.instrument(span).await
}

impl Errand {
    fn without_app(&self, unserved: Unserved) -> Verdict {
        let Self { state, setup, device, .. } = self;
        let reason = match unserved {
            Unserved::UnknownApp if setup.config.routing.unknown_app == UnknownApp::Error => {
                let detail = "add an app with this app_id or a pattern that matches it";
                if is_to_be_told(&setup.apps.nobody, state, UNKNOWN, "unknown_app") {
                    tracing::error!(app_id = device.app_id, detail, "no app is configured for a device");
                }
                return Err(Trouble::permanent("unknown_app"));
            }
            Unserved::UnknownApp => "unknown_app",
            Unserved::InvalidPushkey => "invalid_pushkey",
        };
        let fingerprint = state.fingerprints.of(&["device", "", "", &device.app_id, &device.pushkey]);
        believe(state, UNKNOWN, fingerprint, Rejection { reason, certainty: Certainty::Suspect })
    }

    async fn through_memory(&self, app: &App, fingerprint: Fingerprint) -> Verdict {
        let Self { state, notification, device, .. } = self;
        if let Some(reason) = state.rejections.find(fingerprint, device.pushkey_ts) {
            metrics::counter!("push_rejected_memory_hits_total").increment(1);
            return Ok(Outcome::Rejected(Rejection { reason, certainty: Certainty::Certain }));
        }
        if notification.kind == Kind::Badge && device.counts_disabled {
            return Ok(Outcome::Dropped("badge_disabled"));
        }
        let event_id = notification.event_id.as_deref().filter(|event_id| !self.is_exempt(event_id));
        let Some(event_id) = event_id else { return self.through_queue(app, fingerprint).await };
        let names = ["event", &app.pattern, &app.era, &device.app_id, &device.pushkey, event_id];
        match state.delivered.claim(state.fingerprints.of(&names)) {
            Claim::Done => {
                metrics::counter!("push_dedup_hits_total", "kind" => "done").increment(1);
                Ok(Outcome::Delivered)
            }
            Claim::InFlight(mut result) => {
                metrics::counter!("push_dedup_hits_total", "kind" => "in_flight").increment(1);
                match tokio::time::timeout_at(self.deadline.into(), result.wait_for(Option::is_some)).await {
                    Ok(Ok(verdict)) => verdict.clone().unwrap_or(Err(Trouble::upstream("given_up", None))),
                    // Whoever was at it came to grief.
                    Ok(Err(_)) => Err(Trouble::upstream("given_up", None)),
                    Err(_) => Err(Trouble::upstream("deadline", None)),
                }
            }
            Claim::Yours(ours) => {
                let verdict = self.through_queue(app, fingerprint).await;
                let is_done = matches!(verdict, Ok(Outcome::Delivered | Outcome::Dropped(_)));
                ours.finish(&verdict, is_done);
                verdict
            }
        }
    }

    /// Waits for one of the app's places, so that an app that hangs cannot take those of another.
    async fn through_queue(&self, app: &App, fingerprint: Fingerprint) -> Verdict {
        let Self { state, setup, notification, device, deadline } = self;
        let is_badge = notification.kind == Kind::Badge;
        if let Err(retry_after) = setup.per_pushkey.charge(|| fingerprint, state.clock.now()) {
            if is_badge {
                return Ok(Outcome::Dropped("rate_limited"));
            }
            return Err(Trouble::rate_limited(retry_after));
        }
        let began = Instant::now();
        let place = match app.places.try_acquire() {
            Ok(place) => place,
            // The next badge update replaces this one.
            Err(_) if is_badge => return Ok(Outcome::Dropped("overloaded")),
            Err(_) => {
                let _waiting = app.measures.waiting();
                let until = (*deadline).min(began + setup.config.limits.queue_wait.get());
                match tokio::time::timeout_at(until.into(), app.places.acquire()).await {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) | Err(_) => return Err(Trouble::overloaded()),
                }
            }
        };
        app.measures.queued_for(began.elapsed());
        if device.data.get("default_payload").is_some_and(|given| !given.is_object() && !given.is_null()) {
            metrics::counter!("push_default_payload_ignored_total", "app" => app.pattern.clone()).increment(1);
        }
        let delivery = Delivery { notification, device, id: state.random.bytes(), deadline: *deadline };
        let result = {
            let _in_flight = app.measures.in_flight();
            let attempt = || attempt(state, app, &delivery);
            attempts(&app.delivering.retry_waits, *deadline, state.random, attempt).await
        };
        drop(place);
        settle(state, app, fingerprint, result)
    }

    fn is_exempt(&self, event_id: &str) -> bool {
        self.setup.config.dedup.exempt_event_ids.as_slice().iter().any(|exempt| exempt == event_id)
    }
}

async fn attempt(state: &State, app: &App, delivery: &Delivery<'_>) -> Result<Outcome, AttemptError> {
    let circuit = app.circuit.as_str();
    let pass = state
        .circuits
        .enter(circuit, Instant::now())
        .map_err(|open| AttemptError::CircuitOpen { retry_after: open.retry_after })?;
    let result = app.provider.deliver(delivery).await;
    state.circuits.note(circuit, pass, sign(&result), Instant::now());
    let label = match &result {
        Ok(_) => "answered",
        Err(ProviderError::Temporary { .. }) => "temporary",
        Err(ProviderError::Permanent { .. }) => "permanent",
    };
    app.measures.count_attempt(label);
    result.map_err(AttemptError::Provider)
}

/// What an attempt says of the push service.
fn sign(result: &Result<Outcome, ProviderError>) -> Sign {
    match result {
        Err(ProviderError::Temporary { is_outage: true, .. }) => Sign::Down,
        Ok(Outcome::Delivered | Outcome::Rejected(Rejection { certainty: Certainty::Certain, .. }))
        | Err(ProviderError::Permanent { .. }) => Sign::Up,
        // Perhaps an answer; perhaps there was nothing to send, a pause, no access token, or no readable pushkey.
        Ok(Outcome::Dropped(_) | Outcome::Rejected(Rejection { certainty: Certainty::Suspect, .. }))
        | Err(ProviderError::Temporary { is_outage: false, .. }) => Sign::Nothing,
    }
}

fn settle(state: &State, app: &App, fingerprint: Fingerprint, result: Result<Outcome, AttemptError>) -> Verdict {
    let verdict = match result {
        Ok(Outcome::Rejected(rejection)) => return believe(state, &app.pattern, fingerprint, rejection),
        Err(AttemptError::CircuitOpen { retry_after }) => {
            return Err(Trouble::upstream("circuit_open", Some(retry_after)));
        }
        Ok(outcome) => Ok(outcome),
        Err(AttemptError::Provider(ProviderError::Temporary { reason, retry_after, .. })) => {
            Err(Trouble::upstream(reason, retry_after))
        }
        Err(AttemptError::Provider(ProviderError::Permanent { reason, detail })) => {
            if is_to_be_told(&app.complaints, state, &app.pattern, reason) {
                let app = &app.pattern;
                tracing::error!(app, reason, detail, "our credentials or settings for this app are wrong");
            }
            Err(Trouble::permanent(reason))
        }
    };
    state.mass_rejection.note_other(&app.pattern, fingerprint);
    verdict
}

/// Counts a mistake of ours; whether it is time to tell the operator of it.
fn is_to_be_told(complaints: &Complaints, state: &State, app: &str, reason: &'static str) -> bool {
    metrics::counter!("push_config_error_total", "app" => app.to_owned(), "reason" => reason).increment(1);
    complaints.may(state.clock.now())
}

/// Passes a rejection on and remembers it, unless there are so many of its kind that the fault must be ours.
fn believe(state: &State, app: &str, fingerprint: Fingerprint, rejection: Rejection) -> Verdict {
    match state.mass_rejection.note_rejection(app, fingerprint, rejection.reason, rejection.certainty) {
        Ok(()) => {
            state.rejections.insert(fingerprint, rejection.reason);
            Ok(Outcome::Rejected(rejection))
        }
        Err(Doubted { retry_after, is_new }) => {
            if is_new {
                tracing::error!(
                    app,
                    reason = rejection.reason,
                    "so many pushkeys are rejected that our own settings are the likelier fault: nothing is unregistered for now"
                );
            }
            Err(Trouble::upstream("mass_rejection", Some(retry_after)))
        }
    }
}
