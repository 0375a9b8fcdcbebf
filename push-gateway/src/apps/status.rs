//! The status of the apps: for the operator who starts the gateway, for `/ready`, and for the gauges.
//!
//! Invariant: it reads the state and changes none of it.

use std::collections::HashSet;
use std::time::Duration;

use shared::certificate_chain::Validity;
use shared::clock::Timestamp;
use shared::http::observe::Activity;
use shared::http::operations::Notes;

use crate::delivery::relay::RelayState;
use crate::delivery::state::{Setup, State};
use crate::providers::webpush::endpoint_host;

/// A credential that expires within this time is reported.
const EXPIRY_NOTICE: Duration = Duration::from_secs(30 * DAY_SECONDS);

const DAY_SECONDS: u64 = 86_400;

/// A line for each app, one for each credential that expires, and one for the relay.
pub(crate) fn app_lines(setup: &Setup, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    // In the order of the configuration.
    for app in setup.config.apps.keys().filter_map(|pattern| setup.apps.find(pattern)) {
        let descriptions: Vec<String> = app.senders().map(|sender| sender.provider.describe()).collect();
        lines.push(format!("app {}: {}", app.pattern, descriptions.join("; ")));
        let validity = app.own.provider.credential_validity();
        lines.extend(validity.map(|validity| format!("app {}: {}", app.pattern, validity_text(validity, now))));
    }
    match &setup.relay {
        RelayState::Enabled(relay) => lines.push(format!("relay: {}/wp/", relay.public_url())),
        RelayState::Disabled => lines.push("relay: disabled, so its paths are answered with 503".to_owned()),
        RelayState::Absent => {}
    }
    lines
}

/// The notes of a gateway that is ready.
///
/// # Errors
/// What is missing before every app can be served.
pub(crate) fn readiness(state: &State) -> Result<Notes, String> {
    let (mut notes, mut missing) = (Vec::new(), Vec::new());
    let (setup, now) = (state.setup(), state.clock.now());
    let open_circuits: HashSet<String> = state.circuits.open().into_iter().collect();
    for app in setup.apps.iter() {
        match app.own.provider.readiness() {
            Ok(note) => notes.extend(note.map(|note| format!("{}: {note}", app.pattern))),
            Err(what) => missing.push(format!("{} {what}", app.pattern)),
        }
        if open_circuits.contains(&app.own.circuit_key) {
            notes.push(format!("{}: its circuit breaker is open: only probes are sent", app.pattern));
        }
        let problem = app.own.provider.credential_validity().and_then(|validity| validity.problem(now, EXPIRY_NOTICE));
        notes.extend(problem.map(|problem| format!("{}: its certificate {problem}", app.pattern)));
    }
    notes.extend(endpoint_notes(&open_circuits));
    for (app, reason) in state.mass_rejection.open() {
        notes.push(format!("{app}: so many pushkeys are rejected ({reason}) that rejections of this app are withheld"));
    }
    notes.sort();
    if missing.is_empty() { Ok(notes) } else { Err(missing.join("; ")) }
}

/// The notes on push servers that pushkeys name: users choose them, so their number is bounded.
fn endpoint_notes(open_circuits: &HashSet<String>) -> Vec<String> {
    const MAX_HOSTS: usize = 20;
    let mut hosts: Vec<&str> = open_circuits.iter().filter_map(|circuit| endpoint_host(circuit)).collect();
    hosts.sort_unstable();
    let further = hosts.len().saturating_sub(MAX_HOSTS);
    let named = hosts.iter().take(MAX_HOSTS);
    let mut notes: Vec<String> =
        named.map(|host| format!("push server {host}: its circuit breaker is open: only probes are sent")).collect();
    if further > 0 {
        notes.push(format!("push servers: the circuit breakers of {further} others are open"));
    }
    notes
}

/// Sets the gauges that are derived from the state.
pub(crate) fn update_gauges(state: &State, activity: &Activity) {
    let setup = state.setup();
    let open_circuits: HashSet<String> = state.circuits.open().into_iter().collect();
    let guarded: HashSet<String> = state.mass_rejection.open().into_iter().map(|(app, _)| app).collect();
    for app in setup.apps.iter() {
        set_open(&app.pattern, "circuit", open_circuits.contains(&app.own.circuit_key));
        if app.names_endpoints() {
            let is_open = open_circuits.iter().any(|circuit| endpoint_host(circuit).is_some());
            set_open(&app.pattern, "endpoint_circuit", is_open);
        }
        set_open(&app.pattern, "mass_rejection", app.senders().any(|sender| guarded.contains(&sender.guard_name)));
        if let Some(validity) = app.own.provider.credential_validity() {
            #[expect(clippy::cast_precision_loss, reason = "seconds fit for the next 200 million years")]
            set_expiry(&app.pattern, (validity.end.as_millis() / 1000) as f64);
        }
    }
    set_open("unknown", "mass_rejection", guarded.contains("unknown"));
    #[expect(clippy::cast_precision_loss, reason = "far fewer requests than 2^52 are in flight")]
    metrics::gauge!("push_requests_in_flight").set(activity.in_flight() as f64);
}

/// Resets the gauges of an app that was removed or changed.
pub(crate) fn reset_gauges(app: &str) {
    set_open(app, "circuit", false);
    set_open(app, "mass_rejection", false);
    set_open(app, "endpoint_circuit", false);
    // Alerts never match a NaN.
    set_expiry(app, f64::NAN);
}

fn set_open(app: &str, kind: &'static str, is_open: bool) {
    metrics::gauge!("push_breaker_open", "app" => app.to_owned(), "kind" => kind).set(f64::from(u8::from(is_open)));
}

fn set_expiry(app: &str, seconds: f64) {
    metrics::gauge!("push_credential_expiry_seconds", "app" => app.to_owned()).set(seconds);
}

fn validity_text(validity: Validity, now: Timestamp) -> String {
    match validity.problem(now, EXPIRY_NOTICE) {
        Some(problem) => format!("its certificate {problem}"),
        None => format!("its certificate expires in {} days", validity.end.since(now).as_secs() / DAY_SECONDS),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::certificate_chain::Validity;
    use shared::clock::Timestamp;

    use super::{endpoint_notes, validity_text};

    #[test]
    fn the_notes_on_push_servers_are_bounded() {
        let circuits = (0..25).map(|number| format!("webpush {number:02}.example")).chain(["apns x".to_owned()]);
        let notes = endpoint_notes(&circuits.collect());
        assert_eq!(notes.len(), 21);
        assert!(notes[0].starts_with("push server 00.example: ") && notes[20].contains(" 5 others"), "{notes:?}");
    }

    #[test]
    fn the_dates_of_a_certificate_are_reported_in_days() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let until = |end: Timestamp| validity_text(Validity { start: now.minus(days(400)), end }, now);
        assert_eq!(until(now.plus(days(100))), "its certificate expires in 100 days");
        assert_eq!(until(now.plus(days(29))), "its certificate expires in 29 days: renew it");
        assert_eq!(until(now.minus(days(3))), "its certificate EXPIRED 3 days ago: renew it");
        let early = validity_text(Validity { start: now.plus(days(5)), end: now.plus(days(9)) }, now);
        assert!(early.starts_with("its certificate is NOT VALID YET, only in 5 days"), "{early}");
    }
}
