//! `identity serve`: assembles the parts of the server, prints the startup banner, and runs until SIGTERM or SIGINT.
//!
//! Invariant: the server accepts requests only after every part of the state is ready.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use actix_web::web::Data;
use arc_swap::ArcSwap;
use shared::clock::Clock;
use shared::http::listen::{self, AdminListener, ListenError, Listener, LoadedCertificate};
use shared::http::observe::{Activity, KnownSeries, Labels, Observer};
use shared::http::operations::Operations;
use shared::http::server::run;
use shared::random::Random;
use shared::telemetry::{self, Recorder};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::database::Location;
use crate::domain::lookup_hash::Pepper;
use crate::flows::load_keys::{LoadKeysError, load_keys, reload_keys};
use crate::flows::unify_addresses::unify_addresses;
use crate::flows::{clean_up, correct_times, follow_changes, rotate_pepper, send_onbind, send_queued_mail};
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::ServerKeys;
use crate::limits::{LookupQuota, sms_day};
use crate::memory::Memory;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::routes;
use crate::state::State;
use crate::store::{Store, StoreError, associations, onbinds, outgoing_mails, peppers};

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
    let hang_up = signal(SignalKind::hangup())?;
    let listeners = listen::listen(&config.http)?;
    let admin = config.admin.bind.as_ref().map(AdminListener::open).transpose()?;
    let state = Arc::new(assemble(config, &listeners).await?);

    announce(&state, &listeners, admin.as_ref())?;
    tokio::spawn(correct_times::run(state.clone()));
    tokio::spawn(follow_changes::run(state.clone()));
    tokio::spawn(rotate_pepper::run(state.clone()));
    tokio::spawn(clean_up::run(state.clone()));
    tokio::spawn(send_queued_mail::run(state.clone()));
    tokio::spawn(send_onbind::run(state.clone()));
    tokio::spawn(reload_on_hangup(hang_up, state.clone()));

    let observer = Observer {
        requests_total: "identity_http_requests_total",
        duration_seconds: "identity_http_duration_seconds",
        labels: Labels::Route,
        headers: CROSS_ORIGIN,
        may_be_large: routes::may_be_large,
        activity: state.activity.clone(),
        known: KnownSeries::default(),
    };
    let operations = operations(&state, metrics, LoadedCertificate::of(&listeners));
    let shared_state = state.clone();
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(shared_state.clone()));
        routes::configure(config, &shared_state.config);
    };
    run(&state.config.http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    state.lookup_quota.close(&state.store).await;
    state.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn assemble(config: Config, listeners: &[Listener]) -> Result<State, StartError> {
    let (clock, random) = (Clock::system(), Random);
    let listening = listeners.first().and_then(Listener::local_addr);
    let identity = config.server.identity(listening);
    create_data_folder(&config.server.data_dir)?;

    let extra_ca = config.outbound.extra_ca_file.clone();
    let store = Store::open(&config.database, extra_ca.as_deref()).await.map_err(StartError::setup)?;
    let fresh = Pepper::draw(random);
    let now = clock.now();
    let peppers = store.write(async move |conn| peppers::list_or_insert(conn, &fresh, now).await).await;
    peppers.map_err(StartError::setup)?;

    unify_addresses(&store, now).await.map_err(StartError::setup)?;

    let sign_as = config.keys.sign_as(&identity);
    let keys = load_keys(&store, &config.keys, sign_as, random, now).await.map_err(StartError::setup)?;
    let mailer = Mailer::new(&config.email, &identity.name, extra_ca.as_deref(), clock.clone(), random)
        .map_err(StartError::setup)?;
    mailer.prepare().map_err(StartError::setup)?;
    let sms_sender = SmsSender::new(&config.sms, extra_ca.as_deref(), clock.clone()).map_err(StartError::setup)?;
    let homeservers = HomeserverClient::new(&config.federation, &config.outbound, clock.clone(), random);
    let homeservers = homeservers.map_err(StartError::setup)?;
    Ok(State {
        terms: ArcSwap::from_pointee(config.terms.read().map_err(StartError::setup)?),
        templates: Templates::load(&config.templates, &config.sms, &identity.base_url).map_err(StartError::setup)?,
        server_keys: ServerKeys::new(homeservers.clone(), clock.clone()),
        homeservers,
        lookup_quota: LookupQuota::new(
            config.lookup.daily_quota,
            config.lookup.daily_quota_per_homeserver,
            config.limits.large_homeservers.clone(),
            random,
        ),
        memory: Memory::default(),
        sms_spent: sms_day::SpentLog::default(),
        invite_mail_time: AtomicU64::new(200),
        mail_queued: Notify::new(),
        onbind_queued: Notify::new(),
        activity: Arc::new(Activity::default()),
        runtime: Handle::current(),
        identity,
        clock,
        random,
        store,
        keys: ArcSwap::from_pointee(keys),
        mailer,
        sms_sender,
        config,
    })
}

/// The data folder is for its owner alone: it holds addresses, mails and the signing key.
fn create_data_folder(path: &Path) -> Result<(), StartError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        let path = path.display();
        StartError::setup(format!("[server] data_dir: cannot create {path}: {error}; choose another folder"))
    })
}

/// Prints the startup banner: addresses, data, mail and SMS, and the notices.
fn announce(state: &State, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &state.config;
    let mut lines = vec![format!("identity {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => "no admin listener; set [admin] bind for /health, /ready and /metrics".to_owned(),
    });
    lines.push(format!("signing as {} with {}", state.identity.name, state.keys.load().current().id()));
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

fn operations(state: &Arc<State>, metrics: Recorder, certificate: LoadedCertificate) -> Operations {
    let activity = state.activity.clone();
    let state = state.clone();
    let counted = state.clone();
    let ready = move || {
        let (state, certificate) = (state.clone(), certificate.clone());
        async move {
            #[expect(clippy::cast_precision_loss, reason = "a handful of connections")]
            metrics::gauge!("identity_db_pool_in_use").set(state.store.connections_in_use() as f64);
            state.store.ping().await.map_err(|error| {
                error.log("the readiness check");
                "the database does not answer".to_owned()
            })?;
            Ok(certificate.notice(state.clock.now()).into_iter().collect())
        }
    };
    Operations::new(("identity", env!("CARGO_PKG_VERSION")), ready, metrics, activity)
        .with_gauges(move || update_gauges(counted.clone()))
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

/// Reloads the terms of service and the key file on SIGHUP. An invalid file keeps the loaded version in force.
async fn reload_on_hangup(mut hang_up: Signal, state: Arc<State>) {
    while hang_up.recv().await.is_some() {
        match state.config.terms.read() {
            Ok(terms) => {
                let (has_terms, had_terms) = (!terms.is_empty(), !state.terms.load().is_empty());
                state.terms.store(Arc::new(terms));
                if has_terms || had_terms {
                    tracing::info!("terms of service reloaded on SIGHUP");
                }
            }
            Err(error) => {
                tracing::error!(error, "reload of the terms of service failed; the loaded terms stay in force");
            }
        }
        match reload(&state).await {
            Ok(()) => {
                let signer = state.keys.load().current().id().to_owned();
                tracing::info!(signer, "signing keys reloaded on SIGHUP");
            }
            Err(error) => tracing::error!(%error, "reload of the signing keys failed; the loaded keys stay in force"),
        }
    }
}

async fn reload(state: &State) -> Result<(), LoadKeysError> {
    let settings = &state.config.keys;
    let sign_as = settings.sign_as(&state.identity);
    let keys = reload_keys(&state.store, settings, sign_as, state.clock.now()).await?;
    state.keys.store(Arc::new(keys));
    Ok(())
}
