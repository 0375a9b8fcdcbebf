//! The relay in `[email]`: its address, TLS, and login.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::ConfigError;
use shared::secret::Secret;
use url::Host;

use super::RawEmail;

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

/// The word in `[email] auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthKind {
    /// PLAIN or LOGIN with a password.
    Password,
    /// XOAUTH2 or OAUTHBEARER (RFC 7628) with an access token.
    Xoauth2,
}

/// An SMTP relay.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The host name or address; an IPv6 address without brackets.
    pub host: String,
    pub port: u16,
    pub tls: TlsMode,
    pub login: Option<Login>,
    /// The name in EHLO. `None`: the machine's name.
    pub helo_name: Option<String>,
}

/// The user name at a relay and its proof.
#[derive(Clone, Debug)]
pub struct Login {
    pub username: String,
    pub proof: Proof,
}

/// What proves the user name.
#[derive(Clone, Debug)]
pub enum Proof {
    Password(Secret<String>),
    /// An access token, read again for each connection.
    Token(TokenSource),
}

/// Where the access token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// A file that another program renews.
    File(PathBuf),
    /// A program that prints the token.
    Command { program: PathBuf, args: Vec<String> },
}

impl TokenSource {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::File(file) => std::fs::read(file).map(drop).map_err(|error| {
                let problem = format!("cannot read {}: {error}; create it, or name the right file", file.display());
                ConfigError::invalid("email.token_file", problem)
            }),
            Self::Command { program, .. } if is_executable(program) => Ok(()),
            Self::Command { program, .. } => {
                let problem =
                    format!("{} is no program that this user can execute; correct the path", program.display());
                Err(ConfigError::invalid("email.token_command", problem))
            }
        }
    }
}

/// Whether the program is executable: at its path, or by its name in one of the folders of PATH.
#[expect(clippy::disallowed_methods, reason = "PATH is the system's")]
fn is_executable(program: &Path) -> bool {
    let at =
        |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if program.components().count() > 1 {
        return at(program);
    }
    let folders = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| at(&folder.join(program)))
}

impl RawEmail {
    /// `public_host` is the host of `[server] public_base_url`, the default of `helo_name`.
    pub(super) fn relay(
        &self,
        password: Option<Secret<String>>,
        base: &Path,
        public_host: Option<&str>,
    ) -> Result<Relay, ConfigError> {
        let Some(host) = self.host.as_deref().filter(|host| !host.trim_matches(['[', ']']).is_empty()) else {
            return Err(ConfigError::invalid(
                "email.host",
                "not set, but transport is \"smtp\"; set it, or set transport = \"file\"",
            ));
        };
        check_host(host)?;
        if self.port == 0 {
            return Err(ConfigError::invalid("email.port", "expected 1 to 65535"));
        }
        if self.helo_name.as_ref().is_some_and(|name| name.is_empty() || !name.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(ConfigError::invalid("email.helo_name", "expected a host name such as \"id.example.org\""));
        }
        Ok(Relay {
            // A URL writes an IPv6 address as [::1]; the resolver expects it without brackets.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: self.port,
            tls: self.tls,
            login: self.login(password, base)?,
            helo_name: self.helo_name.clone().or_else(|| public_host.map(helo_name)),
        })
    }

    fn login(&self, password: Option<Secret<String>>, base: &Path) -> Result<Option<Login>, ConfigError> {
        let invalid = |key: &str, problem: &str| Err(ConfigError::invalid(key, problem));
        // Settings from the environment or a form are often empty instead of absent.
        if self.username.as_deref() == Some("") {
            return Ok(None);
        }
        let password = password.filter(|password| !password.expose().is_empty());
        let token = self.token(base)?;
        if self.auth == AuthKind::Password && token.is_some() {
            return invalid("email.auth", "is \"password\", but a token is configured; set auth = \"xoauth2\"");
        }
        let username = self.username.clone();
        match (self.auth, username, password, token) {
            (AuthKind::Password, Some(username), Some(password), _) => {
                Ok(Some(Login { username, proof: Proof::Password(password) }))
            }
            (AuthKind::Password, None, None, _) => Ok(None),
            (AuthKind::Password, Some(_), None, _) => {
                invalid("email.password", "not set, but [email] username is; set both")
            }
            (AuthKind::Password, None, Some(_), _) => {
                invalid("email.username", "not set, but [email] password is; set both")
            }
            (AuthKind::Xoauth2, _, Some(_), _) => invalid("email.password", "set, but auth is \"xoauth2\"; remove it"),
            (AuthKind::Xoauth2, None, ..) => invalid("email.username", "not set, but auth is \"xoauth2\"; set it"),
            (AuthKind::Xoauth2, Some(_), None, None) => {
                invalid("email.token_file", "not set, but auth is \"xoauth2\"; set it or token_command")
            }
            (AuthKind::Xoauth2, Some(username), None, Some(token)) => {
                if self.tls == TlsMode::None {
                    // RFC 7628 section 4
                    return invalid("email.auth", "\"xoauth2\" needs TLS; set tls = \"starttls\" or \"tls\"");
                }
                if username.bytes().any(|b| b.is_ascii_control() || b == b',' || b == b'=') {
                    return invalid("email.username", "contains a character that \"xoauth2\" cannot send");
                }
                Ok(Some(Login { username, proof: Proof::Token(token) }))
            }
        }
    }

    fn token(&self, base: &Path) -> Result<Option<TokenSource>, ConfigError> {
        match (&self.token_file, self.token_command.as_slice()) {
            (Some(_), [_, ..]) => {
                Err(ConfigError::invalid("email.token_file", "set together with token_command; keep one of them"))
            }
            (Some(file), []) => Ok(Some(TokenSource::File(base.join(file)))),
            (None, [program, args @ ..]) => {
                // A name without a slash is found in PATH.
                let program = if program.contains('/') { base.join(program) } else { PathBuf::from(program) };
                Ok(Some(TokenSource::Command { program, args: args.to_vec() }))
            }
            (None, []) => Ok(None),
        }
    }
}

impl Relay {
    /// A login that others can read, and combinations of port and TLS that servers do not use.
    pub(super) fn notices(&self) -> Vec<String> {
        let is_local = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        let is_readable = self.tls == TlsMode::None && self.login.is_some() && !is_local;
        let readable = is_readable.then(|| {
            "INSECURE: [email] tls is \"none\", so the password and all mails go through the network as plain text; set \
             tls = \"starttls\" or \"tls\""
                .to_owned()
        });
        readable.into_iter().chain(self.port_notice()).collect()
    }

    fn port_notice(&self) -> Option<String> {
        let expected = match (self.port, self.tls) {
            (465, TlsMode::Starttls | TlsMode::None) => "465 expects TLS from the first byte; set tls = \"tls\"",
            (25 | 587 | 2525, TlsMode::Tls) => {
                "25, 587 and 2525 expect plain text before STARTTLS; set tls = \"starttls\", or port = 465"
            }
            (80 | 110 | 143 | 443 | 993 | 995, _) => "is not a port of SMTP; relays use 465, 587 or 25",
            _ => return None,
        };
        Some(format!("[email] port: {} with tls = \"{}\" cannot work: {expected}", self.port, self.tls.word()))
    }
}

impl TlsMode {
    const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Starttls => "starttls",
            Self::Tls => "tls",
        }
    }
}

/// Names what is often written into `host` besides the host.
fn check_host(host: &str) -> Result<(), ConfigError> {
    let invalid = |problem: String| Err(ConfigError::invalid("email.host", problem));
    if host.chars().any(char::is_whitespace) {
        return invalid(String::from("contains white space; remove it"));
    }
    if let Some((scheme, _)) = host.split_once("://") {
        return invalid(format!("\"{scheme}://\" is not part of a host name; remove it, and set [email] port and tls"));
    }
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    let has_port =
        |(name, port): (&str, &str)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty();
    if bare.rsplit_once(':').is_some_and(has_port) {
        return invalid(String::from("contains a port; remove it, and set [email] port"));
    }
    if bare.contains(['/', '@', ':', '[', ']']) || Host::parse(bare).is_err() {
        return invalid(format!("expected a host name such as \"smtp.example.org\", found \"{host}\""));
    }
    Ok(())
}

/// RFC 5321 section 4.1.3: an address is written as a literal.
fn helo_name(host: &str) -> String {
    match host.trim_matches(['[', ']']).parse() {
        Ok(std::net::IpAddr::V4(ip)) => format!("[{ip}]"),
        Ok(std::net::IpAddr::V6(ip)) => format!("[IPv6:{ip}]"),
        Err(_) => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::helo_name;
    use crate::config::email::tests::load;
    use crate::config::email::{Proof, TokenSource, Transport};

    #[test]
    fn what_cannot_be_a_host_is_an_error_that_names_it() {
        for (host, problem) in [
            ("smtps://smtp.example.org", "\"smtps://\" is not part"),
            ("smtp.example.org:587", "contains a port"),
            ("[::1]:25", "contains a port"),
            ("smtp.example.org ", "contains white space"),
            (" ", "contains white space"),
            ("smtp.example.org/", "expected a host name"),
            ("user@smtp.example.org", "expected a host name"),
        ] {
            let error = load(&format!("host = '{host}'")).unwrap_err().to_string();
            assert!(error.starts_with("[email] host: ") && error.contains(problem), "{host}: {error}");
        }
        for host in ["smtp.example.org", "relay", "192.0.2.1", "::1", "[::1]", "bücher.example"] {
            assert!(load(&format!("host = '{host}'")).is_ok(), "{host}");
        }
    }

    #[test]
    fn a_port_that_contradicts_tls_is_a_notice() {
        for (port, tls, is_named) in [
            (465, "starttls", true),
            (465, "none", true),
            (465, "tls", false),
            (587, "tls", true),
            (25, "tls", true),
            (587, "starttls", false),
            (25, "none", false),
            (993, "tls", true),
            (10025, "tls", false),
        ] {
            let config = load(&format!("host = 'x'\nport = {port}\ntls = '{tls}'")).unwrap();
            assert_eq!(
                config.notices().iter().any(|line| line.starts_with("[email] port: ")),
                is_named,
                "{port} {tls}"
            );
        }
    }

    #[test]
    fn a_login_in_plain_text_beyond_this_machine_is_a_notice() {
        for (keys, is_named) in [
            ("host = 'mx.example'\nusername = 'u'\npassword = 'p'", true),
            ("host = 'mx.example'", false),
            ("host = 'localhost'\nusername = 'u'\npassword = 'p'", false),
            ("host = '[::1]'\nusername = 'u'\npassword = 'p'", false),
        ] {
            let notices = load(&format!("{keys}\ntls = 'none'")).unwrap().notices();
            assert_eq!(notices.iter().any(|line| line.starts_with("INSECURE: [email] tls")), is_named, "{keys}");
        }
    }

    #[test]
    fn an_empty_user_name_is_no_login_and_a_token_replaces_the_password() {
        let login = |toml: &str| match load(&format!("host = 'x'\n{toml}")).unwrap().transport {
            Transport::Smtp(relay) => relay.login,
            other => panic!("{other:?}"),
        };
        assert!(login("username = ''\npassword = ''").is_none());
        assert!(login("username = ''\npassword = 'p'").is_none());
        let file = login("auth = 'xoauth2'\nusername = 'a@b'\ntoken_file = 'token'").unwrap().proof;
        assert!(matches!(file, Proof::Token(TokenSource::File(path)) if path.ends_with("token")));
        let command = login("auth = 'xoauth2'\nusername = 'a@b'\ntoken_command = ['print-token', '-x']").unwrap().proof;
        assert!(matches!(command, Proof::Token(TokenSource::Command { args, .. }) if args == ["-x"]));
        for (toml, problem) in [
            ("auth = 'xoauth2'", "[email] username"),
            ("auth = 'xoauth2'\nusername = 'u'", "[email] token_file"),
            ("auth = 'xoauth2'\nusername = 'u'\ntoken_file = 'a'\ntoken_command = 'b'", "[email] token_file"),
            ("auth = 'xoauth2'\nusername = 'u'\ntoken_file = 'a'\npassword = 'b'", "[email] password"),
            ("auth = 'xoauth2'\nusername = 'u'\ntoken_file = 'a'\ntls = 'none'", "[email] auth"),
            ("username = 'u'\ntoken_file = 'a'", "[email] auth"),
            ("username = 'u'\npassword = ''", "[email] password"),
        ] {
            let error = load(&format!("host = 'x'\n{toml}")).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{toml}: {error}");
        }
    }

    #[test]
    fn the_source_of_a_token_must_exist() {
        let check = |source: &str| {
            let config = load(&format!("host = 'x'\nauth = 'xoauth2'\nusername = 'a@b'\n{source}")).unwrap();
            config.check_token_source().map_err(|error| error.to_string())
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(check(&format!("token_file = '{}'", file.path().display())), Ok(()));
        assert_eq!(check("token_command = ['sh', '-c', 'x']"), Ok(()));
        assert_eq!(check("token_command = '/bin/sh'"), Ok(()));
        let not_executable = format!("token_command = '{}'", file.path().display());
        for (source, key) in [
            ("token_file = '/nowhere/token'", "token_file"),
            ("token_command = 'no-such-program'", "token_command"),
            (&not_executable, "token_command"),
        ] {
            let error = check(source).unwrap_err();
            assert!(error.starts_with(&format!("[email] {key}: ")), "{error}");
        }
    }

    #[test]
    fn an_address_becomes_a_literal_in_ehlo() {
        for (host, name) in [("id.example", "id.example"), ("192.0.2.1", "[192.0.2.1]"), ("[::1]", "[IPv6:::1]")] {
            assert_eq!(helo_name(host), name);
        }
    }
}
