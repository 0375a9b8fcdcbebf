//! The settings of the push gateway, one file a section or group of small ones.
//!
//! Invariant: every key but the apps has a default with which the server starts; [`Config::load`] checks what keys mean
//! together, so that nothing but the contents of key files is found wrong after it.

pub(crate) mod app;
pub(crate) mod limits;
pub(crate) mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use shared::config::{ConfigError, SpecialKeys};
use shared::http::settings::{Admin, Http};
use shared::outbound::settings::Outbound;
use shared::telemetry::Log;

use self::app::AppSettings;
use self::limits::Limits;
use self::rules::{Dedup, Metrics, RejectionBreaker, Routing};

/// The prefix of environment variables: `PUSH_GATEWAY__SECTION__KEY`.
pub(crate) const ENVIRONMENT_PREFIX: &str = "PUSH_GATEWAY";

/// What this service has otherwise than the other one; here, because a section that is there has the defaults of its type.
const DEFAULTS: [(&str, &str); 2] = [("http.bind", "127.0.0.1:5000"), ("http.max_body", "512KiB")];

/// What is missing if no app is configured.
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
    /// `[http]`
    pub(crate) http: Http,
    /// `[admin]`
    pub(crate) admin: Admin,
    /// `[log]`
    pub(crate) log: Log,
    /// `[metrics]`
    pub(crate) metrics: Metrics,
    /// `[limits]`
    pub(crate) limits: Limits,
    /// `[dedup]`
    pub(crate) dedup: Dedup,
    /// `[routing]`
    pub(crate) routing: Routing,
    /// `[rejection_breaker]`
    pub(crate) rejection_breaker: RejectionBreaker,
    /// `[outbound]`
    pub(crate) outbound: Outbound,
    /// `[apps."pattern"]`, by pattern.
    #[serde(skip)]
    pub(crate) apps: BTreeMap<String, AppSettings>,
    /// The same as they were written: what they may hold depends on their `type`.
    #[serde(rename = "apps")]
    tables: BTreeMap<String, Value>,
}

impl Config {
    /// Reads `file`, if there is one, and the environment; makes paths absolute (those in the file are relative to
    /// its folder), and reads secrets from their files.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let keys = SpecialKeys { defaults: &DEFAULTS, ..SpecialKeys::default() };
        let mut config: Self = shared::config::load_special(keys, file, ENVIRONMENT_PREFIX)?;
        let folder = file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        config.place(&folder)?;
        config.check()?;
        for (pattern, table) in std::mem::take(&mut config.tables) {
            let app = AppSettings::read(&pattern, table, &folder)?;
            config.apps.insert(pattern, app);
        }
        if config.apps.is_empty() {
            return Err(ConfigError::Invalid(NO_APPS.to_owned()));
        }
        Ok(config)
    }

    /// What an operator should know of these settings before users depend on them; a line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if !self.rejection_breaker.enabled {
            notices.push(
                "[rejection_breaker] enabled is off: a wrong key file can cost every user their notifications"
                    .to_owned(),
            );
        }
        notices
    }

    fn place(&mut self, folder: &Path) -> Result<(), ConfigError> {
        for path in [&mut self.http.tls_cert_file, &mut self.http.tls_key_file] {
            in_folder(folder, path);
        }
        self.outbound.resolve(folder)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError::Invalid(text.to_owned()));
        if self.http.bind.is_empty() {
            return wrong("[http] bind: expected at least one address");
        }
        self.limits.check()?;
        self.rejection_breaker.check()
    }
}

/// Takes a relative path as relative to the folder of the configuration file.
fn in_folder(folder: &Path, path: &mut Option<PathBuf>) {
    if let Some(path) = path {
        *path = folder.join(&path);
    }
}

#[cfg(test)]
mod tests;
