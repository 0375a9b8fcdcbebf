//! What every request may need, put together once at start.
//!
//! Invariant: nothing in here changes but what has its own lock, and no lock is held across a wait.

use shared::clock::Clock;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::apps::{Apps, AppsError};
use crate::breaker::{Circuits, MassRejection};
use crate::buckets::Buckets;
use crate::config::Config;
use crate::memory::{Delivered, Fingerprints, Rejections};
use crate::verdict::Verdict;

/// The parts of a running gateway.
pub struct State {
    /// The settings.
    pub config: Config,
    /// The time.
    pub clock: Clock,
    /// The dice.
    pub random: Random,
    /// The apps and their push services.
    pub apps: Apps,
    /// A permit for each request that may be worked on at the same time.
    pub in_flight: Semaphore,
    /// Makes names for devices that nobody can read back.
    pub fingerprints: Fingerprints,
    /// What was delivered, and is being delivered.
    pub delivered: Delivered<Verdict>,
    /// Which pushkeys are dead.
    pub rejections: Rejections,
    /// Which push services are down.
    pub circuits: Circuits,
    /// Whose rejections are not believed.
    pub mass_rejection: MassRejection,
    /// How often each device may be pushed to.
    pub per_pushkey: Buckets,
    /// How often each client may ask.
    pub per_ip: Buckets,
    /// The runtime for work that must not end when a homeserver hangs up.
    pub runtime: Handle,
}

impl State {
    /// Puts the parts together. Must be called on the runtime that deliveries shall run on.
    ///
    /// # Errors
    /// [`AppsError`] if an app cannot be served.
    pub fn new(config: Config, clock: Clock, random: Random) -> Result<Self, AppsError> {
        Ok(Self {
            apps: Apps::new(&config, &clock, random)?,
            in_flight: Semaphore::new(config.limits.max_in_flight.min(Semaphore::MAX_PERMITS)),
            fingerprints: Fingerprints::new(random),
            delivered: Delivered::new(config.dedup.capacity, config.dedup.ttl.get(), clock.clone()),
            rejections: Rejections::new(clock.clone()),
            circuits: Circuits::default(),
            mass_rejection: MassRejection::new(config.rejection_breaker.clone(), clock.clone()),
            per_pushkey: Buckets::new(config.limits.per_pushkey),
            per_ip: Buckets::new(config.limits.per_ip),
            runtime: Handle::current(),
            config,
            clock,
            random,
        })
    }
}
