//! The parts of a running server that requests and background tasks share.
//!
//! Invariant: every part is immutable or synchronizes itself, and no lock is held across an await. A request and a step of a
//! background task take one [`State`] and keep it, so that they see one configuration even if a reload happens meanwhile.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use shared::clock::Clock;
use shared::http::observe::Activity;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::server::Identity;
use crate::domain::terms::Terms;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::ServerKeys;
use crate::limits::LookupQuota;
use crate::limits::sms_day::SpentLog;
use crate::memory::Memory;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::signing_keys::SigningKeys;
use crate::store::Store;

/// The current state. A reload replaces it as a whole.
pub struct CurrentState(ArcSwap<State>);

impl CurrentState {
    pub fn new(state: State) -> Self {
        Self(ArcSwap::from_pointee(state))
    }

    /// The state at this moment.
    pub fn load(&self) -> Arc<State> {
        self.0.load_full()
    }

    /// Replaces the state; requests in flight keep theirs.
    pub fn store(&self, state: State) {
        self.0.store(Arc::new(state));
    }
}

/// The parts of a running server under one configuration. Another configuration's state shares the parts that do not depend on
/// it.
pub struct State {
    pub identity: Identity,
    pub config: Config,
    pub clock: Clock,
    pub random: Random,
    pub store: Store,
    /// The signing keys.
    pub keys: Arc<SigningKeys>,
    /// The terms of service.
    pub terms: Arc<Terms>,
    /// What this process keeps in memory of the database.
    pub memory: Arc<Memory>,
    /// Composes and sends email.
    pub mailer: Mailer,
    /// Sends SMS through the configured providers.
    pub sms_sender: SmsSender,
    /// The templates of mails, SMS and pages.
    pub templates: Templates,
    pub homeservers: HomeserverClient,
    /// The content of the files that the client for homeservers was made from.
    pub outbound_digest: [u8; 32],
    /// The signing keys of homeservers.
    pub server_keys: Arc<ServerKeys>,
    /// The daily quotas of lookups, and what this process has leased of them.
    pub lookup_quota: Arc<LookupQuota>,
    /// When a reached daily limit of SMS was logged.
    pub sms_spent: Arc<SpentLog>,
    /// How long the last mail of an invitation took, in milliseconds.
    pub invite_mail_time: Arc<AtomicU64>,
    /// Wakes the mail worker.
    pub mail_queued: Arc<Notify>,
    /// Wakes the onbind worker.
    pub onbind_queued: Arc<Notify>,
    /// The work that a shutdown waits for.
    pub activity: Arc<Activity>,
    /// The runtime for work that continues after a client disconnects.
    pub runtime: Handle,
}
