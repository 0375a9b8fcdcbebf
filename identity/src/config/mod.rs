//! The configuration: one file for each section, or for a group of small ones.
//!
//! Invariant: a [`Config`] is complete. Its paths are resolved, its defaults applied, its secrets read, and its keys
//! checked against each other, so that a configuration error never appears after the start.

pub mod database;
pub mod email;
pub mod federation;
pub mod invites;
pub mod legacy_v1;
pub mod limits;
pub mod msisdn;
pub mod operator;
pub mod outbox;
pub mod rules;
pub mod server;
pub mod sms;
pub mod templates;
pub mod terms;

mod notices;
mod patterns;
mod placeholders;
mod raw;
mod reload;

use std::path::{Path, PathBuf};

use shared::config::{ConfigError, ConfigErrors, ConfigSource};
use shared::http::settings::{self as http, Admin, Http};
use shared::outbound::settings::Outbound;
use shared::telemetry::Log;

use self::database::Database;
use self::email::EmailConfig;
use self::federation::{Federation, Registration};
use self::invites::Invites;
use self::legacy_v1::{LegacyV1, Profile};
use self::limits::Limits;
use self::msisdn::MsisdnConfig;
use self::outbox::Outbox;
use self::patterns::Names;
pub use self::raw::{ENVIRONMENT_PREFIX, RawConfig};
use self::rules::{Account, Auth, Bind, Lookup, Sessions, Unbind};
use self::server::{Keys, Server};
use self::sms::SmsConfig;
use self::templates::TemplatesConfig;
use self::terms::TermsSource;
use crate::domain::next_link::NextLinkRule;

/// The complete configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub server: Server,
    pub http: Http,
    pub admin: Admin,
    pub log: Log,
    pub database: Database,
    pub keys: Keys,
    pub auth: Auth,
    pub account: Account,
    pub registration: Registration,
    pub terms: TermsSource,
    pub sessions: Sessions,
    pub email: EmailConfig,
    pub msisdn: MsisdnConfig,
    pub sms: SmsConfig,
    pub templates: TemplatesConfig,
    pub lookup: Lookup,
    pub bind: Bind,
    pub unbind: Unbind,
    pub invites: Invites,
    pub legacy_v1: LegacyV1,
    pub outbox: Outbox,
    pub outbound: Outbound,
    pub federation: Federation,
    pub limits: Limits,
    source: Source,
}

/// Where the configuration comes from.
#[derive(Clone, Debug)]
struct Source {
    file: Option<PathBuf>,
    description: String,
    /// The files that keys name, with the dotted paths of these.
    named_files: Vec<(String, PathBuf)>,
    notices: Vec<String>,
}

impl Config {
    /// Reads the TOML `file`, if given, the environment over it, and the files of secrets. Relative paths start at the
    /// folder of `file`.
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
    pub fn load_and(file: Option<&Path>, check: impl Fn(&Self) -> Vec<ConfigError>) -> Result<Self, ConfigErrors> {
        RawConfig::source(file)?.complete(|source| {
            let config = Self::of(file, source).map_err(|error| vec![error])?;
            let errors = check(&config);
            if errors.is_empty() { Ok(config) } else { Err(errors) }
        })
    }

    /// As [`Config::load`], with the keys of the database and the signing keys alone; all others have their defaults. For
    /// commands that an administrator runs without access to the other secrets.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_stored(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        const PATHS: [&str; 5] = ["server.data_dir", "database", "keys", "log", "outbound.extra_ca_file"];
        let source = RawConfig::source(file)?.only(&PATHS);
        source.complete(|source| Self::of(file, source).map_err(|error| vec![error]))
    }

    /// As [`Config::load_stored`], with the signing keys alone.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_keys(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        let source = RawConfig::source(file)?.only(&["server.data_dir", "keys"]);
        source.complete(|source| Self::of(file, source).map_err(|error| vec![error]))
    }

    /// As [`Config::load_stored`], with the settings that templates use.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_templates(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        const PATHS: [&str; 8] = [
            "server",
            "templates",
            "invites",
            "sessions",
            "sms.body_template",
            "sms.token_digits",
            "email.from",
            "log",
        ];
        let source = RawConfig::source(file)?.only(&PATHS);
        source.complete(|source| Self::of(file, source).map_err(|error| vec![error]))
    }

    fn of(file: Option<&Path>, source: &ConfigSource) -> Result<Self, ConfigError> {
        let raw = source.parse()?;
        let source = Source {
            file: file.map(Path::to_path_buf),
            description: source.describe(),
            named_files: source.named_files(),
            notices: source.notices(),
        };
        Self::complete(raw, source)
    }

    fn complete(raw: RawConfig, source: Source) -> Result<Self, ConfigError> {
        let base = source.file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_path_buf();
        let base = base.as_path();
        check_patterns(&raw)?;
        http::check_addresses(&raw.http, &raw.admin)?;
        let server = raw.server.complete(base)?;
        raw.invites.check(server.allow_http_base_url)?;
        raw.legacy_v1.check(&raw.registration)?;
        raw.outbox.check()?;
        raw.auth.check()?;
        raw.lookup.check()?;
        raw.bind.check()?;
        raw.sessions.check()?;
        raw.federation.check()?;
        let data_dir = &server.data_dir;
        let mut outbound = raw.outbound;
        outbound.resolve(base);
        outbound.read_proxy()?;
        outbound.check_extra_ca()?;
        Ok(Self {
            http: complete_http(raw.http, base)?,
            admin: raw.admin,
            log: raw.log,
            database: raw.database.complete(base, data_dir)?,
            keys: raw.keys.complete(base, data_dir)?,
            auth: raw.auth,
            account: raw.account,
            registration: raw.registration,
            terms: raw.terms.complete(base)?,
            sessions: raw.sessions,
            email: raw.email.complete(base, data_dir, server.public_host().as_deref())?,
            msisdn: raw.msisdn,
            sms: raw.sms.complete(base, data_dir)?,
            templates: raw.templates.complete(base, &server.operator),
            lookup: raw.lookup,
            bind: raw.bind,
            unbind: raw.unbind,
            invites: raw.invites,
            legacy_v1: raw.legacy_v1,
            outbox: raw.outbox,
            outbound,
            federation: raw.federation,
            limits: raw.limits,
            server,
            source,
        })
    }

    /// The file and the number of variables that the configuration comes from.
    pub fn describe_source(&self) -> &str {
        &self.source.description
    }

    /// Whether v2 `sign-ed25519` needs no account. Without the v1 routes the links in mails lead to v2, and the browsers
    /// that follow them have no account.
    pub fn signs_without_account(&self) -> bool {
        self.invites.sign_without_account || self.legacy_v1.profile == Profile::Off
    }

    /// Which values of `next_link` are valid.
    pub fn next_link_rule(&self) -> NextLinkRule {
        NextLinkRule {
            hosts: self.sessions.next_link_hosts.clone(),
            allow_http_to_loopback: self.server.allow_http_base_url,
        }
    }
}

fn check_patterns(raw: &RawConfig) -> Result<(), ConfigError> {
    for (key, globs, names) in [
        ("registration.allow_servers", &raw.registration.allow_servers, Names::Servers),
        ("registration.deny_servers", &raw.registration.deny_servers, Names::Servers),
        ("registration.deny_users", &raw.registration.deny_users, Names::Users),
        ("bind.allow_servers", &raw.bind.allow_servers, Names::Servers),
        ("invites.allow_senders", &raw.invites.allow_senders, Names::Users),
        ("invites.blocked_homeservers", &raw.invites.blocked_homeservers, Names::Servers),
        ("invites.blocked_rooms", &raw.invites.blocked_rooms, Names::Rooms),
        ("limits.large_homeservers", &raw.limits.large_homeservers, Names::Servers),
        ("sessions.next_link_hosts", &raw.sessions.next_link_hosts, Names::Hosts),
        ("email.allow_domains", &raw.email.allow_domains, Names::Hosts),
        ("email.deny_domains", &raw.email.deny_domains, Names::Hosts),
    ] {
        patterns::check(key, globs, names)?;
    }
    Ok(())
}

fn complete_http(mut http: Http, base: &Path) -> Result<Http, ConfigError> {
    http.check()?;
    for file in [&mut http.tls_cert_file, &mut http.tls_key_file] {
        *file = file.take().map(|file| base.join(file));
    }
    Ok(http)
}

#[cfg(test)]
mod tests {
    use super::Config;

    fn load(toml: &str) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[server]\ndata_dir = 'data'\n{toml}")).unwrap();
        Config::load(Some(file.path())).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_that_moved_to_outbound_are_errors_that_name_it() {
        for key in ["extra_ca_file", "proxy", "allow_cidrs", "deny_cidrs"] {
            let error = load(&format!("[federation]\n{key} = '127.0.0.1'\n")).unwrap_err();
            assert!(error.ends_with(&format!(":4: [federation] {key}: moved; write [outbound] {key}")), "{error}");
        }
        let config = load("[outbound]\nproxy = 'http://proxy.example:3128'\nallow_cidrs = '10.0.0.0/8'\n").unwrap();
        assert!(config.outbound.proxy.is_some());
    }
}
