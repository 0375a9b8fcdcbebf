//! `[http]`, `[admin]`: listeners and their limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::config::{ByteSize, Cidr, ConfigError, HumanDuration, OneOrMany, exposure_notice};

/// The section `[http]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address, or a list of addresses.
    pub bind: OneOrMany<SocketAddr>,
    /// The prefix that a reverse proxy adds to every path, such as `/push`; empty for none.
    pub base_path: BasePath,
    /// A PEM file with the certificate chain; enables TLS on this listener.
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of that certificate.
    pub tls_key_file: Option<PathBuf>,
    /// The size limit of a body.
    pub max_body: ByteSize,
    /// The memory for the bodies of all requests that are being read; one client has at most a quarter.
    pub body_budget: ByteSize,
    /// The time limit for the header of a request.
    pub header_timeout: HumanDuration,
    /// The time limit for the body.
    pub body_timeout: HumanDuration,
    /// How long the server keeps an idle connection.
    pub keep_alive: HumanDuration,
    /// The maximum number of open connections, a quarter of it for one client; fewer if the process may open fewer files. Each worker thread has an equal
    /// share of at least one.
    pub max_connections: usize,
    /// Worker threads; unset: one per core.
    pub workers: Option<usize>,
    /// Networks of reverse proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: OneOrMany<Cidr>,
    /// The time limit for requests in flight after SIGTERM.
    pub shutdown_timeout: HumanDuration,
}

impl Http {
    /// The settings of a service with these defaults for `bind` and `max_body`.
    pub fn with(bind: SocketAddr, max_body: ByteSize) -> Self {
        Self {
            bind: vec![bind].into(),
            base_path: BasePath::default(),
            tls_cert_file: None,
            tls_key_file: None,
            max_body,
            body_budget: ByteSize::from_bytes(64 << 20),
            header_timeout: HumanDuration::from_secs(10),
            body_timeout: HumanDuration::from_secs(30),
            keep_alive: HumanDuration::from_secs(75),
            max_connections: 2000,
            workers: None,
            trusted_proxies: OneOrMany::default(),
            shutdown_timeout: HumanDuration::from_secs(25),
        }
    }
}

impl Http {
    /// Checks the values of single keys.
    ///
    /// # Errors
    /// [`ConfigError`] for a value with which no request can be answered.
    pub fn check(&self) -> Result<(), ConfigError> {
        for (is_valid, key, problem) in [
            (!self.bind.is_empty(), "http.bind", "expected at least one address"),
            (self.max_body.get() > 0, "http.max_body", "expected at least \"1\""),
            (self.max_connections > 0, "http.max_connections", "expected at least 1"),
            (
                self.workers.is_none_or(|workers| workers > 0),
                "http.workers",
                "expected at least 1; remove the key for one worker per core",
            ),
            (
                self.workers.is_none_or(|workers| workers <= MAX_WORKERS),
                "http.workers",
                "expected at most 1024; remove the key for one worker per core",
            ),
        ] {
            if !is_valid {
                return Err(ConfigError::invalid(key, problem));
            }
        }
        Ok(())
    }
}

/// More threads than any machine has cores for.
const MAX_WORKERS: usize = 1024;

/// The networks of examples (RFC 5737, RFC 3849).
const EXAMPLES: [&str; 4] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];

impl Http {
    /// What an operator should know of the section.
    pub fn notices(&self) -> Vec<String> {
        let is_example = |network: &&Cidr| {
            EXAMPLES.iter().filter_map(|example| example.parse().ok()).any(|example: Cidr| network.is_within(&example))
        };
        let examples = self.trusted_proxies.as_slice().iter().filter(is_example).map(|network| {
            format!(
                "[http] trusted_proxies: {network:?} is a range of examples; name the addresses of your reverse proxies"
            )
        });
        let wide = self.trusted_proxies.as_slice().iter().filter(|network| network.is_most_of_the_internet());
        let wide = wide.map(|network| {
            format!(
                "INSECURE: [http] trusted_proxies: every client in {network:?} can name any address as its own in \
                 X-Forwarded-For; list only the addresses of your reverse proxies"
            )
        });
        let tls_key = self.tls_key_file.as_deref();
        examples.chain(wide).chain(tls_key.and_then(|file| exposure_notice("http.tls_key_file", file))).collect()
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::with(SocketAddr::from(([127, 0, 0, 1], 8090)), ByteSize::from_bytes(1 << 20))
    }
}

/// A prefix of every path: starts with a slash and does not end with one, or is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// The prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        if path.is_empty() || (path.starts_with('/') && path.chars().all(plain)) {
            Ok(Self(path.to_owned()))
        } else {
            Err(format!("expected a path such as \"/push\", found \"{text}\""))
        }
    }
}

impl<'de> Deserialize<'de> for BasePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The section `[admin]`: `/health`, `/ready` and `/metrics` for the operator.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `address:port` or `unix:/path`; unset: no admin listener.
    pub bind: Option<AdminAddress>,
}

impl Admin {
    /// What an operator should know of the section.
    pub fn notices(&self) -> Option<String> {
        match self.bind {
            Some(AdminAddress::Tcp(address)) if !address.ip().is_loopback() => Some(format!(
                "[admin] bind: everyone who reaches {address} can read the metrics, without a password; let only your \
                 monitoring reach the port, or bind to 127.0.0.1 or \"unix:/path\""
            )),
            Some(AdminAddress::Tcp(_) | AdminAddress::Unix(_)) | None => None,
        }
    }
}

/// Checks the addresses of both listeners against each other.
///
/// # Errors
/// [`ConfigError`] for an address of both.
pub fn check_addresses(http: &Http, admin: &Admin) -> Result<(), ConfigError> {
    let Some(AdminAddress::Tcp(admin)) = admin.bind else { return Ok(()) };
    let covers = |address: &SocketAddr| {
        let is_any = address.ip().is_unspecified() || admin.ip().is_unspecified();
        admin.port() != 0 && address.port() == admin.port() && (is_any || address.ip() == admin.ip())
    };
    match http.bind.as_slice().iter().find(|address| covers(address)) {
        Some(address) => {
            let problem = format!("the port of {address} in [http] bind; expected another port");
            Err(ConfigError::invalid("admin.bind", problem))
        }
        None => Ok(()),
    }
}

/// The address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket, accessible to its owner and group only.
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            _ => text.parse().map(Self::Tcp).map_err(|_| {
                format!("expected an address such as \"127.0.0.1:9090\" or \"unix:/run/x.sock\", found \"{text}\"")
            }),
        }
    }
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{Admin, Http, check_addresses};

    #[test]
    fn both_listeners_have_addresses_of_their_own() {
        for (http, admin, is_valid) in [
            ("127.0.0.1:8090", "127.0.0.1:8090", false),
            ("0.0.0.0:8090", "127.0.0.1:8090", false),
            ("127.0.0.1:8090", "[::]:8090", false),
            ("127.0.0.1:8090", "127.0.0.2:8090", true),
            ("127.0.0.1:8090", "127.0.0.1:9090", true),
            ("127.0.0.1:0", "127.0.0.1:0", true),
            ("127.0.0.1:8090", "unix:/x", true),
        ] {
            let settings = Http { bind: vec![http.parse().unwrap()].into(), ..Http::default() };
            let checked = check_addresses(&settings, &Admin { bind: Some(admin.parse().unwrap()) });
            assert_eq!(checked.is_ok(), is_valid, "{http} {admin}");
        }
    }

    #[test]
    fn an_admin_listener_beyond_this_machine_is_a_notice() {
        let notice = |address: &str| Admin { bind: Some(address.parse().unwrap()) }.notices();
        for (address, is_open) in [
            ("0.0.0.0:9090", true),
            ("[::]:9090", true),
            ("127.0.0.1:9090", false),
            ("[::1]:1", false),
            ("unix:/x", false),
        ] {
            let notice = notice(address);
            assert_eq!(notice.is_some(), is_open, "{address}");
            assert!(
                notice.is_none_or(|text| text.starts_with("[admin] bind: ") && text.contains(address)),
                "{address}"
            );
        }
        assert_eq!(Admin::default().notices(), None);
    }

    #[test]
    fn trusted_proxies_of_the_examples_have_to_be_replaced() {
        let notices = |network: &str| {
            let http = Http { trusted_proxies: vec![network.parse().unwrap()].into(), ..Http::default() };
            http.notices().len()
        };
        for (network, number) in [
            ("192.0.2.7", 1),
            ("2001:db8:1::/48", 1),
            ("10.42.0.0/24", 0),
            ("10.0.0.0/8", 0),
            ("0.0.0.0/0", 1),
            ("::/0", 1),
        ] {
            assert_eq!(notices(network), number, "{network}");
        }
    }
}
