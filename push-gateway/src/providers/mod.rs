//! Push services: the one interface that every provider implements; `factory` reads their settings.
//!
//! Each provider is a folder with the same six modules: `settings`, `credentials`, `request`, `payload`, `response`,
//! `client`. Invariant: providers never import one another. `push-gateway/README.md` lists every place that names a
//! type.

pub(crate) mod access_token;
pub(crate) mod apns;
pub(crate) mod apns_error;
pub(crate) mod app_table;
pub(crate) mod connection_report;
pub(crate) mod delivery_settings;
pub(crate) mod device_key;
pub(crate) mod factory;
pub(crate) mod fcm;
pub(crate) mod flat_data;
pub(crate) mod http;
pub(crate) mod huawei;
pub(crate) mod in_use;
pub(crate) mod json_file;
pub(crate) mod json_size;
pub(crate) mod log_throttle;
pub(crate) mod outcome;
pub(crate) mod pause;
pub(crate) mod text_template;
pub(crate) mod transport;
pub(crate) mod two_generation_cache;
pub(crate) mod upstream_metrics;
pub(crate) mod webpush;

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use shared::certificate_chain::Validity;
use shared::clock::{Clock, Timestamp};
use shared::outbound::settings::Outbound;
use tracing::{Level, Span};

pub(crate) use self::delivery_settings::DeliverySettings;
use self::device_key::DeviceKey;
use self::outcome::{Outcome, Reason};
use crate::notification::call::Occasion;
use crate::notification::{Device, Notification};

/// A push service with the credentials of one app.
pub(crate) trait Provider: Send + Sync {
    /// Makes one attempt. The caller retries; a provider itself resends only what the push service did not process, or
    /// accepts in another form (a renewed token, a smaller payload).
    fn deliver<'a>(&'a self, delivery: &'a Delivery<'_>) -> BoxFuture<'a, Outcome>;

    /// Opens connections and gets tokens, so that the first push does not wait for them.
    ///
    /// # Errors
    /// The wait before the next try.
    fn warm_up(&self) -> BoxFuture<'_, Result<(), Duration>>;

    /// Checks online whether the push service is reachable and accepts the credential, as far as possible without a
    /// push; describes the result.
    ///
    /// # Errors
    /// The problem and the action, in words.
    fn check_online(&self) -> BoxFuture<'_, Result<&'static str, String>>;

    /// Whether the provider has tried its credentials; `Some` says why it cannot deliver nevertheless.
    ///
    /// # Errors
    /// What is missing before it has tried.
    fn readiness(&self) -> Result<Option<&'static str>, &'static str>;

    /// Why the credential is refused or cannot be obtained at present; escaped, nothing secret.
    fn credential_problem(&self) -> Option<String> {
        None
    }

    /// From when to when the credential is valid, if it expires.
    fn credential_validity(&self) -> Option<Validity>;

    /// The one spelling of the pushkey under which the push service knows the device; an invalid one stays as it is.
    fn canonical_pushkey<'a>(&self, device: &'a Device) -> Cow<'a, str> {
        Cow::Borrowed(&device.pushkey)
    }

    /// The part of a canonical pushkey that names what the push service limits: several pushkeys may lead to one installation
    /// of an app. Another pushkey of it may be valid nevertheless, so rejections and deduplication use the whole pushkey.
    fn installation<'a>(&self, pushkey: &'a str) -> &'a str {
        pushkey
    }

    /// The bytes of the device token that a client names for the relay; `None` if it cannot be one.
    fn device_token(&self, _text: &str) -> Option<Vec<u8>> {
        None
    }

    /// The pushkey of the device with this token.
    fn pushkey(&self, _device_token: &[u8]) -> Option<String> {
        None
    }

    /// The name of the circuit: apps with the same credential at the same push service share one. Appears in logs.
    fn circuit_key(&self) -> String;

    /// The circuit of the device with this canonical pushkey, if it names the push service.
    fn circuit_of(&self, _pushkey: &str) -> Option<String> {
        None
    }

    /// The public key with which browsers subscribe.
    fn public_key(&self) -> Option<&str> {
        None
    }

    /// The push service and the credential, for the operator; nothing secret.
    fn describe(&self) -> String;
}

/// Keys that have no effect, in groups with the reason, such as `without relay = true`.
pub(crate) type UselessKeys = Vec<(&'static [&'static str], &'static str)>;

/// Settings of any type; clones share them.
pub(crate) type SharedSettings = Arc<dyn ProviderSettings>;

/// The settings of one app, of any type.
pub(crate) trait ProviderSettings: Any + Debug + Send + Sync {
    /// The value of `type`.
    fn type_name(&self) -> &'static str;

    /// The settings that every type has.
    fn delivery(&self) -> DeliverySettings;

    /// The files whose content the provider uses, all of them secrets, with their keys. Known before the provider exists: a
    /// reload has to watch a broken file too.
    fn secret_files(&self) -> Vec<(&'static str, &Path)>;

    /// Warnings about values that work only in part, with their keys.
    fn notices(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The keys that have no effect beside the values of others, with these values in words.
    fn useless_keys(&self) -> UselessKeys {
        UselessKeys::new()
    }

    /// Whether `other` has the same type and equal values.
    fn is_equal(&self, other: &dyn ProviderSettings) -> bool;

    /// Makes the provider of the app with the pattern `app`: reads keys and certificates, connects to nothing.
    ///
    /// # Errors
    /// The first setting or file that cannot work.
    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError>;
}

/// Why a provider cannot be made; the text starts with the key.
pub(crate) type SetupError = Box<dyn Error + Send + Sync>;

/// What all providers of a process share.
#[derive(Clone)]
pub(crate) struct ProviderContext {
    pub(crate) outbound: Outbound,
    /// The name servers for endpoints; empty for the system's.
    pub(crate) dns_servers: Vec<SocketAddr>,
    pub(crate) clock: Clock,
    pub(crate) apns_tokens: apns::ProviderTokenCache,
    pub(crate) fcm_accounts: fcm::AccountCache,
    pub(crate) huawei_accounts: huawei::AccountCache,
    pub(crate) endpoints: webpush::Connections,
}

impl ProviderContext {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            outbound: Outbound::default(),
            dns_servers: Vec::new(),
            endpoints: webpush::Connections::new(clock.clone()),
            clock,
            apns_tokens: apns::ProviderTokenCache::default(),
            fcm_accounts: fcm::AccountCache::default(),
            huawei_accounts: huawei::AccountCache::default(),
        }
    }

    /// The context for a configuration with these outbound settings and name servers. Tokens for APNs are signed locally and
    /// survive any change; connections, and tokens that come over connections, survive only equal settings.
    pub(crate) fn with_outbound(&self, outbound: &Outbound, dns_servers: &[SocketAddr], is_equal: bool) -> Self {
        let (fcm_accounts, huawei_accounts) = if is_equal {
            (self.fcm_accounts.clone(), self.huawei_accounts.clone())
        } else {
            (fcm::AccountCache::default(), huawei::AccountCache::default())
        };
        let endpoints = if is_equal { self.endpoints.clone() } else { self.endpoints.reconnected() };
        let (outbound, dns_servers) = (outbound.clone(), dns_servers.to_vec());
        Self { outbound, dns_servers, fcm_accounts, huawei_accounts, endpoints, ..self.clone() }
    }
}

/// One device's share of one request.
pub(crate) struct Delivery<'a> {
    pub(crate) notification: &'a Notification,
    pub(crate) device: &'a Device,
    /// Identifies the installation of the app in a provider's caches.
    pub(crate) key: DeviceKey,
    /// 16 random bytes, the same in every attempt.
    pub(crate) id: [u8; 16],
    /// No attempt continues after this.
    pub(crate) deadline: Instant,
    /// Whether a badge update is delivered as a silent push without its counts.
    pub(crate) is_nudge: bool,
    /// Composed by the first attempt, reused by the later ones.
    payload: OnceLock<Result<Payload, Reason>>,
}

/// A payload that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) body: Bytes,
    /// Whether it wakes the app without showing anything.
    pub(crate) is_background: bool,
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(
        notification: &'a Notification,
        device: &'a Device,
        key: DeviceKey,
        id: [u8; 16],
        deadline: Instant,
    ) -> Self {
        Self { notification, device, key, id, deadline, is_nudge: false, payload: OnceLock::new() }
    }

    /// What the push is for at `now`; each attempt asks again, because a call rings for a short time.
    pub(crate) fn occasion(&self, call_types: &[String], now: Timestamp) -> Occasion {
        if self.is_nudge { Occasion::Nudge } else { self.notification.occasion(call_types, now) }
    }

    /// The payload, or the reason why nothing is sent; calls `compose` once for all attempts.
    pub(crate) fn payload(&self, compose: impl FnOnce() -> Result<Payload, Reason>) -> Result<&Payload, Reason> {
        self.payload.get_or_init(compose).as_ref().map_err(|reason| *reason)
    }
}

/// Counts a relayed message whose body did not fit into a payload.
pub(crate) fn count_oversize(app: &str) {
    metrics::counter!("push_relay_oversize_total", "app" => app.to_owned()).increment(1);
}

/// Adds the answer of the push service to the log lines of the delivery, which exist at level debug.
pub(crate) fn note_answer(status: u16, reason: Option<&str>) {
    if tracing::enabled!(Level::DEBUG) {
        Span::current().record("upstream_status", status).record("upstream_reason", reason);
    }
}

/// Makes a relative path relative to the folder of the configuration file.
pub(crate) fn in_folder(folder: &Path, path: &mut Option<PathBuf>) {
    if let Some(path) = path {
        *path = folder.join(&path);
    }
}
