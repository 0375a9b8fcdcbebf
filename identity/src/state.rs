//! The parts of a running server that requests and background tasks share.
//!
//! Invariant: every part is immutable or synchronizes itself, and no lock is held across an await.

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

/// The parts of a running server.
pub struct State {
    pub identity: Identity,
    pub config: Config,
    pub clock: Clock,
    pub random: Random,
    pub store: Store,
    /// The signing keys; a reload replaces them as a whole.
    pub keys: ArcSwap<SigningKeys>,
    /// The terms of service; a reload replaces them as a whole.
    pub terms: ArcSwap<Terms>,
    /// What this process keeps in memory of the database.
    pub memory: Memory,
    /// Composes and sends email.
    pub mailer: Mailer,
    /// Sends SMS through the configured providers.
    pub sms_sender: SmsSender,
    /// The templates of mails, SMS and pages.
    pub templates: Templates,
    pub homeservers: HomeserverClient,
    /// The signing keys of homeservers.
    pub server_keys: ServerKeys,
    /// The daily quotas of lookups, and what this process has leased of them.
    pub lookup_quota: LookupQuota,
    /// When a reached daily limit of SMS was logged.
    pub sms_spent: SpentLog,
    /// How long the last mail of an invitation took, in milliseconds.
    pub invite_mail_time: AtomicU64,
    /// Wakes the mail worker.
    pub mail_queued: Notify,
    /// Wakes the onbind worker.
    pub onbind_queued: Notify,
    /// The work that a shutdown waits for.
    pub activity: Arc<Activity>,
    /// The runtime for work that continues after a client disconnects.
    pub runtime: Handle,
}
