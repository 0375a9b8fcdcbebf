//! Puts the parts of the server together, says what came of it, and runs them until the process is told to stop.
//!
//! Invariant: nothing listens before everything that a request needs is there.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::sync::Arc;

use actix_web::web::Data;
use shared::clock::Clock;
use shared::http::listen::{self, AdminListener, ListenError, Listener};
use shared::http::observe::{Activity, KnownSeries, Labels, Observer};
use shared::http::operations::Operations;
use shared::http::server::run;
use shared::random::Random;
use shared::telemetry::{self, Format, Recorder};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::database::Location;
use crate::config::server::Identity;
use crate::domain::lookup_hash::Pepper;
use crate::flows::{clean_up, notify_homeserver, send_queued_mail};
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::ServerKeys;
use crate::limits::{LookupQuota, sms_day};
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::routes;
use crate::signing_keys::{SigningKeys, SigningKeysError};
use crate::state::{CurrentKeys, CurrentTerms, State};
use crate::store::{Store, associations, onbinds, outgoing_mails, peppers};

/// Every answer lets browsers of any origin read it (specification, "Web browser clients"). `*` would not cover
/// `Authorization` in the allowed headers.
const CROSS_ORIGIN: &[(&str, &str)] = &[
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS"),
    ("access-control-allow-headers", "Origin, X-Requested-With, Content-Type, Accept, Authorization"),
    ("access-control-max-age", "86400"),
];

/// Why the server does not start; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A part of the server cannot be set up with these settings.
    #[error("{0}")]
    Setup(String),
    /// The addresses cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system refused something.
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
/// [`StartError`] if something that the settings name cannot be had.
pub async fn serve(config: Config) -> Result<(), StartError> {
    telemetry::log(config.log, &["identity", "shared"]);
    let metrics = telemetry::metrics().map_err(StartError::setup)?;
    let listeners = listen::listen(&config.http)?;
    let admin = config.admin.bind.as_ref().map(AdminListener::open).transpose()?;
    let state = Arc::new(assemble(config, &listeners).await?);

    announce(&state, &listeners, admin.as_ref())?;
    tokio::spawn(clean_up::run(state.clone()));
    tokio::spawn(send_queued_mail::run(state.clone()));
    tokio::spawn(notify_homeserver::run(state.clone()));
    tokio::spawn(reread(state.clone()));

    let observer = Observer {
        requests_total: "identity_http_requests_total",
        duration_seconds: "identity_http_duration_seconds",
        labels: Labels::Route,
        headers: CROSS_ORIGIN,
        activity: state.activity.clone(),
        known: KnownSeries::default(),
    };
    let operations = operations(&state, metrics);
    let shared_state = state.clone();
    let configure = move |config: &mut actix_web::web::ServiceConfig| {
        config.app_data(Data::from(shared_state.clone()));
        routes::configure(config, &shared_state.config.legacy_v1);
    };
    run(&state.config.http, observer, listeners, configure, admin.map(|listener| (listener, operations))).await?;
    tracing::info!("stopped");
    Ok(())
}

/// Checks everything that can be checked without listening, connecting or making anything: settings, certificates,
/// keys, terms, templates.
///
/// # Errors
/// [`StartError`] for the first thing that is wrong.
pub fn check(config: &Config) -> Result<(), StartError> {
    let identity = config.server.identity(None);
    config.terms.read().map_err(StartError::setup)?;
    listen::check(&config.http)?;
    Store::check(&config.database).map_err(StartError::setup)?;
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    let data = config.server.data_dir.clone().unwrap_or_default();
    Mailer::new(&config.email, &identity.name, extra_ca, &data, Clock::system(), Random).map_err(StartError::setup)?;
    SmsSender::new(&config.sms, extra_ca, Clock::system()).map_err(StartError::setup)?;
    Templates::load(&config.templates, &config.sms).map_err(StartError::setup)?;
    let key_file = config.keys.file.as_deref().filter(|path| path.exists());
    if let Some(path) = key_file {
        let revoked = config.keys.revoked.as_slice();
        SigningKeys::read(path, revoked, sign_as(config, &identity)).map_err(StartError::setup)?;
    }
    HomeserverClient::new(&config.federation, &config.outbound, Clock::system(), Random).map_err(StartError::setup)?;
    Ok(())
}

async fn assemble(config: Config, listeners: &[Listener]) -> Result<State, StartError> {
    let (clock, random) = (Clock::system(), Random);
    let listening = listeners.first().and_then(Listener::local_addr);
    let identity = config.server.identity(listening);
    let data = config.server.data_dir.clone().unwrap_or_default();
    // For its owner alone: addresses, mails and the signing key lie in it.
    DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(|error| {
        let folder = data.display();
        StartError::setup(format!("cannot make the data folder {folder}: {error}; [server] data_dir chooses another"))
    })?;

    let extra_ca = config.outbound.extra_ca_file.clone();
    let store = Store::open(&config.database, extra_ca.as_deref()).await.map_err(StartError::setup)?;
    let fresh = Pepper::draw(random);
    let now = clock.now();
    let pepper = store.write(async move |conn| peppers::find_or_insert(conn, &fresh, now).await).await;
    let pepper = pepper.map_err(StartError::setup)?;

    let sign_as = sign_as(&config, &identity);
    let key_file = config.keys.file.clone().unwrap_or_else(|| data.join("signing.key"));
    let keys =
        SigningKeys::load(&key_file, config.keys.revoked.as_slice(), sign_as, random).map_err(StartError::setup)?;
    let mailer = Mailer::new(&config.email, &identity.name, extra_ca.as_deref(), &data, clock.clone(), random)
        .map_err(StartError::setup)?;
    mailer.prepare().map_err(StartError::setup)?;
    let sms_sender = SmsSender::new(&config.sms, extra_ca.as_deref(), clock.clone()).map_err(StartError::setup)?;
    let homeservers = HomeserverClient::new(&config.federation, &config.outbound, clock.clone(), random);
    let homeservers = homeservers.map_err(StartError::setup)?;
    Ok(State {
        terms: CurrentTerms::new(config.terms.read().map_err(StartError::setup)?),
        templates: Templates::load(&config.templates, &config.sms).map_err(StartError::setup)?,
        server_keys: ServerKeys::new(homeservers.clone(), clock.clone()),
        homeservers,
        lookup_quota: LookupQuota::new(config.lookup.daily_quota),
        mail_queued: Notify::new(),
        onbind_queued: Notify::new(),
        activity: Arc::new(Activity::default()),
        runtime: Handle::current(),
        identity,
        clock,
        random,
        store,
        keys: CurrentKeys::new(keys),
        pepper,
        mailer,
        sms_sender,
        config,
    })
}

/// The first lines: where it listens, where its data is, how mail is sent, what is for development only.
fn announce(state: &State, listeners: &[Listener], admin: Option<&AdminListener>) -> io::Result<()> {
    let config = &state.config;
    let mut lines = vec![format!("identity {}", env!("CARGO_PKG_VERSION"))];
    lines.extend(listeners.iter().map(|listener| format!("listening on {}", listener.url())));
    lines.push(match admin {
        Some(listener) => format!("admin listener on {}", listener.url()),
        None => "no admin listener: set [admin] bind for /health, /ready and /metrics".to_owned(),
    });
    lines.push(format!("signing as {} with {}", state.identity.name, state.keys.read().current().id()));
    lines.push(format!("clients come to {}", state.identity.base_url));
    lines.push(format!("data in {}", config.server.data_dir.clone().unwrap_or_default().display()));
    lines.push(match config.database.location() {
        Ok(Location::SqliteFile(path)) => format!("database: SQLite, {}", path.display()),
        Ok(Location::SqliteMemory) => "database: SQLite in memory, gone at the end".to_owned(),
        _ => "database: PostgreSQL".to_owned(),
    });
    lines.push(state.mailer.describe());
    lines.push(state.sms_sender.describe());
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

fn operations(state: &Arc<State>, metrics: Recorder) -> Operations {
    let activity = state.activity.clone();
    let state = state.clone();
    let counted = state.clone();
    let ready = move || {
        let state = state.clone();
        async move {
            #[expect(clippy::cast_precision_loss, reason = "a handful of connections")]
            metrics::gauge!("identity_db_pool_in_use").set(state.store.connections_in_use() as f64);
            state.store.ping().await.map_err(|error| {
                tracing::error!(%error, "not ready");
                "the database does not answer".to_owned()
            })?;
            Ok(Vec::new())
        }
    };
    Operations::new(("identity", env!("CARGO_PKG_VERSION")), ready, metrics, activity)
        .with_gauges(move || bring_gauges_up_to_date(counted.clone()))
}

/// Counts what would cost too much to count for every probe.
async fn bring_gauges_up_to_date(state: Arc<State>) {
    let now = state.clock.now();
    let counts = state.store.read(async move |conn| {
        let (outbox, oldest) = onbinds::listing::count(conn).await?;
        let today = sms_day::messages_today(conn, now).await?;
        Ok((associations::count(conn).await?, outgoing_mails::count(conn).await?, outbox, oldest, today))
    });
    #[expect(clippy::cast_precision_loss, reason = "a gauge of 2^53 bindings is not in sight")]
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
        Err(error) => tracing::warn!(%error, "the gauges could not be brought up to date"),
    }
}

/// SIGHUP reads the terms and the key file again; what cannot be used changes nothing.
async fn reread(state: Arc<State>) {
    let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
    while hang_up.recv().await.is_some() {
        match state.config.terms.read() {
            Ok(terms) => {
                state.terms.replace(terms);
                tracing::info!("SIGHUP: the terms of service were read again");
            }
            Err(error) => tracing::error!(error, "SIGHUP: the terms of service stay as they were"),
        }
        match reread_keys(&state) {
            Ok(()) => {
                let signer = state.keys.read().current().id().to_owned();
                tracing::info!(signer, "SIGHUP: the signing keys were read again");
            }
            Err(error) => tracing::error!(%error, "SIGHUP: the signing keys stay as they were"),
        }
    }
}

fn reread_keys(state: &State) -> Result<(), SigningKeysError> {
    let (settings, sign_as) = (&state.config.keys, sign_as(&state.config, &state.identity));
    // `Config::load` has filled it in.
    let path = settings.file.clone().unwrap_or_default();
    state.keys.replace(SigningKeys::read(&path, settings.revoked.as_slice(), sign_as)?);
    Ok(())
}

/// The names to sign under.
fn sign_as(config: &Config, identity: &Identity) -> Vec<String> {
    let names = config.keys.sign_as.as_slice();
    if names.is_empty() { vec![identity.name.clone()] } else { names.to_vec() }
}
