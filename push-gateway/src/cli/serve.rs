//! Puts the parts of the gateway together, says what came of it, and runs them until the process is told to stop.
//!
//! Invariant: nothing listens before everything that a request needs is there.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::Data;
use shared::clock::{Clock, Timestamp};
use shared::http::listen::{AdminListener, ListenError, Listener, listen};
use shared::http::observe::{Activity, KnownSeries, Labels, Observer};
use shared::http::operations::Operations;
use shared::http::server::run;
use shared::http::settings::AdminAddress;
use shared::random::Random;
use shared::telemetry::{self, Format, MetricsError, Recorder};

use crate::apps::legacy_names::{AppTypes, LegacyNames};
use crate::apps::registry::{AppsError, prepare};
use crate::apps::reload::Reload;
use crate::apps::status::{app_lines, bring_gauges_up_to_date, readiness};
use crate::config::Config;
use crate::delivery::state::{Setup, State};
use crate::http::notify;

/// Where the admin listener stands if nobody says otherwise.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9000);

/// Why the gateway does not start; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// An app cannot be served.
    #[error(transparent)]
    Apps(#[from] AppsError),
    /// The metrics cannot be set up.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The addresses cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system refused something.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. `file` is where `config` comes from: it is read again on SIGHUP and when it changes.
/// Must run on a multi-threaded Tokio runtime.
///
/// # Errors
/// [`StartError`] if something that the settings name cannot be had.
pub(crate) async fn serve(config: Config, file: Option<PathBuf>) -> Result<(), StartError> {
    telemetry::log(config.log, &["push_gateway", "shared"]);
    let types = AppTypes::default();
    let metrics = if config.metrics.legacy_names {
        telemetry::metrics_through(|recorder| LegacyNames::new(recorder, types.clone()))?
    } else {
        telemetry::metrics()?
    };
    let state = Arc::new(State::new(config, Clock::system(), Random)?);
    let reload = Reload::new(state.clone(), file, types)?;
    let setup = state.setup();
    let listeners = listen(&setup.config.http)?;
    let admin = open_admin(setup.config.admin.bind.as_ref())?;

    announce(&setup, state.clock.now(), &listeners, admin.as_ref())?;
    for app in setup.apps.iter() {
        tokio::spawn(prepare(Arc::downgrade(app)));
    }
    tokio::spawn(reload.run());

    let activity = Arc::new(Activity::default());
    let observer = Observer {
        requests_total: "push_requests_total",
        duration_seconds: "push_request_seconds",
        labels: Labels::Code,
        headers: &[],
        activity: activity.clone(),
        known: KnownSeries::default(),
    };
    let operations = operations(&state, metrics, activity);
    let http = setup.config.http.clone();
    // What the apps of the start hold must go when others take their place.
    drop(setup);
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(state.clone()));
        notify::configure(config);
    };
    run(&http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    tracing::info!("stopped");
    Ok(())
}

/// The address of the settings, or the usual one. If the usual one is taken, nobody has asked for it: then there is none.
fn open_admin(bind: Option<&AdminAddress>) -> Result<Option<AdminListener>, ListenError> {
    match bind {
        Some(address) => AdminListener::open(address).map(Some),
        None => Ok(AdminListener::open(&AdminAddress::Tcp(ADMIN)).ok()),
    }
}

/// The first lines: where it listens, which apps it serves and how it proves that it may.
fn announce(setup: &Setup, now: Timestamp, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &setup.config;
    let mut lines = vec![format!("push-gateway {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => format!("no admin listener: {ADMIN} is taken; set [admin] bind for /ready, /version and /metrics"),
    });
    lines.extend(app_lines(setup, now));
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

fn operations(state: &Arc<State>, metrics: Recorder, activity: Arc<Activity>) -> Operations {
    let (asked, measured, busy) = (state.clone(), state.clone(), activity.clone());
    let ready = move || std::future::ready(readiness(&asked));
    let gauges = move || {
        bring_gauges_up_to_date(&measured, &busy);
        std::future::ready(())
    };
    Operations::new(("push-gateway", env!("CARGO_PKG_VERSION")), ready, metrics, activity).with_gauges(gauges)
}
