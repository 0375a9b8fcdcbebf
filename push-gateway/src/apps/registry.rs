//! The apps that are served, each with its push service.
//!
//! Invariant: an app has its credentials before anything listens; a key file that cannot be used is an error at start.

use std::sync::{Arc, Weak};
use std::time::Duration;

use shared::clock::{Clock, Timestamp};
use shared::outbound::settings::Outbound;
use shared::random::Random;
use tokio::sync::Semaphore;

use super::metrics::Measures;
use super::pattern::{Ambiguous, Patterns};
use crate::config::Config;
use crate::config::app::{AppSettings, Delivering};
use crate::notification::Device;
use crate::providers::apns::{Apns, ProviderTokenCache};
use crate::providers::fcm::{AccountCache, Fcm};
use crate::providers::log_throttle::Complaints;
use crate::providers::{Delivery, Outcome, Provider, ProviderError};

/// An app that is served.
pub(crate) struct App {
    /// The pattern under which it is configured; the one name of an app in logs and metrics.
    pub(crate) pattern: String,
    /// The name of its type.
    pub(crate) type_name: &'static str,
    /// How deliveries are made, for every type the same.
    pub(crate) delivering: Delivering,
    /// A place for each delivery that may be under way at the same time.
    pub(crate) places: Semaphore,
    /// The name of its circuit: apps with the same credential at the same push service share one.
    pub(crate) circuit: String,
    /// How often its wrong settings are told.
    pub(crate) complaints: Complaints,
    /// Another one each time its settings were changed, so that nothing is remembered beyond that.
    pub(crate) era: String,
    /// Of its settings and key files.
    digest: [u8; 32],
    /// What is measured of it.
    pub(crate) measures: Measures,
    /// Its push service.
    pub(crate) provider: AppProvider,
}

/// The push service of an app.
pub(crate) enum AppProvider {
    /// Apple's.
    Apns(Box<Apns>),
    /// Google's.
    Fcm(Box<Fcm>),
}

/// Why an app cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppsError {
    /// Two patterns that cannot be told apart.
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// The push service cannot be set up.
    #[error("apps.\"{pattern}\": {reason}")]
    Provider {
        /// The app.
        pattern: String,
        /// What is wrong, and with which key or file.
        reason: String,
    },
}

/// Why a device has no app to be served by; its pushkey is of no use whatever its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unserved {
    /// The pushkey is empty or longer than [`MAX_PUSHKEY`].
    #[error("invalid_pushkey")]
    InvalidPushkey,
    /// No app has the `app_id`.
    #[error("unknown_app")]
    UnknownApp,
}

/// The longest pushkey in bytes.
pub(crate) const MAX_PUSHKEY: usize = 2048;

/// How long to wait for the push service's next answer if it says nothing of that itself.
const TOKEN_RETRY: Duration = Duration::from_secs(60);

/// All apps.
pub(crate) struct Apps {
    patterns: Patterns<Arc<App>>,
    /// Speaks for devices that no app serves.
    pub(crate) nobody: Complaints,
    tokens: ProviderTokenCache,
    accounts: AccountCache,
    outbound: Outbound,
    /// The contents of the files that `outbound` names.
    outbound_files: [u8; 32],
    /// How often the settings were read.
    turn: u64,
}

/// What became of the apps when other settings took their place.
pub(crate) struct Difference {
    /// Apps that are new, or not what they were.
    pub(crate) begun: Vec<Arc<App>>,
    /// Apps that are no more, or not what they were: as they were.
    pub(crate) ended: Vec<Arc<App>>,
}

impl Apps {
    /// Sets up every app of the settings: reads its keys, connects to nobody.
    ///
    /// # Errors
    /// [`AppsError`] for the first that cannot be served.
    pub(crate) fn new(config: &Config, clock: &Clock, random: Random) -> Result<Self, AppsError> {
        let nobody = Self {
            patterns: Patterns::new([])?,
            nobody: Complaints::default(),
            tokens: ProviderTokenCache::default(),
            accounts: AccountCache::default(),
            outbound: Outbound::default(),
            outbound_files: [0; 32],
            turn: 0,
        };
        nobody.changed_to(config, clock, random)
    }

    /// The apps of other settings. One that is what it was, its key files and the way out included, stays the same with
    /// its connections; all others are set up.
    ///
    /// # Errors
    /// As [`Apps::new`].
    pub(crate) fn changed_to(&self, config: &Config, clock: &Clock, random: Random) -> Result<Self, AppsError> {
        let (outbound, outbound_files) = (config.outbound.clone(), config.outbound.digest_of_files());
        let is_way_out_the_same = outbound == self.outbound && outbound_files == self.outbound_files;
        // Tokens of Apple's are made here and go everywhere; Google's come by connections of their own.
        let accounts = if is_way_out_the_same { self.accounts.clone() } else { AccountCache::default() };
        let turn = self.turn + 1;
        let set_up = |pattern: &String, settings: &AppSettings, digest: [u8; 32]| {
            let failed = |reason: String| AppsError::Provider { pattern: pattern.clone(), reason };
            let provider = match settings {
                AppSettings::Apns(settings) => {
                    Apns::new(pattern, settings, &config.outbound, &self.tokens, clock.clone())
                        .map(|apns| AppProvider::Apns(Box::new(apns)))
                        .map_err(|error| failed(error.to_string()))
                }
                AppSettings::Fcm(settings) => {
                    Fcm::new(pattern, settings, &config.outbound, &accounts, clock.clone(), random)
                        .map(|fcm| AppProvider::Fcm(Box::new(fcm)))
                        .map_err(|error| failed(error.to_string()))
                }
            };
            Ok::<_, AppsError>(Arc::new(App {
                pattern: pattern.clone(),
                type_name: settings.type_name(),
                places: Semaphore::new(settings.delivering().max_concurrent.clamp(1, Semaphore::MAX_PERMITS)),
                circuit: settings.circuit(),
                complaints: Complaints::default(),
                delivering: settings.delivering(),
                era: turn.to_string(),
                digest,
                measures: Measures::new(pattern, settings.type_name()),
                provider: provider?,
            }))
        };
        let mut apps = Vec::new();
        for (pattern, settings) in &config.apps {
            // Before the files are read for use: if they change in between, the next look finds a difference.
            let digest = settings.digest();
            let same = self.patterns.named(pattern).filter(|app| is_way_out_the_same && app.digest == digest);
            let app = match same {
                Some(app) => app.clone(),
                None => set_up(pattern, settings, digest)?,
            };
            apps.push((pattern.clone(), app));
        }
        let (patterns, nobody) = (Patterns::new(apps)?, Complaints::default());
        Ok(Self { patterns, nobody, tokens: self.tokens.clone(), accounts, outbound, outbound_files, turn })
    }

    /// What is other here than it was in `old`.
    pub(crate) fn difference_to(&self, old: &Self) -> Difference {
        let missing_in = |there: &Self, app: &Arc<App>| {
            !there.patterns.named(&app.pattern).is_some_and(|other| Arc::ptr_eq(app, other))
        };
        Difference {
            begun: self.iter().filter(|app| missing_in(old, app)).cloned().collect(),
            ended: old.iter().filter(|app| missing_in(self, app)).cloned().collect(),
        }
    }

    /// The app that serves `app_id`.
    pub(crate) fn find(&self, app_id: &str) -> Option<&Arc<App>> {
        self.patterns.find(app_id)
    }

    /// The app that is to serve `device`.
    ///
    /// # Errors
    /// [`Unserved`]
    pub(crate) fn serving(&self, device: &Device) -> Result<&Arc<App>, Unserved> {
        if device.pushkey.is_empty() || device.pushkey.len() > MAX_PUSHKEY {
            return Err(Unserved::InvalidPushkey);
        }
        self.find(&device.app_id).ok_or(Unserved::UnknownApp)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.patterns.iter()
    }
}

/// Makes the connections of an app and gets its tokens, so that the first push need not wait for them. Ends when it has
/// what it needs, or the app is no more.
pub(crate) async fn prepare(app: Weak<App>) {
    loop {
        let wait = {
            let Some(app) = app.upgrade() else { return };
            match &app.provider {
                AppProvider::Apns(apns) => return apns.warm_up(),
                AppProvider::Fcm(fcm) => match fcm.obtain_token().await {
                    Ok(()) | Err(ProviderError::Permanent { .. }) => return,
                    Err(ProviderError::Temporary { retry_after, .. }) => retry_after.unwrap_or(TOKEN_RETRY),
                },
            }
        };
        tokio::time::sleep(wait).await;
    }
}

impl App {
    /// Whether its push service can be reached and, as far as can be known without a push, lets us in: in words.
    ///
    /// # Errors
    /// In words, what is wrong and what to do.
    pub(crate) async fn try_out(&self) -> Result<&'static str, String> {
        match &self.provider {
            AppProvider::Apns(apns) => {
                apns.connect().await?;
                Ok("connected to Apple; whether it takes the credential, only a push shows: see test-push")
            }
            AppProvider::Fcm(fcm) => {
                fcm.try_token().await?;
                Ok("Google gave an access token; whether it is good for the project, only a push shows: see test-push")
            }
        }
    }

    /// What keeps it from delivering, if that can be known.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        match &self.provider {
            AppProvider::Fcm(fcm) if !fcm.has_had_token() => Some("has had no access token yet"),
            AppProvider::Fcm(_) | AppProvider::Apns(_) => None,
        }
    }

    /// When its credential runs out, if it ever does.
    pub(crate) fn credential_expiry(&self) -> Option<Timestamp> {
        match &self.provider {
            AppProvider::Apns(apns) => apns.credential_expiry(),
            AppProvider::Fcm(_) => None,
        }
    }
}

impl Provider for AppProvider {
    async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Outcome, ProviderError> {
        match self {
            Self::Apns(apns) => apns.deliver(delivery).await,
            Self::Fcm(fcm) => fcm.deliver(delivery).await,
        }
    }
}
