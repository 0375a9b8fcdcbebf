//! The shared state of a running server, assembled once at start.
//!
//! Invariant: every mutable part has its own synchronization, and no lock is held across an `await`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::clock::Clock;
use shared::http::observe::Activity;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::Config;
use crate::config::server::Identity;
use crate::domain::lookup_hash::Pepper;
use crate::domain::terms::Terms;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::ServerKeys;
use crate::limits::LookupQuota;
use crate::notify::email::Mailer;
use crate::notify::sms::SmsSender;
use crate::notify::templates::Templates;
use crate::signing_keys::SigningKeys;
use crate::store::Store;

/// The parts of a running server.
pub struct State {
    /// The server's name, public base URL and X-Matrix destinations.
    pub identity: Identity,
    /// The configuration.
    pub config: Config,
    /// The only source of the present time.
    pub clock: Clock,
    /// The only random source.
    pub random: Random,
    /// The database.
    pub store: Store,
    /// The signing keys; SIGHUP replaces them as a whole.
    pub keys: ArcSwap<SigningKeys>,
    /// The pepper of lookup hashes.
    pub pepper: Pepper,
    /// The terms of service; SIGHUP replaces them as a whole.
    pub terms: ArcSwap<Terms>,
    /// Composes and sends email.
    pub mailer: Mailer,
    /// Sends SMS through the configured providers.
    pub sms_sender: SmsSender,
    /// The templates of mails, SMS and pages.
    pub templates: Templates,
    /// The federation client.
    pub homeservers: HomeserverClient,
    /// The cache of homeservers' signing keys.
    pub server_keys: ServerKeys,
    /// The lookups of the day, by account and by client address.
    pub lookup_quota: LookupQuota,
    /// Wakes the mail worker.
    pub mail_queued: Notify,
    /// Wakes the onbind worker.
    pub onbind_queued: Notify,
    /// The work in flight that a shutdown waits for.
    pub activity: Arc<Activity>,
    /// The runtime of work that continues when its client disconnects.
    pub runtime: Handle,
}
