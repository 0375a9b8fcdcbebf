//! `[email]`: whether mail is sent, through which transport, and from which sender.
//!
//! Invariant: no key turns certificate verification off.

mod relay;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::{ConfigError, Globs, HumanDuration, OneOrMany, secret};
use shared::secret::Secret;

pub use self::relay::{AuthKind, Login, Proof, Relay, TlsMode, TokenSource};

/// The section `[email]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawEmail {
    pub enabled: bool,
    /// Domains that receive mail; empty: all.
    pub allow_domains: Globs,
    /// Domains that receive no mail; overrides `allow_domains`.
    pub deny_domains: Globs,
    /// Default: SMTP if `host` is set, else files.
    #[serde(deserialize_with = "shared::config::optional_word")]
    pub transport: Option<TransportKind>,
    /// The folder of `transport = "file"`. Default: `mail` in the data folder.
    pub file_dir: Option<PathBuf>,
    /// The sender, `address` or `Name <address>`. Default: `Matrix <noreply@<server name>>`.
    pub from: Option<String>,
    /// The relay's host name or address.
    pub host: Option<String>,
    pub port: u16,
    #[serde(deserialize_with = "shared::config::word")]
    pub tls: TlsMode,
    #[serde(deserialize_with = "shared::config::word")]
    pub auth: AuthKind,
    /// The user name at the relay; unset or empty: no authentication.
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    /// A file with the access token of `auth = "xoauth2"`.
    pub token_file: Option<PathBuf>,
    /// A program, with its arguments, that prints the access token.
    pub token_command: OneOrMany<String>,
    /// The name in EHLO. Default: the host of `[server] public_base_url`, or the machine's name without one.
    pub helo_name: Option<String>,
    pub timeout: HumanDuration,
    pub retry_after: HumanDuration,
    pub confirm_click: bool,
}

/// The word in `[email] transport`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TransportKind {
    Smtp,
    File,
}

/// The section `[email]`, complete.
#[derive(Clone, Debug)]
pub struct EmailConfig {
    allow_domains: Globs,
    deny_domains: Globs,
    pub transport: Transport,
    /// The sender, `address` or `Name <address>`. Default: `Matrix <noreply@<server name>>`.
    pub from: Option<String>,
    /// The limit for connecting and authenticating, and again for sending one mail.
    pub timeout: HumanDuration,
    /// The backoff after the first SMTP reply 4xx; it doubles with each attempt, up to an hour.
    pub retry_after: HumanDuration,
    /// Whether the link in a mail shows a form that the user submits to validate.
    pub confirm_click: bool,
}

/// Where mail goes.
#[derive(Clone, Debug)]
pub enum Transport {
    /// `enabled = false`: every request for a mail is rejected.
    Disabled,
    /// To a relay by SMTP.
    Smtp(Relay),
    /// Into this folder, one `.eml` file for each mail; for development only.
    File(PathBuf),
}

impl Default for RawEmail {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_domains: Globs::default(),
            deny_domains: Globs::default(),
            transport: None,
            file_dir: None,
            from: None,
            host: None,
            port: 25,
            tls: TlsMode::Starttls,
            auth: AuthKind::Password,
            username: None,
            password: None,
            password_file: None,
            token_file: None,
            token_command: OneOrMany::default(),
            helo_name: None,
            timeout: HumanDuration::from_secs(10),
            retry_after: HumanDuration::from_secs(60),
            confirm_click: true,
        }
    }
}

impl RawEmail {
    /// Reads the password's file, resolves paths and checks the keys against each other. `public_host` is the host of
    /// `[server] public_base_url`.
    pub(crate) fn complete(
        mut self,
        base: &Path,
        data_dir: &Path,
        public_host: Option<&str>,
    ) -> Result<EmailConfig, ConfigError> {
        if self.retry_after < HumanDuration::from_secs(1) {
            return Err(ConfigError::invalid("email.retry_after", "expected at least \"1s\""));
        }
        if self.timeout.get().is_zero() {
            return Err(ConfigError::invalid("email.timeout", "expected more than 0, such as \"10s\""));
        }
        let password_file = self.password_file.take().map(|file| base.join(file));
        let password = secret("email.password", self.password.as_ref(), password_file.as_deref())?;
        let kind =
            self.transport.unwrap_or(if self.host.is_some() { TransportKind::Smtp } else { TransportKind::File });
        let transport = match kind {
            _ if !self.enabled => Transport::Disabled,
            TransportKind::Smtp => Transport::Smtp(self.relay(password, base, public_host)?),
            TransportKind::File => Transport::File(match &self.file_dir {
                Some(folder) => base.join(folder),
                None => data_dir.join("mail"),
            }),
        };
        Ok(EmailConfig {
            allow_domains: self.allow_domains,
            deny_domains: self.deny_domains,
            transport,
            from: self.from,
            timeout: self.timeout,
            retry_after: self.retry_after,
            confirm_click: self.confirm_click,
        })
    }
}

impl EmailConfig {
    /// Whether mail is sent at all.
    pub fn is_enabled(&self) -> bool {
        !matches!(self.transport, Transport::Disabled)
    }

    /// Checks that the source of an access token exists: it is first read when a mail is sent.
    ///
    /// # Errors
    /// [`ConfigError`] for a missing file or program.
    pub fn check_token_source(&self) -> Result<(), ConfigError> {
        match &self.transport {
            Transport::Smtp(Relay { login: Some(Login { proof: Proof::Token(source), .. }), .. }) => source.check(),
            Transport::Smtp(_) | Transport::File(_) | Transport::Disabled => Ok(()),
        }
    }

    /// What an operator should know of the relay before users depend on it.
    pub(super) fn notices(&self) -> Vec<String> {
        match &self.transport {
            Transport::Smtp(relay) => relay.notices(),
            Transport::File(_) => {
                vec!["development only: mail is written to files; set [email] host to send it".to_owned()]
            }
            Transport::Disabled => Vec::new(),
        }
    }

    /// Whether the domain of `address` may receive mail. Patterns match the domain as written, in A-labels or in
    /// U-labels.
    pub fn permits(&self, address: &str) -> bool {
        let domain = address.rsplit_once('@').map_or(address, |(_, domain)| domain);
        let ascii = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
        let (unicode, _) = idna::domain_to_unicode(domain);
        let matches = |globs: &Globs| [domain, &ascii, &unicode].into_iter().any(|form| globs.matches(form));
        !matches(&self.deny_domains) && (self.allow_domains.is_empty() || matches(&self.allow_domains))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;

    use shared::config::ConfigError;

    use super::{EmailConfig, RawEmail, TlsMode, Transport};

    pub(super) fn load(toml: &str) -> Result<EmailConfig, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let raw: RawEmail = shared::config::load(Some(file.path()), "IDENTITY_EMAIL_TEST")?;
        raw.complete(Path::new("/etc"), Path::new("/data"), Some("id.example.org"))
    }

    #[test]
    fn mail_is_written_to_files_until_a_host_is_set_and_then_tls_is_required() {
        let config = load("").unwrap();
        assert!(config.is_enabled() && config.confirm_click);
        assert!(matches!(config.transport, Transport::File(folder) if folder == Path::new("/data/mail")));
        let Transport::Smtp(relay) = load("host = 'mx.example.org'").unwrap().transport else { panic!("no relay") };
        assert_eq!((relay.host.as_str(), relay.tls, relay.port), ("mx.example.org", TlsMode::Starttls, 25));
        let file = load("host = 'mx.example.org'\ntransport = 'file'\nfile_dir = 'x'").unwrap().transport;
        assert!(matches!(file, Transport::File(folder) if folder == Path::new("/etc/x")));
        assert!(!load("enabled = false\nhost = 'mx.example.org'").unwrap().is_enabled());
    }

    #[test]
    fn an_unknown_key_and_a_tls_mode_that_falls_back_are_rejected() {
        assert!(matches!(load("tls = 'opportunistic'"), Err(ConfigError::Invalid(_))));
        assert!(load("hots = 'x'").unwrap_err().to_string().contains("did you mean"));
    }

    #[test]
    fn a_relay_needs_a_host_a_whole_login_and_a_host_name_for_ehlo() {
        for (toml, problem) in [
            ("transport = 'smtp'", "[email] host: not set"),
            ("host = '[]'", "[email] host: not set"),
            ("host = 'x'\nusername = 'u'", "[email] password: not set"),
            ("host = 'x'\npassword = 'p'", "[email] username: not set"),
            ("host = 'x'\nhelo_name = \"a\\r\\nMAIL\"", "[email] helo_name: expected"),
            ("host = 'x'\nusername = 'u'\npassword_file = '/nonexistent/p'", "[email] password_file: cannot read"),
        ] {
            let error = load(toml).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{toml}: {error}");
        }
        let Transport::Smtp(relay) = load("host = '[::1]'").unwrap().transport else { panic!("no relay") };
        assert_eq!((relay.host.as_str(), relay.helo_name.as_deref()), ("::1", Some("id.example.org")));
        assert!(!load("enabled = false\ntransport = 'smtp'").unwrap().is_enabled());
    }

    #[test]
    fn the_backoff_is_at_least_a_second() {
        assert_eq!(load("").unwrap().retry_after.get().as_secs(), 60);
        for (backoff, is_valid) in [("1s", true), ("5m", true), ("999ms", false), ("0", false)] {
            assert_eq!(load(&format!("retry_after = '{backoff}'")).is_ok(), is_valid, "{backoff}");
        }
    }

    #[test]
    fn debug_output_hides_the_password() {
        let config = load("host = 'x'\nusername = 'u'\npassword = 'hunter2'").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn denied_domains_override_allowed_domains() {
        let config =
            load("allow_domains = ['example.org', '*.example.org']\ndeny_domains = ['bad.example.org']").unwrap();
        for (address, is_permitted) in [
            ("a@example.org", true),
            ("a@EXAMPLE.org", true),
            ("a@mail.example.org", true),
            ("a@bad.example.org", false),
            ("a@example.com", false),
            ("example.org@evil.example", false),
        ] {
            assert_eq!(config.permits(address), is_permitted, "{address}");
        }
        assert!(load("").unwrap().permits("a@b"));
    }

    #[test]
    fn an_international_domain_matches_in_both_forms() {
        for pattern in ["bücher.example", "xn--bcher-kva.example"] {
            let config = load(&format!("deny_domains = ['{pattern}']")).unwrap();
            assert!(!config.permits("a@xn--bcher-kva.example"), "{pattern}");
            assert!(!config.permits("a@bücher.example"), "{pattern}");
        }
    }
}
