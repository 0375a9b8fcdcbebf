//! `[federation]`: how homeservers are found and reached.
//!
//! Invariant: nothing here is needed; the defaults reach the public federation and nothing else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use shared::config::{Cidr, Globs, HumanDuration, OneOrMany};
use shared::secret::Secret;

use crate::domain::access::HomeserverAccess;
use crate::domain::server_name::ServerName;

/// The section `[federation]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Federation {
    /// Where a server is, instead of what discovery would find: server name → address and port. `Host` and the name
    /// in the certificate stay those of the server name. These addresses are exempt from the address filter.
    pub overrides: BTreeMap<ServerName, Endpoint>,
    /// Whether certificates are verified. Off, anyone on the way can pose as any homeserver.
    pub tls_verify: bool,
    /// PEM file with further trusted roots.
    pub extra_ca_file: Option<PathBuf>,
    /// Networks that may be reached although the address filter would refuse them, on any port.
    pub allow_cidrs: OneOrMany<Cidr>,
    /// Networks that may not be reached, besides those of the address filter.
    pub deny_cidrs: OneOrMany<Cidr>,
    /// `http://[user:password@]host:port` of a proxy that understands CONNECT, used for all homeservers. Names are
    /// still resolved and judged here, and the proxy is asked for the addresses found.
    pub proxy: Option<Secret<String>>,
    /// Name servers (`ip:port`) to ask instead of the system's, for example where the inside and the outside world
    /// see different names.
    pub dns_servers: OneOrMany<SocketAddr>,
    /// The port for `https://<host>/.well-known/matrix/server`. The specification knows only 443; another one serves
    /// closed networks in which nobody can listen there.
    pub well_known_port: u16,
    /// For TCP and TLS together, for each place at which a homeserver is tried.
    pub connect_timeout: HumanDuration,
    /// For a whole request, from discovery to the last byte of the reply.
    pub timeout: HumanDuration,
}

/// The section `[registration]`: whose users may have accounts here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Patterns of homeservers that may; empty: all.
    pub allow_servers: Globs,
    /// Patterns of homeservers that may not; these win.
    pub deny_servers: Globs,
}

impl Registration {
    /// The rule that the lists make.
    pub fn access(&self) -> HomeserverAccess {
        HomeserverAccess::new(self.allow_servers.clone(), self.deny_servers.clone())
    }
}

/// A host (IP address or name) and a port, as an operator writes them: `10.0.0.5:8448`, `synapse:8448`, `[::1]:8448`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// An IPv4 or IPv6 address without brackets, or a name.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            overrides: BTreeMap::new(),
            tls_verify: true,
            extra_ca_file: None,
            allow_cidrs: OneOrMany::default(),
            deny_cidrs: OneOrMany::default(),
            proxy: None,
            dns_servers: OneOrMany::default(),
            well_known_port: 443,
            connect_timeout: HumanDuration::from_secs(10),
            timeout: HumanDuration::from_secs(30),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected \"host:port\" or \"ip:port\", found \"{text}\"");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let bad_host = inner.is_none() && (host.is_empty() || host.contains([':', '/', '@', ' ', '[', ']']));
        if bad_host || inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(wrong());
        }
        let port = port.parse().ok().filter(|&port: &u16| port > 0).ok_or_else(wrong)?;
        Ok(Self { host: inner.unwrap_or(host).to_owned(), port })
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde::Deserialize;

    use super::{Endpoint, Federation};
    use crate::domain::server_name::ServerName;

    #[derive(Debug, Deserialize)]
    struct Whole {
        #[serde(default)]
        federation: Federation,
    }

    fn load(toml: &str) -> Result<Federation, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let whole = shared::config::load::<Whole>(Some(file.path()), "IDENTITY_FEDERATION_TEST");
        whole.map(|whole| whole.federation).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_section_is_read() {
        let section = load(
            r#"
            [federation]
            tls_verify = false
            allow_cidrs = ["127.0.0.0/8", "10.0.0.5"]
            deny_cidrs = "8.8.8.0/24, fd00::/8"
            proxy = "http://user:hunter2@127.0.0.1:3128"
            dns_servers = ["127.0.0.1:5353"]
            [federation.overrides]
            "HS.example" = "10.0.0.5:8448"
            "hs.example:8448" = "synapse:8448"
            "9.9.9.9" = "[::1]:8448"
            "#,
        )
        .unwrap();
        let at = |name| section.overrides[&ServerName::parse(name).unwrap()].to_string();
        assert_eq!(
            [at("hs.example"), at("hs.example:8448"), at("9.9.9.9")],
            ["10.0.0.5:8448", "synapse:8448", "[::1]:8448"]
        );
        assert_eq!((section.allow_cidrs.as_slice().len(), section.deny_cidrs.as_slice().len()), (2, 2));
        assert_eq!(
            (section.tls_verify, section.well_known_port, section.dns_servers.as_slice()[0].port()),
            (false, 443, 5353)
        );
        assert!(!format!("{section:?}").contains("hunter2"));
    }

    #[test]
    fn nothing_is_needed_and_nonsense_is_refused() {
        assert!(load("").unwrap().tls_verify);
        for (toml, word) in [
            ("[federation]\nallow_cidr = []", "allow_cidr"),
            ("[federation]\nallow_cidrs = ['hs.example']", "allow_cidrs"),
            ("[federation.overrides]\n'a b' = '10.0.0.5:1'", "server name"),
            ("[federation.overrides]\n'hs' = '10.0.0.5'", "host:port"),
        ] {
            let error = load(toml).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_endpoint_needs_both_parts() {
        for text in ["", "a", ":1", "a:", "a:0", "a:65536", "::1:8448", "[::1]", "[a]:1", "http://a:1", "u@a:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
