//! `[federation]`: how the server discovers and contacts homeservers.
//!
//! Invariant: every key has a default; the defaults reach the public federation only.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, Globs, HumanDuration, OneOrMany};

use crate::domain::access::{HomeserverAccess, denies};
use crate::domain::mxid::UserId;
use crate::domain::server_name::ServerName;

/// The section `[federation]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Federation {
    /// Endpoints that replace discovery: server name → host and port. `Host` and the certificate keep the server name.
    /// The address guard does not apply.
    pub overrides: BTreeMap<ServerName, Endpoint>,
    /// Whether certificates are verified. If off, an attacker on the network can impersonate every homeserver.
    pub tls_verify: bool,
    /// Name servers (`ip:port`) that replace the system's, for example with split-horizon DNS.
    pub dns_servers: OneOrMany<SocketAddr>,
    /// The port for `https://<host>/.well-known/matrix/server`. The specification requires 443; other ports are for
    /// closed networks.
    pub well_known_port: u16,
    /// The limit for DNS, TCP and TLS together, for each target of a homeserver.
    pub connect_timeout: HumanDuration,
    /// The limit for a complete request, from discovery to the last byte of the response.
    pub timeout: HumanDuration,
}

/// The section `[registration]`: the homeservers whose users may register.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registration {
    /// Patterns of allowed homeservers; empty allows all.
    pub allow_servers: Globs,
    /// Patterns of denied homeservers; they take precedence. They hold at authentication too.
    pub deny_servers: Globs,
    /// Patterns of user IDs that may neither register nor authenticate.
    pub deny_users: Globs,
}

impl Federation {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for (key, limit) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if limit.get().is_zero() {
                return Err(ConfigError::invalid(
                    &format!("federation.{key}"),
                    "expected more than 0, such as \"10s\"",
                ));
            }
        }
        Ok(())
    }
}

impl Registration {
    /// The rule from both lists.
    pub fn access(&self) -> HomeserverAccess {
        HomeserverAccess::new(self.allow_servers.clone(), self.deny_servers.clone())
    }

    /// Whether the operator has excluded the user, or the user's homeserver.
    pub fn denies(&self, user: &UserId) -> bool {
        self.deny_users.matches(user.as_str()) || denies(&self.deny_servers, user.server_name().as_str())
    }

    /// What is open to the world.
    pub(super) fn notice(&self) -> Option<String> {
        if self.deny_servers.match_everything() {
            return Some(
                "[registration] deny_servers has a pattern that matches every homeserver: no one may register; list single \
                 homeservers"
                    .to_owned(),
            );
        }
        let state = if self.allow_servers.is_empty() {
            "is empty"
        } else if self.allow_servers.match_everything() {
            "has a pattern that matches every name"
        } else {
            return None;
        };
        Some(format!(
            "[registration] allow_servers {state}: users of every homeserver may register, look up addresses and send mail; \
             list your homeserver, such as [\"example.org\"]"
        ))
    }
}

/// A host (IP address or name) and a port: `10.0.0.5:8448`, `synapse:8448`, `[::1]:8448`.
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

    use super::{Endpoint, Federation, Registration};

    #[test]
    fn a_registration_that_is_open_to_the_world_is_a_notice() {
        let notice = |allow: &[&str], deny: &[&str]| {
            let globs = |patterns: &[&str]| serde_json::from_value(serde_json::json!(patterns)).unwrap();
            let section =
                Registration { allow_servers: globs(allow), deny_servers: globs(deny), ..Registration::default() };
            section.notice()
        };
        for (allow, deny, expected) in [
            (&[][..], &[][..], Some("allow_servers is empty")),
            (&["*"], &[], Some("matches every name")),
            (&["hs.example", "?*"], &[], Some("matches every name")),
            (&["hs.example", "*.example"], &[], None),
            (&[], &["*.evil"], Some("allow_servers is empty")),
            (&[], &["*"], Some("no one may register")),
            (&["hs.example"], &["*"], Some("no one may register")),
        ] {
            let found = notice(allow, deny);
            assert_eq!(found.is_some(), expected.is_some(), "{allow:?} {deny:?}");
            assert!(found.is_none_or(|text| text.contains(expected.unwrap_or_default())));
        }
    }
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
    fn all_keys_of_the_section_load() {
        let section = load(
            r#"
            [federation]
            tls_verify = false
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
        assert_eq!(
            (section.tls_verify, section.well_known_port, section.dns_servers.as_slice()[0].port()),
            (false, 443, 5353)
        );
    }

    #[test]
    fn the_section_is_optional_and_invalid_values_are_rejected() {
        assert!(load("").unwrap().tls_verify);
        for (toml, word) in [
            ("[federation]\ndns_server = []", "dns_server"),
            ("[federation]\ndns_servers = ['hs.example']", "dns_servers"),
            ("[federation.overrides]\n'a b' = '10.0.0.5:1'", "server name"),
            ("[federation.overrides]\n'hs' = '10.0.0.5'", "host:port"),
        ] {
            let error = load(toml).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn an_endpoint_consists_of_host_and_port() {
        for text in ["", "a", ":1", "a:", "a:0", "a:65536", "::1:8448", "[::1]", "[a]:1", "http://a:1", "u@a:1"] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}
