//! What every request may need, put together once at start.
//!
//! Invariant: nothing in here changes but what has its own lock, and no lock is held across a wait.

use shared::clock::Clock;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::apps::{Apps, AppsError};
use crate::config::Config;

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
            runtime: Handle::current(),
            config,
            clock,
            random,
        })
    }
}
