//! One device of one request, from its app to its verdict.
//!
//! Invariant: whatever is remembered is remembered here, after the attempt and by the same task, so a request that is
//! given up loses no result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::apps::{App, Unserved};
use crate::breaker::Doubted;
use crate::config::rules::UnknownApp;
use crate::error::{Owed, OwedStatus};
use crate::memory::{Claim, Fingerprint};
use crate::notification::{Device, Kind, Notification};
use crate::provider::{Certainty, Delivery, Outcome, Provider, ProviderError, Rejection};
use crate::retry::{AttemptError, attempts};
use crate::state::State;
use crate::verdict::{Trouble, Verdict};

/// The label for app IDs that no pattern matches; they come from outside and are never labels themselves.
const UNKNOWN: &str = "unknown";

/// Delivers to one device.
pub(super) async fn deliver(
    state: Arc<State>,
    notification: Arc<Notification>,
    device: Device,
    deadline: Instant,
) -> Verdict {
    let fingerprint = state.fingerprints.of(&["device", &device.app_id, &device.pushkey]);
    let app = state.apps.serving(&device);
    let (label, kind) = app.map_or((UNKNOWN, UNKNOWN), |app| (app.pattern.as_str(), app.type_name));
    let verdict = match app {
        Ok(app) => through_memory(&state, app, &notification, &device, fingerprint, deadline).await,
        Err(unserved) => without_app(&state, unserved, fingerprint),
    };
    tell(&state, label, kind, &device, &verdict);
    verdict
}

fn without_app(state: &State, unserved: Unserved, fingerprint: Fingerprint) -> Verdict {
    let reason = match unserved {
        Unserved::UnknownApp if state.config.routing.unknown_app == UnknownApp::Error => {
            return Err(Trouble::upstream(None));
        }
        Unserved::UnknownApp => "unknown_app",
        Unserved::InvalidPushkey => "invalid_pushkey",
    };
    believe(state, UNKNOWN, fingerprint, Rejection { reason, certainty: Certainty::Suspect })
}

async fn through_memory(
    state: &State,
    app: &App,
    notification: &Notification,
    device: &Device,
    fingerprint: Fingerprint,
    deadline: Instant,
) -> Verdict {
    if let Some(reason) = state.rejections.find(fingerprint, device.pushkey_ts) {
        metrics::counter!("push_rejected_memory_hits_total").increment(1);
        return Ok(Outcome::Rejected(Rejection { reason, certainty: Certainty::Certain }));
    }
    if notification.kind == Kind::Badge && device.counts_disabled {
        return Ok(Outcome::Dropped("badge_disabled"));
    }
    let event_id = notification.event_id.as_deref().filter(|event_id| !is_exempt(state, event_id));
    let Some(event_id) = event_id else {
        return through_queue(state, app, notification, device, fingerprint, deadline).await;
    };
    let key = state.fingerprints.of(&["event", &device.app_id, &device.pushkey, event_id]);
    match state.delivered.claim(key) {
        Claim::Done => {
            metrics::counter!("push_dedup_hits_total", "kind" => "done").increment(1);
            Ok(Outcome::Delivered)
        }
        Claim::InFlight(mut result) => {
            metrics::counter!("push_dedup_hits_total", "kind" => "in_flight").increment(1);
            match tokio::time::timeout_at(deadline.into(), result.wait_for(Option::is_some)).await {
                Ok(Ok(verdict)) => verdict.clone().unwrap_or(Err(Trouble::upstream(None))),
                // The deadline, or whoever was at it came to grief.
                Ok(Err(_)) | Err(_) => Err(Trouble::upstream(None)),
            }
        }
        Claim::Yours(ours) => {
            let verdict = through_queue(state, app, notification, device, fingerprint, deadline).await;
            let is_done = matches!(verdict, Ok(Outcome::Delivered | Outcome::Dropped(_)));
            ours.finish(verdict.clone(), is_done);
            verdict
        }
    }
}

/// Waits for one of the app's places, so that an app that hangs cannot take those of another.
async fn through_queue(
    state: &State,
    app: &App,
    notification: &Notification,
    device: &Device,
    fingerprint: Fingerprint,
    deadline: Instant,
) -> Verdict {
    let is_badge = notification.kind == Kind::Badge;
    if let Err(retry_after) = state.per_pushkey.charge(fingerprint, state.clock.now()) {
        if is_badge {
            return Ok(Outcome::Dropped("rate_limited"));
        }
        return Err(Trouble { kind: OwedStatus::RateLimited, retry_after: Some(retry_after) });
    }
    let began = Instant::now();
    let patience = if is_badge { Duration::ZERO } else { state.config.limits.queue_wait.get() };
    let until = deadline.min(began + patience);
    let place = match app.places.try_acquire() {
        Ok(place) => place,
        // The next badge update replaces this one.
        Err(_) if is_badge => return Ok(Outcome::Dropped("overloaded")),
        Err(_) => match tokio::time::timeout_at(until.into(), app.places.acquire()).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) | Err(_) => {
                let Owed { status: kind, retry_after } = Owed::OVERLOADED;
                return Err(Trouble { kind, retry_after });
            }
        },
    };
    metrics::histogram!("push_queue_seconds", "app" => app.pattern.clone()).record(began.elapsed().as_secs_f64());
    let in_flight = metrics::gauge!("push_in_flight", "app" => app.pattern.clone());
    in_flight.increment(1.0);
    let delivery = Delivery { notification, device, id: state.random.bytes(), deadline };
    let result = attempts(&app.delivering.retry_waits, deadline, state.random, || attempt(state, app, &delivery)).await;
    in_flight.decrement(1.0);
    drop(place);
    settle(state, app, fingerprint, result)
}

async fn attempt(state: &State, app: &App, delivery: &Delivery<'_>) -> Result<Outcome, AttemptError> {
    let circuit = app.circuit.as_str();
    let pass = state
        .circuits
        .enter(circuit, Instant::now())
        .map_err(|open| AttemptError::CircuitOpen { retry_after: open.retry_after })?;
    let result = app.provider.deliver(delivery).await;
    let is_outage = matches!(&result, Err(ProviderError::Temporary { is_outage: true, .. }));
    state.circuits.note(circuit, pass, is_outage, Instant::now());
    let label = match &result {
        Ok(_) => "answered",
        Err(ProviderError::Temporary { .. }) => "temporary",
        Err(ProviderError::Permanent { .. }) => "permanent",
    };
    metrics::counter!("push_attempts_total", "app" => app.pattern.clone(), "result" => label).increment(1);
    result.map_err(AttemptError::Provider)
}

fn settle(state: &State, app: &App, fingerprint: Fingerprint, result: Result<Outcome, AttemptError>) -> Verdict {
    match result {
        Ok(Outcome::Rejected(rejection)) => believe(state, &app.pattern, fingerprint, rejection),
        Ok(outcome) => {
            state.mass_rejection.note_other(&app.pattern, fingerprint);
            Ok(outcome)
        }
        Err(AttemptError::CircuitOpen { retry_after }) => Err(Trouble::upstream(Some(retry_after))),
        Err(AttemptError::Provider(ProviderError::Temporary { retry_after, .. })) => {
            state.mass_rejection.note_other(&app.pattern, fingerprint);
            Err(Trouble::upstream(retry_after))
        }
        Err(AttemptError::Provider(ProviderError::Permanent { reason, detail })) => {
            state.mass_rejection.note_other(&app.pattern, fingerprint);
            metrics::counter!("push_config_error_total", "app" => app.pattern.clone(), "reason" => reason).increment(1);
            if app.complaints.may(state.clock.now()) {
                tracing::error!(
                    app = app.pattern,
                    reason,
                    detail,
                    "our credentials or settings for this app are wrong"
                );
            }
            Err(Trouble::upstream(None))
        }
    }
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
            Err(Trouble::upstream(Some(retry_after)))
        }
    }
}

fn is_exempt(state: &State, event_id: &str) -> bool {
    state.config.dedup.exempt_event_ids.as_slice().iter().any(|exempt| exempt == event_id)
}

fn tell(state: &State, app: &str, kind: &'static str, device: &Device, verdict: &Verdict) {
    let (outcome, reason) = match verdict {
        Ok(Outcome::Delivered) => ("delivered", ""),
        Ok(Outcome::Dropped(reason)) => ("dropped", *reason),
        Ok(Outcome::Rejected(rejection)) => ("rejected", rejection.reason),
        Err(Trouble { kind: OwedStatus::Upstream, .. }) => ("owed", "upstream"),
        Err(Trouble { kind: OwedStatus::Overloaded, .. }) => ("owed", "overloaded"),
        Err(Trouble { kind: OwedStatus::RateLimited, .. }) => ("owed", "rate_limited"),
    };
    metrics::counter!(
        "push_deliveries_total", "app" => app.to_owned(), "type" => kind, "outcome" => outcome, "reason" => reason
    )
    .increment(1);
    if tracing::enabled!(tracing::Level::DEBUG) {
        tracing::debug!(app, device = state.fingerprints.name(&device.pushkey), outcome, reason, "device");
    }
}
