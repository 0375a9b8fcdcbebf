//! What every request may need: what is remembered, and the settings with what was made of them, which may be replaced.
//!
//! Invariant: no lock is held across a wait, and who takes a [`Setup`] keeps it: whatever is read again meanwhile, one
//! request sees one configuration.

use std::sync::{Arc, PoisonError, RwLock};

use shared::clock::Clock;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::circuit_breaker::Circuits;
use super::dedup::Delivered;
use super::mass_rejection::MassRejection;
use super::outcome::Verdict;
use super::rate_limit::Buckets;
use super::rejections::Rejections;
use crate::apps::registry::{Apps, AppsError, Difference};
use crate::config::Config;
use crate::providers::device_key::Fingerprints;

/// The parts of a running gateway.
pub(crate) struct State {
    setup: RwLock<Arc<Setup>>,
    /// The time.
    pub(crate) clock: Clock,
    /// The dice.
    pub(crate) random: Random,
    /// Makes names for devices that nobody can read back.
    pub(crate) fingerprints: Fingerprints,
    /// What was delivered, and is being delivered.
    pub(crate) delivered: Delivered<Verdict>,
    /// Which pushkeys are dead.
    pub(crate) rejections: Rejections,
    /// Which push services are down.
    pub(crate) circuits: Circuits,
    /// Whose rejections are not believed.
    pub(crate) mass_rejection: MassRejection,
    /// The runtime for work that must not end when a homeserver hangs up.
    pub(crate) runtime: Handle,
}

/// The settings, and what was made of them.
pub(crate) struct Setup {
    /// The settings.
    pub(crate) config: Config,
    /// The apps and their push services.
    pub(crate) apps: Apps,
    /// A permit for each request that may be worked on at the same time.
    pub(crate) in_flight: Arc<Semaphore>,
    /// How often each device may be pushed to.
    pub(crate) per_pushkey: Arc<Buckets>,
    /// How often each client may ask.
    pub(crate) per_ip: Arc<Buckets>,
}

impl State {
    /// Puts the parts together. Must be called on the runtime that deliveries shall run on.
    ///
    /// # Errors
    /// [`AppsError`] if an app cannot be served.
    pub(crate) fn new(config: Config, clock: Clock, random: Random) -> Result<Self, AppsError> {
        Ok(Self {
            fingerprints: Fingerprints::new(random),
            delivered: Delivered::new(config.dedup.capacity, config.dedup.ttl.get(), clock.clone()),
            rejections: Rejections::new(clock.clone()),
            circuits: Circuits::default(),
            mass_rejection: MassRejection::new(config.rejection_breaker.clone(), clock.clone()),
            runtime: Handle::current(),
            setup: RwLock::new(Arc::new(Setup::new(config, &clock, random)?)),
            clock,
            random,
        })
    }

    /// The present setup: take it once for each request.
    pub(crate) fn setup(&self) -> Arc<Setup> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `config` in place of the present settings, and forgets what was remembered of apps that are not what they
    /// were. Must not be called twice at the same time.
    ///
    /// # Errors
    /// [`AppsError`] if an app cannot be served; then nothing has changed.
    pub(crate) fn replace(&self, config: Config) -> Result<Difference, AppsError> {
        let old = self.setup();
        let new = Arc::new(old.changed_to(config, &self.clock, self.random)?);
        let difference = new.apps.difference_to(&old.apps);
        self.mass_rejection.set_rules(new.config.rejection_breaker.clone());
        *self.setup.write().unwrap_or_else(PoisonError::into_inner) = new;
        // Apps that were added may serve what nobody served before.
        self.mass_rejection.forget("unknown");
        for app in &difference.ended {
            self.mass_rejection.forget(&app.pattern);
            self.circuits.forget(&app.circuit);
        }
        Ok(difference)
    }
}

impl Setup {
    fn new(config: Config, clock: &Clock, random: Random) -> Result<Self, AppsError> {
        Ok(Self {
            apps: Apps::new(&config, clock, random)?,
            in_flight: Arc::new(Semaphore::new(config.limits.max_in_flight.min(Semaphore::MAX_PERMITS))),
            per_pushkey: Arc::new(Buckets::new(config.limits.per_pushkey)),
            per_ip: Arc::new(Buckets::new(config.limits.per_ip)),
            config,
        })
    }

    /// The same with other settings; what is not concerned is kept.
    fn changed_to(&self, config: Config, clock: &Clock, random: Random) -> Result<Self, AppsError> {
        let (old, new) = (&self.config.limits, &config.limits);
        let keep = |buckets: &Arc<Buckets>, old, new| {
            if old == new { buckets.clone() } else { Arc::new(Buckets::new(new)) }
        };
        let in_flight = if old.max_in_flight == new.max_in_flight {
            self.in_flight.clone()
        } else {
            Arc::new(Semaphore::new(new.max_in_flight.min(Semaphore::MAX_PERMITS)))
        };
        Ok(Self {
            apps: self.apps.changed_to(&config, clock, random)?,
            in_flight,
            per_pushkey: keep(&self.per_pushkey, old.per_pushkey, new.per_pushkey),
            per_ip: keep(&self.per_ip, old.per_ip, new.per_ip),
            config,
        })
    }
}
