//! The settings of the identity server, one file a section or group of small ones.
//!
//! Invariant: every key has a default with which the server starts; [`Config::load`] checks what keys mean together,
//! so that nothing is found wrong after the start.

pub mod database;
pub mod email;
pub mod federation;
pub mod invites;
pub mod legacy_v1;
pub mod limits;
pub mod msisdn;
pub mod outbox;
pub mod rules;
pub mod server;
pub mod sms;
pub mod templates;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::{ConfigError, SpecialKeys, secret};
use shared::http::settings::{Admin, Http};
use shared::outbound::settings::Outbound;
use shared::secret::Secret;
use shared::telemetry::Log;

use self::database::Database;
use self::email::EmailConfig;
use self::federation::{Federation, Registration};
use self::invites::Invites;
use self::legacy_v1::{LegacyV1, Profile};
use self::limits::Limits;
use self::msisdn::MsisdnConfig;
use self::outbox::Outbox;
use self::rules::{Account, Algorithm, Auth, Bind, Lookup, Sessions, TermsSource, Unbind};
use self::server::{Keys, Server};
use self::sms::SmsConfig;
use self::templates::TemplatesConfig;

/// The prefix of environment variables: `IDENTITY__SECTION__KEY`.
pub const ENVIRONMENT_PREFIX: &str = "IDENTITY";

/// Old and new paths of moved keys.
const MOVED: [(&str, &str); 4] = [
    ("federation.extra_ca_file", "outbound.extra_ca_file"),
    ("federation.proxy", "outbound.proxy"),
    ("federation.allow_cidrs", "outbound.allow_cidrs"),
    ("federation.deny_cidrs", "outbound.deny_cidrs"),
];

/// All settings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[http]`
    pub http: Http,
    /// `[admin]`
    pub admin: Admin,
    /// `[log]`
    pub log: Log,
    /// `[database]`
    pub database: Database,
    /// `[keys]`
    pub keys: Keys,
    /// `[auth]`
    pub auth: Auth,
    /// `[account]`
    pub account: Account,
    /// `[registration]`
    pub registration: Registration,
    /// `[terms]`
    pub terms: TermsSource,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[email]`
    pub email: EmailConfig,
    /// `[msisdn]`
    pub msisdn: MsisdnConfig,
    /// `[sms]`
    pub sms: SmsConfig,
    /// `[templates]`
    pub templates: TemplatesConfig,
    /// `[lookup]`
    pub lookup: Lookup,
    /// `[bind]`
    pub bind: Bind,
    /// `[unbind]`
    pub unbind: Unbind,
    /// `[invites]`
    pub invites: Invites,
    /// `[legacy_v1]`
    pub legacy_v1: LegacyV1,
    /// `[outbox]`
    pub outbox: Outbox,
    /// `[outbound]`
    pub outbound: Outbound,
    /// `[federation]`
    pub federation: Federation,
    /// `[limits]`
    pub limits: Limits,
}

impl Config {
    /// Reads `file`, if there is one, and the environment; makes paths absolute (those in the file are relative to
    /// its folder), reads secrets from their files, and fills in what follows from other keys.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let keys = SpecialKeys { moved: &MOVED, ..SpecialKeys::default() };
        let mut config: Self = shared::config::load_special(keys, file, ENVIRONMENT_PREFIX)?;
        let folder = file.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
        config.place(&folder)?;
        config.check()?;
        Ok(config)
    }

    /// What an operator should know of these settings before users depend on them; a line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.server.notices();
        if self.email.transport() == email::Transport::File {
            notices.push("development only: mail is written to files; set [email] host to send it".to_owned());
        }
        notices.extend(self.sms.notices());
        if self.sessions.next_link_hosts.matches("any.example") {
            notices
                .push("any https site may be a next_link; set [sessions] next_link_hosts to your clients".to_owned());
        }
        if !self.federation.tls_verify {
            notices.push(
                "INSECURE: [federation] tls_verify is off, anyone on the way can pose as any homeserver".to_owned(),
            );
        }
        if !self.limits.enabled {
            notices.push("INSECURE: [limits] enabled is off, anyone can send mail and SMS without end".to_owned());
        }
        notices.extend(self.legacy_v1.notice());
        notices
    }

    /// Whether whoever has an invite's token and private key has it signed by v2 without an account. Without the v1
    /// routes the links in mails lead to v2, and the browsers that follow them have no account there.
    pub fn signs_without_account(&self) -> bool {
        self.invites.sign_without_account || self.legacy_v1.profile == Profile::Off
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.server.check()?;
        self.invites.check(self.server.allow_http_base_url)?;
        self.legacy_v1.check(&self.registration)?;
        self.keys.check()?;
        self.email.check()?;
        self.sms.check()?;
        self.outbox.check()?;
        for (is_valid, key, problem) in [
            (!self.http.bind.is_empty(), "http.bind", "expected at least one address"),
            (self.http.max_connections > 0, "http.max_connections", "expected at least 1"),
            (
                self.http.workers != Some(0),
                "http.workers",
                "expected at least 1; remove the key for one worker per core",
            ),
            (self.database.max_connections > 0, "database.max_connections", "expected at least 1"),
            (self.auth.max_tokens_per_user > 0, "auth.max_tokens_per_user", "expected at least 1"),
            (
                // Canonical JSON has no integers for later timestamps.
                self.bind.validity.get().as_secs() <= 73_000_000 * 86_400,
                "bind.validity",
                "expected at most \"73000000d\"",
            ),
            (
                self.lookup.algorithms.as_slice().contains(&Algorithm::Sha256),
                "lookup.algorithms",
                "expected \"sha256\" in the list, because every client uses it; add it",
            ),
        ] {
            if !is_valid {
                return Err(ConfigError::invalid(key, problem));
            }
        }
        Ok(())
    }

    fn place(&mut self, folder: &Path) -> Result<(), ConfigError> {
        let data = match &self.server.data_dir {
            Some(path) => folder.join(path),
            None => shared::config::data_dir("matrix-identity").ok_or_else(|| {
                ConfigError::invalid("server.data_dir", "not set, and the environment names no home folder; set it")
            })?,
        };
        let in_folder = |path: &mut Option<PathBuf>| {
            if let Some(path) = path {
                *path = folder.join(&path);
            }
        };
        for path in [
            &mut self.http.tls_cert_file,
            &mut self.http.tls_key_file,
            &mut self.keys.file,
            &mut self.terms.file,
            &mut self.email.file_dir,
            &mut self.email.password_file,
            &mut self.templates.dir,
            &mut self.database.url_file,
        ] {
            in_folder(path);
        }
        self.keys.file.get_or_insert_with(|| data.join("signing.key"));
        self.email.file_dir.get_or_insert_with(|| data.join("mail"));
        self.email.password =
            secret("email.password", self.email.password.as_ref(), self.email.password_file.take().as_deref())?;
        let url = secret("database.url", self.database.url.as_ref(), self.database.url_file.take().as_deref())?;
        self.database.url = Some(match url {
            Some(url) => url,
            None => Secret::new(format!("sqlite://{}", data.join("identity.db").display())),
        });
        self.outbound.resolve(folder)?;
        self.sms.place(folder, &data)?;
        self.database.place(folder);
        self.server.data_dir = Some(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Config;

    fn load(toml: &str) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        Config::load(Some(file.path())).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_that_moved_to_outbound_are_errors_that_name_it() {
        for key in ["extra_ca_file", "proxy", "allow_cidrs", "deny_cidrs"] {
            let error = load(&format!("[federation]\n{key} = '127.0.0.1'\n")).unwrap_err();
            assert_eq!(error, format!("[federation] {key}: moved; write [outbound] {key}"));
        }
        let config = load("[outbound]\nproxy = 'http://proxy.example:3128'\nallow_cidrs = '10.0.0.0/8'\n").unwrap();
        assert!(config.outbound.proxy.is_some());
    }

    #[test]
    fn sha256_is_always_offered() {
        for (algorithms, is_right) in
            [("[\"sha256\"]", true), ("[\"none\", \"sha256\"]", true), ("[\"none\"]", false), ("[]", false)]
        {
            let config = load(&format!("[server]\ndata_dir = \"data\"\n[lookup]\nalgorithms = {algorithms}\n"));
            assert_eq!(config.is_ok(), is_right, "{algorithms}");
            assert!(config.err().is_none_or(|error| error.contains("[lookup] algorithms")), "{algorithms}");
        }
    }
}
