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

mod placeholders;
mod raw;

use std::path::Path;

use shared::config::{ConfigError, exposure_notice};
use shared::http::settings::{Admin, Http};
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
}

impl Config {
    /// Reads the TOML `file`, if given, the environment over it, and the files of secrets. Relative paths start at the
    /// folder of `file`.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
        Self::complete(RawConfig::read(file)?, base)
    }

    fn complete(raw: RawConfig, base: &Path) -> Result<Self, ConfigError> {
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
        })
    }

    /// What an operator should know of this configuration before users depend on it; one line each.
    pub fn notices(&self) -> Vec<String> {
        let mut notices = self.server.notices();
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
        notices.extend(self.http.notices());
        notices
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
            assert_eq!(error, format!("[federation] {key}: moved; write [outbound] {key}"));
        }
        let config = load("[outbound]\nproxy = 'http://proxy.example:3128'\nallow_cidrs = '10.0.0.0/8'\n").unwrap();
        assert!(config.outbound.proxy.is_some());
    }
}
