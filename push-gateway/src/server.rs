//! Puts the parts of the gateway together, says what came of it, and runs them until the process is told to stop.
//!
//! Invariant: nothing listens before everything that a request needs is there.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use actix_web::web::Data;
use shared::clock::{Clock, Timestamp};
use shared::http::listen::{AdminListener, ListenError, Listener, listen};
use shared::http::observe::{Activity, Observer};
use shared::http::operations::{Notes, Operations};
use shared::http::server::run;
use shared::http::settings::AdminAddress;
use shared::random::Random;
use shared::telemetry::{self, Format, Recorder};

use crate::apps::AppsError;
use crate::config::Config;
use crate::routes;
use crate::state::State;

/// Where the admin listener stands if nobody says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);

/// From when on the end of a credential is told.
const EXPIRY_NOTICE_DAYS: u64 = 30;

const DAY_SECONDS: u64 = 86_400;

/// Why the gateway does not start; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An app cannot be served.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The metrics cannot be set up.
    #[error("{0}")]
    Metrics(String),
    /// The addresses cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. Must run on a multi-threaded Tokio runtime.
///
/// # Errors
/// [`StartError`] if something that the settings name cannot be had.
pub async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::log(config.log, &["push_gateway", "shared"]);
    let metrics = telemetry::metrics().map_err(|error| StartError::Metrics(error.to_string()))?;
    let state = Arc::new(State::new(config, Clock::system(), Random)?);
    let listeners = listen(&state.config.http)?;
    let admin = open_admin(state.config.admin.bind.as_ref())?;

    announce(&state, &listeners, admin.as_ref())?;
    for app in state.apps.iter() {
        let app = Arc::clone(app);
        tokio::spawn(async move { app.prepare().await });
    }

    let activity = Arc::new(Activity::default());
    let observer = Observer {
        requests_total: "push_requests_total",
        duration_seconds: "push_request_seconds",
        duration_by_code: true,
        headers: &[],
        activity: activity.clone(),
    };
    let operations = operations(&state, metrics, activity);
    let shared_state = state.clone();
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(shared_state.clone()));
        routes::configure(config);
    };
    run(&state.config.http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Checks everything that can be checked without listening or asking anyone: settings, and every key and certificate;
/// then one line for each app.
///
/// # Errors
/// [`StartError::Apps`] for the first thing that is wrong.
pub fn check(config: Config) -> Result<Vec<String>, StartError> {
    let state = State::new(config, Clock::system(), Random)?;
    Ok(app_lines(&state))
}

/// The address of the settings, or the usual one. If the usual one is taken, nobody has asked for it: then there is none.
fn open_admin(bind: Option<&AdminAddress>) -> Result<Option<AdminListener>, ListenError> {
    match bind {
        Some(address) => AdminListener::open(address).map(Some),
        None => Ok(AdminListener::open(&AdminAddress::Tcp(ADMIN)).ok()),
    }
}

/// The first lines: where it listens, which apps it serves and how it proves that it may.
fn announce(state: &State, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &state.config;
    let mut lines = vec![format!("push-gateway {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => format!("no admin listener: {ADMIN} is taken; set [admin] bind for /ready, /version and /metrics"),
    });
    lines.extend(app_lines(state));
    lines.extend(config.notices().into_iter().map(|notice| format!("note: {notice}")));
    match config.log.format {
        Format::Json => lines.iter().for_each(|line| tracing::info!("{line}")),
        Format::Text => {
            let mut out = io::stdout().lock();
            for line in lines {
                writeln!(out, "{line}")?;
            }
            out.flush()?;
        }
    }
    Ok(())
}

/// A line for each app, and one for each credential that runs out.
fn app_lines(state: &State) -> Vec<String> {
    let mut lines = Vec::new();
    for (pattern, settings) in &state.config.apps {
        lines.push(format!("app {pattern}: {}", settings.describe()));
        let expiry = state.apps.find(pattern).and_then(|app| app.credential_expiry());
        lines.extend(expiry.map(|expiry| format!("app {pattern}: {}", expiry_text(expiry, state.clock.now()))));
    }
    lines
}

fn expiry_text(expiry: Timestamp, now: Timestamp) -> String {
    match expiry.since(now).as_secs() / DAY_SECONDS {
        _ if expiry <= now => "its certificate has EXPIRED: renew it".to_owned(),
        days if days < EXPIRY_NOTICE_DAYS => format!("its certificate expires in {days} days: renew it"),
        days => format!("its certificate expires in {days} days"),
    }
}

fn operations(state: &Arc<State>, metrics: Recorder, activity: Arc<Activity>) -> Operations {
    let state = state.clone();
    let ready = move || {
        let state = state.clone();
        async move { readiness(&state) }
    };
    Operations::new(("push-gateway", env!("CARGO_PKG_VERSION")), ready, metrics, activity)
}

/// Ready, and what should be known all the same; or why not.
fn readiness(state: &State) -> Result<Notes, String> {
    let (mut notes, mut lacking) = (Vec::new(), Vec::new());
    let now = state.clock.now();
    for app in state.apps.iter() {
        lacking.extend(app.lacks().map(|what| format!("{} {what}", app.pattern)));
        if let Some(expiry) = app.credential_expiry()
            && expiry.since(now).as_secs() / DAY_SECONDS < EXPIRY_NOTICE_DAYS
        {
            notes.push(format!("{}: {}", app.pattern, expiry_text(expiry, now)));
        }
    }
    if lacking.is_empty() { Ok(notes) } else { Err(lacking.join("; ")) }
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
