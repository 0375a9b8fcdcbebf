//! The relay of one configuration: its keys and limits, and the VAPID tokens that it has verified.
//!
//! Invariant: a token that was verified for other origins counts as unknown.

use std::sync::Arc;

use parking_lot::Mutex;
use shared::clock::Timestamp;
use shared::random::Random;
use shared::rate_limit::Limit;
use url::{Origin, Url};

use super::rate_limit::Buckets;
use crate::config::relay::Relay as Settings;
use crate::providers::device_key::DeviceKeys;
use crate::providers::log_throttle::LogThrottle;
use crate::providers::two_generation_cache::TwoGenerationCache;
use crate::relay::seal::SealKeys;
use crate::relay::vapid::{Credentials, Refusal, is_current, origin};

/// The number of VAPID tokens that are verified once.
const VERIFIED: usize = 10_000;
/// The relay of one configuration.
pub(crate) enum RelayState {
    /// Without `[relay]`.
    Absent,
    /// With `enabled = false`.
    Disabled,
    Enabled(Box<Relay>),
}

/// A relay that is enabled.
pub(crate) struct Relay {
    pub(crate) settings: Settings,
    pub(crate) keys: Arc<SealKeys>,
    /// Without a slash at its end.
    public_url: String,
    origins: Vec<Origin>,
    verified: Arc<Mutex<TwoGenerationCache<Timestamp>>>,
    pub(crate) per_key: Arc<Buckets>,
    pub(crate) subscribe_per_ip: Arc<Buckets>,
    /// Throttles the log of URLs whose key is missing.
    pub(crate) missing_key_log: LogThrottle,
    /// Throttles the log of pushes that the push service refuses also without their body.
    pub(crate) undeliverable_log: LogThrottle,
    /// Throttles the log of tokens for another origin.
    pub(crate) public_url_log: LogThrottle,
}

impl RelayState {
    /// The relay with other settings; unchanged parts are shared with `old`.
    pub(crate) fn new(settings: Option<&Settings>, old: Option<&Self>) -> Self {
        let Some(settings) = settings else { return Self::Absent };
        let (true, Some(public_url), Some(keys)) = (settings.enabled, &settings.public_url, &settings.keys) else {
            return Self::Disabled;
        };
        let old = match old {
            Some(Self::Enabled(old)) => Some(old),
            Some(Self::Absent | Self::Disabled) | None => None,
        };
        let public_url = public_url.trim_end_matches('/').to_owned();
        let own = Url::parse(&public_url).map(|url| url.origin());
        let extra = settings.extra_origins.as_slice().iter().filter_map(|text| origin(text));
        let origins: Vec<Origin> = own.into_iter().chain(extra).collect();
        let buckets = |limit: fn(&Settings) -> Option<Limit>, of: fn(&Relay) -> &Arc<Buckets>| {
            let unchanged = old.filter(|old| limit(&old.settings) == limit(settings));
            unchanged.map_or_else(|| Arc::new(Buckets::new(limit(settings))), |old| of(old).clone())
        };
        let verified = old.filter(|old| old.origins == origins).map(|old| old.verified.clone());
        Self::Enabled(Box::new(Relay {
            keys: keys.clone(),
            public_url,
            origins,
            verified: verified.unwrap_or_else(|| Arc::new(Mutex::new(TwoGenerationCache::new(VERIFIED)))),
            per_key: buckets(|relay| relay.per_key, |relay| &relay.per_key),
            subscribe_per_ip: buckets(|relay| relay.subscribe_per_ip, |relay| &relay.subscribe_per_ip),
            missing_key_log: LogThrottle::default(),
            undeliverable_log: LogThrottle::default(),
            public_url_log: LogThrottle::default(),
            settings: settings.clone(),
        }))
    }
}

impl Relay {
    /// Where homeservers reach it.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }

    /// The URL of a message; the gateway keeps none.
    pub(crate) fn message_url(&self, random: Random) -> String {
        let id = random.unique_bytes::<16>().map(|byte| format!("{byte:02x}")).concat();
        format!("{}/wpm/{id}", self.public_url)
    }

    /// Whether the token was verified before, with its key.
    pub(crate) fn is_verified(&self, credentials: &Credentials<'_>, keys: &DeviceKeys, now: Timestamp) -> bool {
        let key = keys.vapid(credentials.token(), &credentials.key);
        self.verified.lock().find(key).is_some_and(|expires| is_current(expires, now))
    }

    /// Verifies the token; `host` is the request's `Host`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn verify(
        &self,
        credentials: &Credentials<'_>,
        keys: &DeviceKeys,
        host: Option<&str>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let expires = credentials.verify(&self.origins, host, now)?;
        self.verified.lock().insert(keys.vapid(credentials.token(), &credentials.key), expires);
        Ok(())
    }
}
