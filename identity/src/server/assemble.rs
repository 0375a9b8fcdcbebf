//! Makes the state of a configuration: at the start, and again for each reload.
//!
//! Invariant: the state of a reload shares the database, the memory and the queues with that of the start, and differs in
//! everything that the configuration decides.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use shared::clock::Clock;
use shared::random::Random;
use tokio::runtime::Handle;

use super::StartError;
use crate::config::Config;
use crate::config::server::Identity;
use crate::domain::lookup_hash::Pepper;
use crate::domain::terms::Terms;
use crate::flows::load_keys::{load_keys, reload_keys};
use crate::flows::unify_addresses::unify_addresses;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::ServerKeys;
use crate::limits::LookupQuota;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::state::State;
use crate::store::{Store, peppers};

/// The parts that a configuration alone decides.
struct Parts {
    identity: Identity,
    terms: Terms,
    templates: Templates,
    mailer: Mailer,
    sms_sender: SmsSender,
}

impl Parts {
    fn of(config: &Config, listening: Option<SocketAddr>, clock: &Clock, random: Random) -> Result<Self, StartError> {
        let identity = config.server.identity(listening);
        let extra_ca = config.outbound.extra_ca_file.as_deref();
        config.email.check_token_source().map_err(StartError::setup)?;
        let mailer = Mailer::new(&config.email, &identity.name, extra_ca, clock.clone(), random);
        let mailer = mailer.map_err(StartError::setup)?;
        mailer.prepare().map_err(StartError::setup)?;
        Ok(Self {
            terms: config.terms.read().map_err(StartError::setup)?,
            templates: Templates::load(&config.templates, &config.sms, &identity.base_url)
                .map_err(StartError::setup)?,
            sms_sender: SmsSender::new(&config.sms, extra_ca, clock.clone()).map_err(StartError::setup)?,
            mailer,
            identity,
        })
    }
}

/// The state at the start; opens the database. `listening` is the first address of the server.
///
/// # Errors
/// [`StartError`] if a part cannot be set up.
pub(super) async fn assemble(config: Config, listening: Option<SocketAddr>) -> Result<State, StartError> {
    let (clock, random) = (Clock::system(), Random);
    create_data_folder(&config.server.data_dir)?;
    let store = Store::open(&config.database, config.outbound.extra_ca_file.as_deref()).await;
    let store = store.map_err(StartError::setup)?;
    let fresh = Pepper::draw(random);
    let now = clock.now();
    let peppers = store.write(async move |conn| peppers::list_or_insert(conn, &fresh, now).await).await;
    peppers.map_err(StartError::setup)?;

    unify_addresses(&store, now).await.map_err(StartError::setup)?;

    let sign_as = config.keys.sign_as(&config.server.identity(listening));
    let keys = load_keys(&store, &config.keys, sign_as, random, now).await.map_err(StartError::setup)?;
    let Parts { identity, terms, templates, mailer, sms_sender } = Parts::of(&config, listening, &clock, random)?;
    // Before the files are read: a change in between differs at the next reload.
    let outbound_digest = config.outbound.digest_of_files();
    let homeservers = HomeserverClient::new(&config.federation, &config.outbound, clock.clone(), random);
    let homeservers = homeservers.map_err(StartError::setup)?;
    let lookup_quota = LookupQuota::new(
        config.lookup.daily_quota,
        config.lookup.daily_quota_per_homeserver,
        config.limits.large_homeservers.clone(),
        random,
    );
    Ok(State {
        terms: Arc::new(terms),
        server_keys: Arc::new(ServerKeys::new(homeservers.clone(), clock.clone())),
        homeservers,
        outbound_digest,
        lookup_quota: Arc::new(lookup_quota),
        memory: Arc::default(),
        sms_spent: Arc::default(),
        invite_mail_time: Arc::new(AtomicU64::new(200)),
        mail_queued: Arc::default(),
        onbind_queued: Arc::default(),
        activity: Arc::default(),
        runtime: Handle::current(),
        keys: Arc::new(keys),
        identity,
        templates,
        mailer,
        sms_sender,
        clock,
        random,
        store,
        config,
    })
}

/// The state under another configuration. Connections to homeservers stay if their settings are equal.
///
/// # Errors
/// [`StartError`] if a part cannot be set up.
pub(super) async fn reassemble(
    old: &State,
    config: Config,
    listening: Option<SocketAddr>,
) -> Result<State, StartError> {
    let (clock, random) = (old.clock.clone(), old.random);
    let Parts { identity, terms, templates, mailer, sms_sender } = Parts::of(&config, listening, &clock, random)?;
    let outbound_digest = config.outbound.digest_of_files();
    let is_outbound_equal = old.config.federation == config.federation
        && old.config.outbound == config.outbound
        && old.outbound_digest == outbound_digest;
    let (homeservers, server_keys) = if is_outbound_equal {
        (old.homeservers.clone(), old.server_keys.clone())
    } else {
        let client = HomeserverClient::new(&config.federation, &config.outbound, clock.clone(), random);
        let client = client.map_err(StartError::setup)?;
        (client.clone(), Arc::new(ServerKeys::new(client, clock.clone())))
    };
    let sign_as = config.keys.sign_as(&identity);
    // Last, because it records the keys in the database.
    let keys = reload_keys(&old.store, &config.keys, sign_as, clock.now()).await.map_err(StartError::setup)?;
    Ok(State {
        // What is known of the accounts holds as long as the terms are the same.
        terms: if *old.terms == terms { old.terms.clone() } else { Arc::new(terms) },
        server_keys,
        homeservers,
        outbound_digest,
        lookup_quota: old.lookup_quota.clone(),
        memory: old.memory.clone(),
        sms_spent: old.sms_spent.clone(),
        invite_mail_time: old.invite_mail_time.clone(),
        mail_queued: old.mail_queued.clone(),
        onbind_queued: old.onbind_queued.clone(),
        activity: old.activity.clone(),
        runtime: old.runtime.clone(),
        store: old.store.clone(),
        keys: Arc::new(keys),
        identity,
        templates,
        mailer,
        sms_sender,
        clock,
        random,
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
