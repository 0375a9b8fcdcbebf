//! What every request may need, put together once at start.
//!
//! Invariant: nothing in here changes but what has its own lock, and no lock is held across a wait.

use std::sync::{Arc, PoisonError, RwLock};

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
    /// Who this server is.
    pub identity: Identity,
    /// The settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The dice.
    pub random: Random,
    /// What is remembered.
    pub store: Store,
    /// What is signed with.
    pub keys: CurrentKeys,
    /// The pepper in force.
    pub pepper: Pepper,
    /// The terms of service.
    pub terms: CurrentTerms,
    /// Composes and sends email.
    pub mailer: Mailer,
    /// Sends SMS through the configured providers.
    pub sms_sender: SmsSender,
    /// The templates of mails, SMS and pages.
    pub templates: Templates,
    /// The way to homeservers.
    pub homeservers: HomeserverClient,
    /// With what homeservers sign.
    pub server_keys: ServerKeys,
    /// What accounts, and clients without, have looked up today.
    pub lookup_quota: LookupQuota,
    /// Rung when a mail is queued.
    pub mail_queued: Notify,
    /// Rung when there is news for a homeserver.
    pub onbind_queued: Notify,
    /// What a stop waits for.
    pub activity: Arc<Activity>,
    /// The runtime for work that must not end when a client hangs up.
    pub runtime: Handle,
}

/// The terms of service in force; replaced as a whole when they are read again.
#[derive(Debug)]
pub struct CurrentTerms(RwLock<Arc<Terms>>);

impl CurrentTerms {
    /// Begins with `terms`.
    pub fn new(terms: Terms) -> Self {
        Self(RwLock::new(Arc::new(terms)))
    }

    /// The terms in force.
    pub fn read(&self) -> Arc<Terms> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other terms in force.
    pub fn replace(&self, terms: Terms) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(terms);
    }
}

/// The signing keys in force; replaced as a whole when the key file is read again.
#[derive(Debug)]
pub struct CurrentKeys(RwLock<Arc<SigningKeys>>);

impl CurrentKeys {
    /// Begins with `keys`.
    pub fn new(keys: SigningKeys) -> Self {
        Self(RwLock::new(Arc::new(keys)))
    }

    /// The keys in force.
    pub fn read(&self) -> Arc<SigningKeys> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other keys in force.
    pub fn replace(&self, keys: SigningKeys) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }
}
