//! `identity serve`: assembles the parts of the server, prints the startup banner, and runs until SIGTERM or SIGINT.
//!
//! Invariant: the server accepts requests only after every part of the state is ready.

mod assemble;
mod reload;

use std::io;
use std::sync::Arc;

use actix_web::web::Data;
use shared::http::listen::{self, AdminListener, ListenError, Listener, LoadedCertificate};
use shared::http::observe::{KnownSeries, Labels, Observer};
use shared::http::operations::Operations;
use shared::http::server::run;
use shared::reload::LastReload;
use shared::telemetry::{self, Recorder};

use self::assemble::assemble;
use self::reload::Reload;
use crate::config::Config;
use crate::config::database::Location;
use crate::flows::{clean_up, correct_times, follow_changes, rotate_pepper, send_onbind, send_queued_mail};
use crate::limits::sms_day;
use crate::routes;
use crate::state::{CurrentState, State};
use crate::store::{StoreError, associations, onbinds, outgoing_mails};

/// Browsers of every origin may read every response (specification, "Web browser clients"). `*` would not cover
/// `Authorization` in the allowed headers.
const CROSS_ORIGIN: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("access-control-allow-headers", "Origin, X-Requested-With, Content-Type, Accept, Authorization"),
    ("access-control-max-age", "86400"),
];

/// Why the server does not start; each text ends with an action for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Setup(String),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("{0}")]
    System(#[from] io::Error),
}

impl StartError {
    fn setup(error: impl std::fmt::Display) -> Self {
        Self::Setup(error.to_string())
    }
}

/// Serves until SIGTERM or SIGINT. Must run on a multi-threaded Tokio runtime.
///
/// # Errors
/// [`StartError`] if a part of the server cannot be set up.
pub async fn serve(config: Config) -> Result<(), StartError> {
    let _log = telemetry::log(config.log, &["identity", "shared"]);
    let metrics = telemetry::metrics().map_err(StartError::setup)?;
    // From here on: without a handler SIGHUP would end the process.
    let mut reload = Reload::new(&config)?;
    let listeners = listen::listen(&config.http)?;
    let admin = config.admin.bind.as_ref().map(AdminListener::open).transpose()?;
    let listening = listeners.first().and_then(Listener::local_addr);
    let state = assemble(config, listening).await?;
    reload.has_started();

    announce(&state, &listeners, admin.as_ref())?;
    let (store, memory, lookup_quota) = (state.store.clone(), state.memory.clone(), state.lookup_quota.clone());
    let (activity, settings) = (state.activity.clone(), state.config.clone());
    let current = Arc::new(CurrentState::new(state));
    tokio::spawn(correct_times::run(current.clone()));
    tokio::spawn(follow_changes::run(store.clone(), memory, settings.lookup.clone()));
    tokio::spawn(rotate_pepper::run(current.clone()));
    tokio::spawn(clean_up::run(current.clone()));
    tokio::spawn(send_queued_mail::run(current.clone()));
    tokio::spawn(send_onbind::run(current.clone()));
    let last_reload = reload.last();
    tokio::spawn(reload.run(current.clone(), listening));

    let observer = Observer {
        requests_total: "identity_http_requests_total",
        duration_seconds: "identity_http_duration_seconds",
        labels: Labels::Route,
        headers: CROSS_ORIGIN,
        may_be_large: routes::may_be_large,
        activity,
        known: KnownSeries::default(),
    };
    let operations = operations(&current, metrics, LoadedCertificate::of(&listeners), last_reload);
    let http = settings.http.clone();
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(current.clone()));
        routes::configure(config, &settings);
    };
    run(&http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    lookup_quota.close(&store).await;
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

/// Prints the startup banner: addresses, data, mail and SMS, and the notices.
fn announce(state: &State, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &state.config;
    let mut lines = vec![format!("identity {}", env!("CARGO_PKG_VERSION"))];
    lines.push(config.describe_source().to_owned());
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => "no admin listener; set [admin] bind for /health, /ready and /metrics".to_owned(),
    });
    lines.push(format!("signing as {} with {}", state.identity.name, state.keys.current().id()));
    lines.push(format!("public base URL: {}", state.identity.base_url));
    lines.push(format!("data folder: {}", config.server.data_dir.display()));
    lines.push(match &config.database.location {
        Location::SqliteFile(path) => format!("database: SQLite, {}", path.display()),
        Location::SqliteMemory => "database: SQLite, in memory (data is lost on exit)".to_owned(),
        Location::Postgres(_) => "database: PostgreSQL".to_owned(),
    });
    lines.extend(config.outbound.describe_proxy());
    lines.push(state.mailer.describe());
    lines.push(state.sms_sender.describe());
    let notices = config.notices().into_iter().chain(state.templates.notices());
    let notices = notices.chain(LoadedCertificate::of(listeners).notice(state.clock.now()));
    lines.extend(notices.map(|notice| format!("note: {notice}")));
    config.log.announce(&lines)
}

fn operations(
    current: &Arc<CurrentState>,
    metrics: Recorder,
    certificate: LoadedCertificate,
    last_reload: LastReload,
) -> Operations {
    let activity = current.load().activity.clone();
    let current = current.clone();
    let counted = current.clone();
    let ready = move || {
        let (state, certificate, last_reload) = (current.load(), certificate.clone(), last_reload.clone());
        async move {
            #[expect(clippy::cast_precision_loss, reason = "a handful of connections")]
            metrics::gauge!("identity_db_pool_in_use").set(state.store.connections_in_use() as f64);
            state.store.ping().await.map_err(|error| {
                error.log("the readiness check");
                "the database does not answer".to_owned()
            })?;
            metrics::gauge!("identity_config_reload_failed").set(last_reload.gauge());
            Ok(certificate.notice(state.clock.now()).into_iter().chain(last_reload.notice()).collect())
        }
    };
    Operations::new(("identity", env!("CARGO_PKG_VERSION")), ready, metrics, activity)
        .with_gauges(move || update_gauges(counted.load()))
}

/// Updates the gauges that are too expensive for every readiness probe.
async fn update_gauges(state: Arc<State>) {
    let (digests, bytes) = state.memory.index_size();
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    {
        metrics::gauge!("identity_index_digests").set(digests as f64);
        metrics::gauge!("identity_index_bytes").set(bytes as f64);
    }
    let age = state.memory.changes_age().unwrap_or_default();
    metrics::gauge!("identity_changes_age_seconds").set(age.as_secs_f64());
    let now = state.clock.now();
    let counts = state.store.read(async move |conn| {
        let (outbox, oldest) = onbinds::listing::count(conn).await?;
        let today = sms_day::messages_today(conn, now).await?;
        Ok::<_, StoreError>((
            associations::count(conn).await?,
            outgoing_mails::count(conn).await?,
            outbox,
            oldest,
            today,
        ))
    });
    #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
    match counts.await {
        Ok((bindings, mails, outbox, oldest, today)) => {
            metrics::gauge!("identity_bindings").set(bindings as f64);
            metrics::gauge!("identity_queued_mails").set(mails as f64);
            metrics::gauge!("identity_outbox_pending").set(outbox as f64);
            metrics::gauge!("identity_sms_today").set(today as f64);
            metrics::gauge!("identity_sms_max_per_day").set(f64::from(state.config.sms.max_per_day));
            let age = oldest.map(|oldest| now.since(oldest)).unwrap_or_default();
            metrics::gauge!("identity_outbox_oldest_seconds").set(age.as_secs_f64());
        }
        Err(error) => tracing::warn!(%error, "update of the gauges failed"),
    }
    if let Err(error) = state.lookup_quota.update_gauges(&state.store, now).await {
        tracing::warn!(%error, "update of the gauges of the lookup quota failed");
    }
}
