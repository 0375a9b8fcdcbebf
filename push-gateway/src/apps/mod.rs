//! The apps that are served, each with its push service.
//!
//! Invariant: an app has its credentials before anything listens; a key file that cannot be used is an error at start.

mod pattern;

use std::sync::Arc;

use shared::clock::{Clock, Timestamp};
use shared::random::Random;

use self::pattern::{Ambiguous, Patterns};
use crate::apns::{Apns, TokenBoard};
use crate::config::Config;
use crate::config::app::{AppSettings, Delivering};
use crate::fcm::{AccountBoard, Fcm};
use crate::provider::{Delivery, Outcome, Provider, ProviderError};

/// An app that is served.
pub struct App {
    /// The pattern under which it is configured; the one name of an app in logs and metrics.
    pub pattern: String,
    /// The name of its type.
    pub type_name: &'static str,
    /// How deliveries are made, for every type the same.
    pub delivering: Delivering,
    /// Its push service.
    pub provider: AppProvider,
}

/// The push service of an app.
pub enum AppProvider {
    /// Apple's.
    Apns(Apns),
    /// Google's.
    Fcm(Fcm),
}

/// Why an app cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AppsError {
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

/// All apps.
pub struct Apps(Patterns<Arc<App>>);

impl Apps {
    /// Sets up every app of the settings: reads its keys, connects to nobody.
    ///
    /// # Errors
    /// [`AppsError`] for the first that cannot be served.
    pub fn new(config: &Config, clock: &Clock, random: Random) -> Result<Self, AppsError> {
        let (tokens, accounts) = (TokenBoard::default(), AccountBoard::default());
        let mut apps = Vec::new();
        for (pattern, settings) in &config.apps {
            let failed = |reason: String| AppsError::Provider { pattern: pattern.clone(), reason };
            let provider = match settings {
                AppSettings::Apns(settings) => {
                    Apns::new(pattern, settings, &config.outbound, &tokens, clock.clone(), random)
                        .map(AppProvider::Apns)
                        .map_err(|error| failed(error.to_string()))
                }
                AppSettings::Fcm(settings) => {
                    Fcm::new(pattern, settings, &config.outbound, &accounts, clock.clone(), random)
                        .map(AppProvider::Fcm)
                        .map_err(|error| failed(error.to_string()))
                }
            };
            let app = App {
                pattern: pattern.clone(),
                type_name: settings.type_name(),
                delivering: settings.delivering(),
                provider: provider?,
            };
            apps.push((pattern.clone(), Arc::new(app)));
        }
        Ok(Self(Patterns::new(apps)?))
    }

    /// The app that serves `app_id`.
    pub fn find(&self, app_id: &str) -> Option<&Arc<App>> {
        self.0.find(app_id)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.0.iter()
    }
}

impl App {
    /// When its credential runs out, if it ever does.
    pub fn credential_expiry(&self) -> Option<Timestamp> {
        match &self.provider {
            AppProvider::Apns(apns) => apns.certificate_expiry(),
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
