//! The state of a running gateway: its caches, and the configuration with the parts made from it.
//!
//! Invariant: no lock is held across an await. A request takes one [`Setup`] and keeps it, so that it sees one
//! configuration even if a reload happens meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use shared::clock::Clock;
use shared::config::HumanDuration;
use shared::http::observe::Activity;
use shared::random::Random;
use shared::rate_limit::Limit;
use tokio::runtime::Handle;

use super::circuit_breaker::Circuits;
use super::dedup::Dedup;
use super::failed_opens::FailedOpens;
use super::in_flight::InFlight;
use super::mass_rejection::MassRejection;
use super::nudges::Nudges;
use super::proven_pushkeys::ProvenPushkeys;
use super::rate_limit::Buckets;
use super::rejected_pushkeys::RejectedPushkeys;
use super::relay::RelayState;
use crate::apps::registry::{Apps, AppsError, Difference};
use crate::config::Config;
use crate::providers::ProviderContext;
use crate::providers::device_key::DeviceKeys;
use crate::providers::log_throttle::LogThrottle;

/// The calls to one device: stops a user who rings all the time.
const CALLS_PER_PUSHKEY: Limit = Limit::new(10, HumanDuration::from_secs(6));

/// The parts of a running gateway.
pub(crate) struct State {
    setup: ArcSwap<Setup>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) device_keys: DeviceKeys,
    pub(crate) dedup: Dedup,
    pub(crate) rejected_pushkeys: RejectedPushkeys,
    pub(crate) proven_pushkeys: ProvenPushkeys,
    /// The rate limit of calls to one device.
    pub(crate) calls_per_pushkey: Buckets,
    /// The same for pushkeys that never had a delivery.
    pub(crate) calls_per_unproven_pushkey: Buckets,
    pub(crate) nudges: Nudges,
    /// The URLs that do not open, by client.
    pub(crate) failed_opens: FailedOpens,
    pub(crate) circuits: Circuits,
    pub(crate) mass_rejection: MassRejection,
    /// Throttles the log of unknown paths.
    pub(crate) unknown_path_log: LogThrottle,
    /// The deliveries that a shutdown waits for.
    pub(crate) activity: Arc<Activity>,
    /// The runtime of deliveries, which outlive a homeserver's connection.
    pub(crate) runtime: Handle,
}

/// One configuration, and what was made of it.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) apps: Apps,
    /// The requests in flight, and their devices.
    pub(crate) in_flight: Arc<InFlight>,
    /// The rate limit of deliveries to one device.
    pub(crate) per_pushkey: Arc<Buckets>,
    /// The same for pushkeys that never had a delivery. Strangers make them up, and would push out the others.
    pub(crate) per_unproven_pushkey: Arc<Buckets>,
    /// The rate limit of requests from one client.
    pub(crate) per_ip: Arc<Buckets>,
    /// The rate limit of devices in the requests of one client.
    pub(crate) devices_per_ip: Arc<Buckets>,
    pub(crate) relay: RelayState,
}

impl State {
    /// Must be called on the runtime of deliveries.
    ///
    /// # Errors
    /// [`AppsError`] if an app cannot be served.
    pub(crate) fn new(config: Config, clock: Clock, random: Random) -> Result<Self, AppsError> {
        Ok(Self {
            device_keys: DeviceKeys::new(random),
            dedup: Dedup::new(config.dedup.capacity, config.dedup.ttl.get(), clock.clone()),
            rejected_pushkeys: RejectedPushkeys::new(clock.clone()),
            proven_pushkeys: ProvenPushkeys::default(),
            calls_per_pushkey: Buckets::new(Some(CALLS_PER_PUSHKEY)),
            calls_per_unproven_pushkey: Buckets::new(Some(CALLS_PER_PUSHKEY)),
            nudges: Nudges::new(clock.clone()),
            failed_opens: FailedOpens::default(),
            circuits: Circuits::default(),
            mass_rejection: MassRejection::new(config.rejection_breaker.clone(), clock.clone()),
            unknown_path_log: LogThrottle::default(),
            activity: Arc::default(),
            runtime: Handle::current(),
            setup: ArcSwap::from_pointee(Setup::new(config, ProviderContext::new(clock.clone()))?),
            clock,
            random,
        })
    }

    /// The current setup; a request takes it once.
    pub(crate) fn setup(&self) -> Arc<Setup> {
        self.setup.load_full()
    }

    /// Replaces the configuration, and removes changed and removed apps from the caches. Must not run twice at the
    /// same time.
    ///
    /// # Errors
    /// [`AppsError`] if an app cannot be served; then nothing has changed.
    pub(crate) fn replace_config(&self, config: Config) -> Result<Difference, AppsError> {
        let old = self.setup();
        let new = Arc::new(old.reloaded(config)?);
        let difference = new.apps.difference_to(&old.apps);
        self.mass_rejection.set_rules(new.config.rejection_breaker.clone());
        self.setup.store(new);
        // A new app may serve devices that were unknown before.
        self.mass_rejection.forget("unknown");
        for app in &difference.ended {
            for sender in app.senders() {
                self.mass_rejection.forget(&sender.guard_name);
                self.circuits.forget(&sender.circuit_key);
            }
        }
        Ok(difference)
    }
}

impl Setup {
    fn new(config: Config, context: ProviderContext) -> Result<Self, AppsError> {
        Ok(Self {
            apps: Apps::new(&config, context)?,
            in_flight: InFlight::new(&config.limits),
            per_pushkey: Arc::new(Buckets::new(config.limits.per_pushkey)),
            per_unproven_pushkey: Arc::new(Buckets::new(config.limits.per_pushkey)),
            per_ip: Arc::new(Buckets::new(config.limits.per_ip)),
            devices_per_ip: Arc::new(Buckets::new(config.limits.devices_per_ip)),
            relay: RelayState::new(config.relay.as_ref(), None),
            config,
        })
    }

    /// The setup for another configuration; unchanged parts are shared with this one.
    fn reloaded(&self, config: Config) -> Result<Self, AppsError> {
        let (old, new) = (&self.config.limits, &config.limits);
        let buckets = |buckets: &Arc<Buckets>, old, new| {
            if old == new { buckets.clone() } else { Arc::new(Buckets::new(new)) }
        };
        Ok(Self {
            apps: self.apps.reloaded(&config)?,
            in_flight: if self.in_flight.has(new) { self.in_flight.clone() } else { InFlight::new(new) },
            per_pushkey: buckets(&self.per_pushkey, old.per_pushkey, new.per_pushkey),
            per_unproven_pushkey: buckets(&self.per_unproven_pushkey, old.per_pushkey, new.per_pushkey),
            per_ip: buckets(&self.per_ip, old.per_ip, new.per_ip),
            devices_per_ip: buckets(&self.devices_per_ip, old.devices_per_ip, new.devices_per_ip),
            relay: RelayState::new(config.relay.as_ref(), Some(&self.relay)),
            config,
        })
    }
}
