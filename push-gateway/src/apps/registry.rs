//! The apps of one configuration, each with its provider.
//!
//! Invariant: an app has its credentials before the gateway listens; an unusable key file is an error at start.

use std::path::Path;
use std::sync::{Arc, Weak};

use sha2::{Digest, Sha256};

use super::metrics::AppMetrics;
use super::pattern::{Ambiguous, Patterns};
use super::permits::Permits;
use super::route::{Route, route};
use super::sender::Sender;
use crate::config::Config;
use crate::notification::Device;
use crate::providers::factory::AppSettings;
use crate::providers::log_throttle::{LogThrottle, LogThrottleByText};
use crate::providers::outcome::{Certainty, Reason, Rejection};
use crate::providers::{ProviderContext, ProviderSettings, SetupError};
use crate::relay::app::AppRelay;

/// The reason for a device whose `app_id` matches no pattern.
pub(crate) const UNKNOWN_APP: Reason = "unknown_app";

/// The longest pushkey in bytes.
const MAX_PUSHKEY: usize = 2048;

/// A configured app.
pub(crate) struct App {
    /// The pattern of its section; the only name of an app in logs and metrics.
    pub(crate) pattern: String,
    /// The push service of the app's type.
    pub(crate) own: Sender,
    unifiedpush: Option<Sender>,
    webpush: Option<Sender>,
    /// One permit for each concurrent delivery.
    pub(crate) permits: Permits,
    /// The same for calls, which never wait behind messages.
    pub(crate) call_permits: Permits,
    /// Throttles the log of wrong settings.
    pub(crate) config_error_log: LogThrottle,
    /// Throttles the log of an outage.
    pub(crate) outage_log: LogThrottle,
    /// The reload that made this app; part of every cache key, so that a changed app starts with empty caches.
    pub(crate) config_generation: String,
    pub(crate) metrics: AppMetrics,
    settings: AppSettings,
    file_digest: [u8; 32],
}

/// Why an app cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppsError {
    #[error(transparent)]
    Ambiguous(#[from] Ambiguous),
    /// The provider cannot be made; the source names the key or file.
    #[error("{}", of_app(pattern, source))]
    Provider { pattern: String, source: SetupError },
}

/// The error with the section of the app, unless it has a section of its own.
fn of_app(pattern: &str, error: &SetupError) -> String {
    let text = error.to_string();
    if text.starts_with('[') { text } else { format!("[apps.\"{pattern}\"] {text}") }
}

/// All apps.
pub(crate) struct Apps {
    patterns: Patterns<Arc<App>>,
    /// Throttles the log of unknown app IDs.
    pub(crate) unknown_app_log: LogThrottleByText,
    context: ProviderContext,
    outbound_digest: [u8; 32],
    config_generation: u64,
}

/// The apps that a reload replaced.
pub(crate) struct Difference {
    /// New and changed apps.
    pub(crate) started: Vec<Arc<App>>,
    /// Removed apps, and the previous state of changed ones.
    pub(crate) ended: Vec<Arc<App>>,
}

impl Apps {
    /// Makes every app of the configuration: reads its keys, connects to nothing. `context` brings the clock and empty
    /// caches.
    ///
    /// # Errors
    /// [`AppsError`] for the first app that cannot be served.
    pub(crate) fn new(config: &Config, context: ProviderContext) -> Result<Self, AppsError> {
        let none = Self {
            patterns: Patterns::new([])?,
            unknown_app_log: LogThrottleByText::default(),
            context,
            outbound_digest: [0; 32],
            config_generation: 0,
        };
        none.reloaded(config)
    }

    /// The apps of another configuration. An app stays, with its connections, if its settings, its key files and the
    /// outbound settings are equal; every other app is made.
    ///
    /// # Errors
    /// As [`Apps::new`].
    pub(crate) fn reloaded(&self, config: &Config) -> Result<Self, AppsError> {
        let outbound_digest = config.outbound.digest_of_files();
        let dns_servers = config.endpoints.dns_servers.as_slice();
        let is_outbound_equal = self.context.outbound == config.outbound
            && self.outbound_digest == outbound_digest
            && self.context.dns_servers == dns_servers;
        let context = self.context.with_outbound(&config.outbound, dns_servers, is_outbound_equal);
        let config_generation = self.config_generation + 1;
        let mut apps = Vec::new();
        for (pattern, settings) in &config.apps {
            // Digested before the files are read for use: a change in between differs at the next check.
            let file_digest = digest(&settings.watched_files());
            let current = self
                .patterns
                .named(pattern)
                .filter(|app| is_outbound_equal && app.file_digest == file_digest && app.settings.is_equal(settings));
            let app = match current {
                Some(app) => app.clone(),
                None => Arc::new(App::new(pattern, settings, file_digest, &context, config_generation)?),
            };
            apps.push((pattern.clone(), app));
        }
        let (patterns, unknown_app_log) = (Patterns::new(apps)?, LogThrottleByText::default());
        Ok(Self { patterns, unknown_app_log, context, outbound_digest, config_generation })
    }

    /// The difference to the apps of the previous configuration.
    pub(crate) fn difference_to(&self, old: &Self) -> Difference {
        let is_missing_in = |there: &Self, app: &Arc<App>| {
            !there.patterns.named(&app.pattern).is_some_and(|other| Arc::ptr_eq(app, other))
        };
        Difference {
            started: self.iter().filter(|app| is_missing_in(old, app)).cloned().collect(),
            ended: old.iter().filter(|app| is_missing_in(self, app)).cloned().collect(),
        }
    }

    /// The app that serves `app_id`.
    pub(crate) fn find(&self, app_id: &str) -> Option<&Arc<App>> {
        self.patterns.find(app_id)
    }

    /// The app that serves `device`.
    ///
    /// # Errors
    /// The rejection of a device without an app, or of a pushkey that no push service accepts.
    pub(crate) fn serving(&self, device: &Device) -> Result<&Arc<App>, Rejection> {
        let reject = |reason| Rejection { reason, certainty: Certainty::Suspect };
        if device.pushkey.is_empty() || device.pushkey.len() > MAX_PUSHKEY {
            return Err(reject("invalid_pushkey"));
        }
        self.find(&device.app_id).ok_or(reject(UNKNOWN_APP))
    }

    /// All apps, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.patterns.iter()
    }
}

impl App {
    /// The push service that reaches `device`.
    ///
    /// # Errors
    /// The rejection of a pushkey that none of the app's push services accepts.
    pub(crate) fn sender(&self, device: &Device) -> Result<&Sender, Rejection> {
        let (has_unifiedpush, has_webpush) = (self.unifiedpush.is_some(), self.webpush.is_some());
        let found = route(self.own.type_name, has_unifiedpush, has_webpush, &device.pushkey, &device.data);
        let (sender, reason) = match found {
            Route::Own => (Some(&self.own), "invalid_pushkey"),
            Route::UnifiedPush => (self.unifiedpush.as_ref(), "invalid_endpoint"),
            Route::WebPush => (self.webpush.as_ref(), "invalid_subscription"),
            Route::Rejected(reason) => (None, reason),
        };
        sender.ok_or(Rejection { reason, certainty: Certainty::Suspect })
    }

    /// What separates its devices in caches from those of other apps and configurations.
    pub(crate) fn scope(&self) -> [&str; 2] {
        [&self.pattern, &self.config_generation]
    }

    /// All its push services, its own first.
    pub(crate) fn senders(&self) -> impl Iterator<Item = &Sender> {
        std::iter::once(&self.own).chain(&self.unifiedpush).chain(&self.webpush)
    }

    /// The public key with which browsers subscribe.
    pub(crate) fn vapid_public_key(&self) -> Option<&str> {
        self.senders().find_map(|sender| sender.provider.public_key())
    }

    /// Whether pushkeys may name their push server.
    pub(crate) fn names_endpoints(&self) -> bool {
        self.senders().any(|sender| matches!(sender.type_name, "unifiedpush" | "webpush"))
    }

    /// Whether notifications are sent as received.
    pub(crate) fn forwards(&self) -> bool {
        self.own.type_name == "http"
    }

    /// Whether the app has push resources.
    pub(crate) fn has_relay(&self) -> bool {
        self.settings.relay.relay
    }

    /// Its settings of the relay.
    pub(crate) fn relay(&self) -> &AppRelay {
        &self.settings.relay
    }

    /// Whether pushkeys that are URLs are delivered.
    pub(crate) fn routes_urls(&self) -> bool {
        self.senders().any(|sender| sender.type_name == "unifiedpush")
    }

    fn new(
        pattern: &str,
        settings: &AppSettings,
        file_digest: [u8; 32],
        context: &ProviderContext,
        config_generation: u64,
    ) -> Result<Self, AppsError> {
        let sender = |settings: &dyn ProviderSettings, is_own| {
            Sender::new(pattern, settings, is_own, context)
                .map_err(|source| AppsError::Provider { pattern: pattern.to_owned(), source })
        };
        let own = sender(settings.own.as_ref(), true)?;
        let other = |settings: &Option<Arc<dyn ProviderSettings>>| {
            settings.as_deref().map(|settings| sender(settings, false)).transpose()
        };
        Ok(Self {
            pattern: pattern.to_owned(),
            permits: Permits::new(own.delivery.max_concurrent),
            call_permits: Permits::new(own.delivery.call_concurrent),
            unifiedpush: other(&settings.unifiedpush)?,
            webpush: other(&settings.webpush)?,
            own,
            config_error_log: LogThrottle::default(),
            outage_log: LogThrottle::default(),
            config_generation: config_generation.to_string(),
            metrics: AppMetrics::new(pattern),
            settings: settings.clone(),
            file_digest,
        })
    }
}

/// Warms up the provider of an app, so that the first push does not wait. Ends when it is warm or the app is removed.
pub(crate) async fn warm_up(app: Weak<App>) {
    loop {
        let wait = {
            let Some(app) = app.upgrade() else { return };
            match app.own.provider.warm_up().await {
                Ok(()) => return,
                Err(wait) => wait,
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// A digest of the contents of files; an unreadable file counts as empty.
fn digest(files: &[&Path]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        hash.update(Sha256::digest(std::fs::read(file).unwrap_or_default()));
    }
    hash.finalize().into()
}
