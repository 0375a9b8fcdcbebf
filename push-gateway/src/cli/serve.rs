//! `push-gateway serve`: assembles the gateway, prints a banner, and runs until a signal stops it.
//!
//! Invariant: no listener opens before everything that a request needs exists.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::web::Data;
use shared::clock::{Clock, Timestamp};
use shared::http::listen::{AdminListener, ListenError, Listener, LoadedCertificate, listen};
use shared::http::observe::{Activity, KnownSeries, Labels, Observer};
use shared::http::operations::Operations;
use shared::http::server::run;
use shared::http::settings::AdminAddress;
use shared::random::Random;
use shared::reload::LastReload;
use shared::telemetry::{self, MetricsError, Recorder};

use crate::apps::legacy_names::{AppTypes, LegacyNames};
use crate::apps::registry::{AppsError, warm_up};
use crate::apps::reload::Reload;
use crate::apps::status::{app_lines, readiness, update_gauges};
use crate::config::Config;
use crate::delivery::state::{Setup, State};
use crate::http::notify;

/// The default address of the admin listener.
pub(super) const ADMIN: SocketAddr = crate::config::DEFAULT_ADMIN;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. `file` is the source of `config`: the gateway reloads it on SIGHUP and when it changes.
/// Must run on a multi-threaded Tokio runtime.
///
/// # Errors
/// [`StartError`]
pub(crate) async fn serve(config: Config, file: Option<PathBuf>) -> Result<(), StartError> {
    let _log = telemetry::log(config.log, &["push_gateway", "shared"]);
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
        tokio::spawn(warm_up(Arc::downgrade(app)));
    }
    let last_reload = reload.last();
    tokio::spawn(reload.run());

    let activity = state.activity.clone();
    let observer = Observer {
        requests_total: "push_requests_total",
        duration_seconds: "push_request_seconds",
        labels: Labels::Code,
        headers: &[],
        may_be_large: |_| true,
        activity: activity.clone(),
        known: KnownSeries::default(),
    };
    let operations = operations(&state, metrics, activity, LoadedCertificate::of(&listeners), last_reload);
    let http = setup.config.http.clone();
    // A reload must be able to drop the apps of the start.
    drop(setup);
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(state.clone()));
        notify::configure(config);
    };
    run(&http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Opens the configured address, or the default one. A default address in use is no error: then there is no admin listener.
fn open_admin(bind: Option<&AdminAddress>) -> Result<Option<AdminListener>, ListenError> {
    match bind {
        Some(address) => AdminListener::open(address).map(Some),
        None => Ok(AdminListener::open(&AdminAddress::Tcp(ADMIN)).ok()),
    }
}

/// Prints the banner: the listeners, and the apps with their credentials.
fn announce(setup: &Setup, now: Timestamp, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &setup.config;
    let mut lines = vec![format!("push-gateway {}", env!("CARGO_PKG_VERSION")), config.source.clone()];
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => format!("no admin listener: {ADMIN} is taken; set [admin] bind for /ready, /version and /metrics"),
    });
    lines.extend(config.outbound.describe_proxy());
    lines.extend(app_lines(setup, now));
    let notices = config.notices().into_iter().chain(LoadedCertificate::of(listeners).notice(now));
    lines.extend(notices.map(|notice| format!("note: {notice}")));
    config.log.announce(&lines)
}

fn operations(
    state: &Arc<State>,
    metrics: Recorder,
    activity: Arc<Activity>,
    certificate: LoadedCertificate,
    last_reload: LastReload,
) -> Operations {
    let (for_readiness, for_gauges, in_flight) = (state.clone(), state.clone(), activity.clone());
    let ready = move || {
        let notes = readiness(&for_readiness);
        metrics::gauge!("push_config_reload_failed").set(last_reload.gauge());
        let reload = last_reload.notice();
        let now = for_readiness.clock.now();
        std::future::ready(notes.map(|notes| certificate.notice(now).into_iter().chain(reload).chain(notes).collect()))
    };
    let gauges = move || {
        update_gauges(&for_gauges, &in_flight);
        std::future::ready(())
    };
    Operations::new(("push-gateway", env!("CARGO_PKG_VERSION")), ready, metrics, activity).with_gauges(gauges)
}
