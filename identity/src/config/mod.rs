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

mod patterns;
mod placeholders;
mod raw;
mod reload;

use std::path::{Path, PathBuf};

use shared::config::{ConfigError, ConfigErrors, ConfigSource, exposure_notice};
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

/// The keys of files without a secret, or with notices of their own.
const PUBLIC_FILES: [&str; 6] =
    ["http.tls_cert_file", "http.tls_key_file", "outbound.extra_ca_file", "terms.file", "keys.file", "sms.log.file"];

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
        Self::load_and(file, |_| Ok(()))
    }

    /// As [`Config::load`]; the errors of `check` count too.
    ///
    /// # Errors
    /// Those of [`Config::load`] and of `check`.
    pub fn load_and(
        file: Option<&Path>,
        check: impl Fn(&Self) -> Result<(), ConfigError>,
    ) -> Result<Self, ConfigErrors> {
        RawConfig::source(file)?.complete(|source| {
            let config = Self::of(file, source)?;
            check(&config)?;
            Ok(config)
        })
    }

    /// As [`Config::load`], with the keys of the database and the signing keys alone; all others have their defaults. For
    /// commands that an administrator runs without access to the other secrets.
    ///
    /// # Errors
    /// Those of [`Config::load`].
    pub fn load_stored(file: Option<&Path>) -> Result<Self, ConfigErrors> {
        const PATHS: [&str; 5] = ["server.data_dir", "database", "keys", "log", "outbound.extra_ca_file"];
        RawConfig::source(file)?.only(&PATHS).complete(|source| Self::of(file, source))
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
        let data_dir = &server.data_dir;
        let mut outbound = raw.outbound;
        outbound.resolve(base);
        outbound.read_proxy()?;
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

    /// What an operator should know of this configuration before users depend on it; one line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.source.notices.clone();
        notices.extend(self.server.notices());
        // Profile "full" has a notice of its own, and no registration.
        if self.legacy_v1.profile != Profile::Full {
            notices.extend(self.registration.notice());
        }
        notices.extend(self.lookup.notice());
        let public_host = self.server.public_host().filter(|_| !self.server.allow_http_base_url);
        notices.extend(self.invites.notice(public_host.as_deref()));
        notices.extend(self.admin.notices());
        notices.extend(self.proxy_notice());
        notices.extend(self.email.notices());
        notices.extend(self.sms.notices());
        if self.sms.sends() && self.sms.timeout >= self.http.shutdown_timeout {
            notices.push(
                "[sms] timeout is not shorter than [http] shutdown_timeout: a stop may interrupt an SMS, whose result is \
                 unknown then; shorten it"
                    .to_owned(),
            );
        }
        if self.sessions.next_link_hosts.matches("any.example") {
            notices.push(
                "every https site is allowed as next_link; set [sessions] next_link_hosts to the hosts of your clients"
                    .to_owned(),
            );
        }
        if !self.federation.tls_verify {
            notices.push(
                "INSECURE: [federation] tls_verify is off: anyone on the network path can impersonate any homeserver"
                    .to_owned(),
            );
        }
        if !self.limits.enabled {
            notices.push("INSECURE: [limits] enabled is off: clients can send mail and SMS without limit".to_owned());
        }
        notices.extend(self.legacy_v1.notice());
        notices.extend(exposure_notice("keys.file", &self.keys.file));
        for (key, file) in &self.source.named_files {
            if !PUBLIC_FILES.contains(&key.as_str()) {
                notices.extend(exposure_notice(key, file));
            }
        }
        notices.extend(self.http.notices());
        notices
    }

    /// A listener on this machine alone is reached through a reverse proxy, unless the server is tried on one machine.
    fn proxy_notice(&self) -> Option<String> {
        let http = &self.http;
        let is_behind_proxy = http.bind.as_slice().iter().all(|address| address.ip().is_loopback());
        let is_public = self.server.public_host().is_some() && !self.server.allow_http_base_url;
        (is_behind_proxy && is_public && http.trusted_proxies.is_empty()).then(|| {
            "[http] trusted_proxies is empty: all clients behind your reverse proxy share one limit; set it to the address \
             of the proxy, such as [\"127.0.0.1\"]"
                .to_owned()
        })
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
    for (is_valid, key, problem) in [
        (!http.bind.is_empty(), "http.bind", "expected at least one address"),
        (http.max_connections > 0, "http.max_connections", "expected at least 1"),
        (http.workers != Some(0), "http.workers", "expected at least 1; remove the key for one worker per core"),
    ] {
        if !is_valid {
            return Err(ConfigError::invalid(key, problem));
        }
    }
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
