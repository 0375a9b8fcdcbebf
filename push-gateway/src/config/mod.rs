//! The settings of the push gateway, one file for each section or group of small ones.
//!
//! Invariant: every key but the apps has a default with which the server starts; [`Config::load`] checks how keys depend
//! on each other, so that only the contents of key files can be wrong after it.

pub(crate) mod limits;
pub(crate) mod relay;
pub(crate) mod rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::config::{ConfigError, ConfigErrors, ConfigSource, SpecialKeys, exposure_notice};
use shared::http::settings::{Admin, AdminAddress, Http, check_addresses};
use shared::outbound::settings::Outbound;
use shared::rate_limit::Limit;
use shared::telemetry::Log;

use self::limits::Limits;
use self::relay::Relay;
use self::rules::{Dedup, Endpoints, Metrics, RejectionBreaker, Routing};
use crate::providers::factory::{AppSettings, read_settings};
use crate::providers::in_folder;

/// The prefix of environment variables: `PUSH_GATEWAY__SECTION__KEY`.
const ENVIRONMENT_PREFIX: &str = "PUSH_GATEWAY";

/// The defaults that differ from the identity server's. Serde fills a present section with the defaults of its type.
const DEFAULTS: [(&str, &str); 2] = [("http.bind", "127.0.0.1:5000"), ("http.max_body", "512KiB")];

/// The address of the admin listener, unless the configuration has one.
pub(crate) const DEFAULT_ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);

/// The error for a configuration without apps.
const NO_APPS: &str = "\
no app is configured, so nothing could be delivered. Name your file with --config or in PUSH_GATEWAY_CONFIG, and add the \
apps that you publish to it, by the app_id with which they register, for example:

  [apps.\"com.example.app.ios\"]
  type = \"apns\"
  topic = \"com.example.app\"
  key_file = \"apns.p8\"
  key_id = \"ABC1234567\"
  team_id = \"DEF1234567\"

  [apps.\"com.example.app.android\"]
  type = \"fcm\"
  service_account_file = \"firebase.json\"";

/// All settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub(crate) http: Http,
    pub(crate) admin: Admin,
    pub(crate) log: Log,
    pub(crate) metrics: Metrics,
    pub(crate) limits: Limits,
    pub(crate) dedup: Dedup,
    pub(crate) routing: Routing,
    pub(crate) endpoints: Endpoints,
    pub(crate) rejection_breaker: RejectionBreaker,
    pub(crate) outbound: Outbound,
    pub(crate) relay: Option<Relay>,
    /// `[apps."pattern"]`, by pattern.
    #[serde(skip)]
    pub(crate) apps: BTreeMap<String, AppSettings>,
    /// The same as written: the keys depend on `type`.
    #[serde(rename = "apps")]
    tables: BTreeMap<String, Value>,
    /// The file and the number of variables that the configuration comes from.
    #[serde(skip)]
    pub(crate) source: String,
    /// Variables that look like settings and are none.
    #[serde(skip)]
    source_notices: Vec<String>,
}

impl Config {
    /// Reads `file`, if any, and the environment; makes paths absolute (those in the file are relative to its folder), and
    /// reads secrets from their files.
    ///
    /// # Errors
    /// [`ConfigErrors`] names every wrong key with its place.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        Self::load_and(file, |_| Vec::new())
    }

    /// As [`Config::load`]; the errors of `check` count too.
    ///
    /// # Errors
    /// Those of [`Config::load`] and of `check`.
    pub(crate) fn load_and(
        file: Option<&Path>,
        check: impl Fn(&Self) -> Vec<ConfigError>,
    ) -> Result<Self, ConfigErrors> {
        source(file)?.complete(|source| {
            let mut config = Self::of(file, source).map_err(|error| vec![error])?;
            config.read_secrets().map_err(|error| vec![error])?;
            let errors = check(&config);
            if errors.is_empty() { Ok(config) } else { Err(errors) }
        })
    }

    /// Like [`Config::load`], but does not read the files that the configuration names.
    ///
    /// # Errors
    /// [`ConfigErrors`] names every wrong key with its place.
    pub(crate) fn parse(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        source(file)?.complete(|source| Self::of(file, source).map_err(|error| vec![error]))
    }

    fn of(file: Option<&Path>, source: &ConfigSource) -> Result<Self, ConfigError> {
        let mut config: Self = source.parse()?;
        (config.source, config.source_notices) = (source.describe(), source.notices());
        let folder = file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        config.resolve(&folder);
        config.check()?;
        for (pattern, table) in std::mem::take(&mut config.tables) {
            let app = read_settings(&pattern, table, &folder)?;
            config.apps.insert(pattern, app);
        }
        if config.apps.is_empty() {
            return Err(ConfigError::Invalid(NO_APPS.to_owned()));
        }
        Ok(config)
    }

    /// Warnings about dangerous settings, one line each.
    pub(crate) fn notices(&self) -> Vec<String> {
        let mut notices = self.source_notices.clone();
        if !self.rejection_breaker.enabled {
            notices.push(
                "[rejection_breaker] enabled is off: a wrong key file can cost every user their notifications"
                    .to_owned(),
            );
        }
        notices.extend(self.http.notices());
        notices.extend(self.outbound.notices());
        if self.admin.bind.is_none() {
            let default = Admin { bind: Some(AdminAddress::Tcp(DEFAULT_ADMIN)) };
            notices.extend(check_addresses(&self.http, &default).err().map(|_| {
                format!(
                    "[http] bind: has the port of {DEFAULT_ADMIN}, the default of [admin] bind, so there is no admin listener; \
                     set [admin] bind to another port"
                )
            }));
        }
        if let Some(relay) = &self.relay {
            notices.extend(relay.notices(self.http.base_path.as_str()));
            notices.extend(relay.file().and_then(|file| exposure_notice("relay.seal_keys_file", file)));
        }
        notices.extend(self.admin.notices());
        for (pattern, app) in &self.apps {
            if pattern.contains("://") || pattern.contains(|c: char| "[]{}/|^$\\".contains(c) || c.is_whitespace()) {
                notices.push(format!(
                    "[apps.\"{pattern}\"]: no app_id is likely to match: only * and ? have a meaning in a pattern; write the \
                     app_id with which the app registers"
                ));
            }
            for (key, file) in app.secret_files() {
                notices.extend(exposure_notice(&format!("apps.\"{pattern}\".{key}"), file));
            }
            let of_app = app.notices().into_iter();
            notices.extend(of_app.map(|(key, text)| format!("[apps.\"{pattern}\"] {key}: {text}")));
            if app.relay.relay && self.relay.is_none() {
                notices.push(format!(
                    "[apps.\"{pattern}\"] relay: has no effect without [relay]; add public_url and seal_keys there"
                ));
            }
        }
        notices
    }

    /// The files whose content the configuration uses, `file` included.
    pub(crate) fn watched_files(&self, file: Option<&Path>) -> Vec<PathBuf> {
        let apps = self.apps.values().flat_map(|settings| settings.watched_files());
        let of_relay = self.relay.iter().filter_map(Relay::file);
        file.into_iter().chain(self.outbound.files()).chain(of_relay).chain(apps).map(Path::to_path_buf).collect()
    }

    /// Completes a parsed configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the key and the file.
    pub(crate) fn read_secrets(&mut self) -> Result<(), ConfigError> {
        self.outbound.read_proxy()?;
        self.relay.as_mut().map_or(Ok(()), Relay::read_keys)
    }

    fn resolve(&mut self, folder: &Path) {
        for path in [&mut self.http.tls_cert_file, &mut self.http.tls_key_file] {
            in_folder(folder, path);
        }
        self.outbound.resolve(folder);
        if let Some(relay) = &mut self.relay {
            in_folder(folder, &mut relay.seal_keys_file);
        }
    }

    fn check(&mut self) -> Result<(), ConfigError> {
        self.http.check()?;
        check_addresses(&self.http, &self.admin)?;
        self.limits.check()?;
        self.relay.as_mut().map_or(Ok(()), Relay::check)?;
        self.rejection_breaker.check()
    }
}

/// A rate limit; an empty text for none.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Limit>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

fn source(file: Option<&Path>) -> Result<ConfigSource, ConfigErrors> {
    let keys = SpecialKeys { defaults: &DEFAULTS, ..SpecialKeys::default() };
    ConfigSource::read(keys, file, ENVIRONMENT_PREFIX)
}

#[cfg(test)]
mod tests;
