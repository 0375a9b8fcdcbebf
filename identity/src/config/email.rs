//! `[email]`: whether mail is sent, through which transport, and from which sender.
//!
//! Invariant: no key turns certificate verification off.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::{ConfigError, Globs, HumanDuration, secret};
use shared::secret::Secret;

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
    /// The user name at the relay; unset: no authentication.
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
    /// The name in EHLO. Default: the machine's name.
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

/// How the connection to the relay is protected. No mode falls back to a weaker one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// Plain text; for a relay on the same machine.
    None,
    /// STARTTLS, required (RFC 3207).
    Starttls,
    /// TLS from the first byte (RFC 8314).
    Tls,
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

/// An SMTP relay.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The host name or address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub login: Option<Login>,
    /// The name in EHLO. Default: the machine's name.
    pub helo_name: Option<String>,
}

/// The user name and password at a relay.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub password: Secret<String>,
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
            username: None,
            password: None,
            password_file: None,
            helo_name: None,
            timeout: HumanDuration::from_secs(10),
            retry_after: HumanDuration::from_secs(60),
            confirm_click: false,
        }
    }
}

impl RawEmail {
    /// Reads the password's file, resolves paths and checks the keys against each other.
    pub(crate) fn complete(mut self, base: &Path, data_dir: &Path) -> Result<EmailConfig, ConfigError> {
        if self.retry_after < HumanDuration::from_secs(1) {
            return Err(ConfigError::invalid("email.retry_after", "expected at least \"1s\""));
        }
        let password_file = self.password_file.take().map(|file| base.join(file));
        let password = secret("email.password", self.password.as_ref(), password_file.as_deref())?;
        let kind =
            self.transport.unwrap_or(if self.host.is_some() { TransportKind::Smtp } else { TransportKind::File });
        let transport = match kind {
            _ if !self.enabled => Transport::Disabled,
            TransportKind::Smtp => Transport::Smtp(self.relay(password)?),
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

    fn relay(&self, password: Option<Secret<String>>) -> Result<Relay, ConfigError> {
        // A URL writes an IPv6 address as [::1]; the resolver expects it without brackets.
        let host = self.host.as_deref().map(|host| host.trim_matches(['[', ']'])).filter(|host| !host.is_empty());
        let Some(host) = host else {
            return Err(ConfigError::invalid(
                "email.host",
                "not set, but transport is \"smtp\"; set it, or set transport = \"file\"",
            ));
        };
        let login = match (&self.username, password) {
            (Some(username), Some(password)) => Some(Login { username: username.clone(), password }),
            (None, None) => None,
            (Some(_), None) => {
                return Err(ConfigError::invalid("email.password", "not set, but [email] username is; set both"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::invalid("email.username", "not set, but [email] password is; set both"));
            }
        };
        if self.helo_name.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ConfigError::invalid("email.helo_name", "expected a host name such as \"id.example.org\""));
        }
        Ok(Relay { host: host.to_owned(), port: self.port, tls: self.tls, login, helo_name: self.helo_name.clone() })
    }
}

impl EmailConfig {
    /// Whether mail is sent at all.
    pub fn is_enabled(&self) -> bool {
        !matches!(self.transport, Transport::Disabled)
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

    fn load(toml: &str) -> Result<EmailConfig, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let raw: RawEmail = shared::config::load(Some(file.path()), "IDENTITY_EMAIL_TEST")?;
        raw.complete(Path::new("/etc"), Path::new("/data"))
    }

    #[test]
    fn mail_is_written_to_files_until_a_host_is_set_and_then_tls_is_required() {
        let config = load("").unwrap();
        assert!(config.is_enabled() && !config.confirm_click);
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
        assert_eq!(relay.host, "::1");
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
