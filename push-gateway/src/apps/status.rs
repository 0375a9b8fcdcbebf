//! How the apps stand: for the operator who starts the gateway, for `/ready`, and for the gauges.
//!
//! Invariant: it only looks; nothing that is told here is changed by telling it.

use std::collections::HashSet;

use shared::clock::Timestamp;
use shared::http::observe::Activity;
use shared::http::operations::Notes;

use crate::delivery::state::{Setup, State};

/// From when on the end of a credential is told.
const EXPIRY_NOTICE_DAYS: u64 = 30;

const DAY_SECONDS: u64 = 86_400;

/// A line for each app, and one for each credential that runs out.
pub(crate) fn app_lines(setup: &Setup, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    for (pattern, settings) in &setup.config.apps {
        lines.push(format!("app {pattern}: {}", settings.describe()));
        let expiry = setup.apps.find(pattern).and_then(|app| app.credential_expiry());
        lines.extend(expiry.map(|expiry| format!("app {pattern}: {}", expiry_text(expiry, now))));
    }
    lines
}

/// Ready, and what should be known all the same; or why not.
///
/// # Errors
/// What is missing before every app can be served.
pub(crate) fn readiness(state: &State) -> Result<Notes, String> {
    let (mut notes, mut lacking) = (Vec::new(), Vec::new());
    let (setup, now) = (state.setup(), state.clock.now());
    let circuits: HashSet<String> = state.circuits.open().into_iter().collect();
    for app in setup.apps.iter() {
        lacking.extend(app.lacks().map(|what| format!("{} {what}", app.pattern)));
        if circuits.contains(&app.circuit) {
            notes.push(format!("{}: its push service is taken for down; nothing is sent but probes", app.pattern));
        }
        if let Some(expiry) = app.credential_expiry()
            && expiry.since(now).as_secs() / DAY_SECONDS < EXPIRY_NOTICE_DAYS
        {
            notes.push(format!("{}: {}", app.pattern, expiry_text(expiry, now)));
        }
    }
    for (app, reason) in state.mass_rejection.open() {
        notes.push(format!("{app}: so many pushkeys are rejected ({reason}) that nobody is unregistered for now"));
    }
    notes.sort();
    if lacking.is_empty() { Ok(notes) } else { Err(lacking.join("; ")) }
}

/// Sets the gauges that nobody else keeps up to date.
pub(crate) fn bring_gauges_up_to_date(state: &State, activity: &Activity) {
    let setup = state.setup();
    let circuits: HashSet<String> = state.circuits.open().into_iter().collect();
    let doubted: HashSet<String> = state.mass_rejection.open().into_iter().map(|(app, _)| app).collect();
    for app in setup.apps.iter() {
        set_open(&app.pattern, "circuit", circuits.contains(&app.circuit));
        set_open(&app.pattern, "mass_rejection", doubted.contains(&app.pattern));
        if let Some(expiry) = app.credential_expiry() {
            #[expect(clippy::cast_precision_loss, reason = "seconds fit for the next 200 million years")]
            set_expiry(&app.pattern, (expiry.as_millis() / 1000) as f64);
        }
    }
    set_open("unknown", "mass_rejection", doubted.contains("unknown"));
    #[expect(clippy::cast_precision_loss, reason = "that many requests are not in sight")]
    metrics::gauge!("push_requests_in_flight").set(activity.in_flight() as f64);
}

/// Takes back what the gauges said of an app that is no more, or not what it was.
pub(crate) fn forget_gauges(app: &str) {
    set_open(app, "circuit", false);
    set_open(app, "mass_rejection", false);
    // No number, so that no alert compares it with anything.
    set_expiry(app, f64::NAN);
}

fn set_open(app: &str, kind: &'static str, is_open: bool) {
    metrics::gauge!("push_breaker_open", "app" => app.to_owned(), "kind" => kind).set(f64::from(u8::from(is_open)));
}

fn set_expiry(app: &str, seconds: f64) {
    metrics::gauge!("push_credential_expiry_seconds", "app" => app.to_owned()).set(seconds);
}

fn expiry_text(expiry: Timestamp, now: Timestamp) -> String {
    match expiry.since(now).as_secs() / DAY_SECONDS {
        _ if expiry <= now => "its certificate has EXPIRED: renew it".to_owned(),
        days if days < EXPIRY_NOTICE_DAYS => format!("its certificate expires in {days} days: renew it"),
        days => format!("its certificate expires in {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::expiry_text;

    #[test]
    fn the_end_of_a_certificate_is_told_in_days() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let in_days = |days: u64| expiry_text(now.plus(Duration::from_secs(days * 86_400)), now);
        assert_eq!(in_days(100), "its certificate expires in 100 days");
        assert_eq!(in_days(29), "its certificate expires in 29 days: renew it");
        assert!(in_days(0).contains("EXPIRED"));
    }
}
