//! `[email]`: whether, through what and in whose name mail leaves.
//!
//! Invariant: no setting here can turn certificate verification off.

use std::path::PathBuf;

use serde::Deserialize;
use shared::config::{ConfigError, Globs, HumanDuration};
use shared::secret::Secret;

/// The section `[email]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmailConfig {
    /// Whether mail is sent at all; if not, every request for one is refused.
    pub enabled: bool,
    /// Domains that may get mail; empty for all.
    pub allow_domains: Globs,
    /// Domains that get none; wins over `allow_domains`.
    pub deny_domains: Globs,
    /// The way out; [`EmailConfig::transport`] says what applies when absent.
    #[serde(deserialize_with = "shared::config::optional_word")]
    pub transport: Option<Transport>,
    /// Where `transport = "file"` writes; `mail` in the data folder by default.
    pub file_dir: Option<PathBuf>,
    /// The sender, `address` or `Name <address>`; `Matrix <noreply@<server name>>` by default.
    pub from: Option<String>,
    /// The relay's host name or address.
    pub host: Option<String>,
    /// The relay's port.
    pub port: u16,
    /// How the connection to the relay is protected.
    #[serde(deserialize_with = "shared::config::word")]
    pub tls: TlsMode,
    /// The name to log in with; absent for no login.
    pub username: Option<String>,
    /// The password that belongs to `username`.
    pub password: Option<Secret<String>>,
    /// A file with that password.
    pub password_file: Option<PathBuf>,
    /// What we call ourselves in EHLO; the machine's name by default.
    pub helo_name: Option<String>,
    /// How long connecting with login, and then handing over one mail, may each take.
    pub timeout: HumanDuration,
    /// The pause before a mail that the relay has put off (SMTP 4xx) is tried again; it doubles with each further try, up
    /// to an hour. At least a second.
    pub retry_after: HumanDuration,
    /// Whether the link in a mail shows a form that has to be sent before it validates.
    pub confirm_click: bool,
}

/// Where mails go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// To a relay by SMTP.
    Smtp,
    /// Into a folder, one `.eml` file each; for development only.
    File,
}

/// How the connection to the relay is protected. There is no mode that tries one and takes the other.
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

impl Default for EmailConfig {
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

impl EmailConfig {
    /// The transport that applies: the one given, else SMTP once there is a host, else files.
    pub fn transport(&self) -> Transport {
        self.transport.unwrap_or(if self.host.is_some() { Transport::Smtp } else { Transport::File })
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.retry_after < HumanDuration::from_secs(1) {
            return Err(ConfigError::invalid("email.retry_after", "expected at least \"1s\""));
        }
        Ok(())
    }

    /// Whether the domain of `address` may get mail. A domain is compared as written, in A-labels and in U-labels.
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

    use super::{EmailConfig, TlsMode, Transport};

    fn load(toml: &str) -> Result<EmailConfig, shared::config::ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        shared::config::load(Some(file.path()), "IDENTITY_EMAIL_TEST")
    }

    #[test]
    fn without_settings_mail_goes_into_files_and_tls_is_required_once_there_is_a_host() {
        let config = load("").unwrap();
        assert!(config.enabled && !config.confirm_click);
        assert_eq!((config.transport(), config.tls, config.port), (Transport::File, TlsMode::Starttls, 25));
        assert_eq!(load("host = 'mx.example.org'").unwrap().transport(), Transport::Smtp);
        assert_eq!(load("host = 'mx.example.org'\ntransport = 'file'").unwrap().transport(), Transport::File);
    }

    #[test]
    fn an_unknown_key_or_a_mode_that_falls_back_is_refused() {
        assert!(load("tls = 'opportunistic'").is_err());
        assert!(load("hots = 'x'").unwrap_err().to_string().contains("did you mean [host]?"));
    }

    #[test]
    fn a_relay_that_asks_for_patience_is_not_pestered() {
        assert_eq!(load("").unwrap().retry_after.get().as_secs(), 60);
        for (pause, good) in [("1s", true), ("5m", true), ("999ms", false), ("0", false)] {
            assert_eq!(load(&format!("retry_after = '{pause}'")).unwrap().check().is_ok(), good, "{pause}");
        }
    }

    #[test]
    fn the_password_does_not_show() {
        let config = load("username = 'u'\npassword = 'hunter2'").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn denied_domains_win_over_allowed_ones() {
        let config =
            load("allow_domains = ['example.org', '*.example.org']\ndeny_domains = ['bad.example.org']").unwrap();
        for (address, permitted) in [
            ("a@example.org", true),
            ("a@EXAMPLE.org", true),
            ("a@mail.example.org", true),
            ("a@bad.example.org", false),
            ("a@example.com", false),
            ("example.org@evil.example", false),
        ] {
            assert_eq!(config.permits(address), permitted, "{address}");
        }
        assert!(load("").unwrap().permits("a@b"));
    }

    #[test]
    fn an_international_domain_is_matched_in_both_forms() {
        for pattern in ["bücher.example", "xn--bcher-kva.example"] {
            let config = load(&format!("deny_domains = ['{pattern}']")).unwrap();
            assert!(!config.permits("a@xn--bcher-kva.example"), "{pattern}");
            assert!(!config.permits("a@bücher.example"), "{pattern}");
        }
    }
}
