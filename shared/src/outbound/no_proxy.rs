//! The hosts that are connected to without the proxy: `[outbound] no_proxy`, and `NO_PROXY` as curl and Go read it.
//!
//! Invariant: every entry has an effect.

use std::net::IpAddr;

use url::Host;

use crate::config::{Cidr, glob_matches};

/// One entry: a host or a network, perhaps with one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exemption {
    hosts: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// Lower-case patterns with `*` and `?`.
    Names(Vec<String>),
    Network(Cidr),
}

impl Exemption {
    /// Reads `host`, `*.host`, `.host`, an address or a network, each but a network with `:port` if it ends so.
    pub(super) fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_ascii_lowercase();
        let entry = entry.split_once("://").map_or(entry.as_str(), |(_, rest)| rest);
        let bare = entry.strip_prefix('[').and_then(|entry| entry.strip_suffix(']')).unwrap_or(entry);
        if let Ok(network) = bare.trim_end_matches('.').parse() {
            return Some(Self { hosts: Hosts::Network(network), port: None });
        }
        let (entry, length) = entry.split_once('/').unwrap_or((entry, ""));
        // A network whose length is none, such as 10.0.0.0/99.
        if !length.is_empty() && entry.parse::<IpAddr>().is_ok() {
            return None;
        }
        let (host, port) = match entry.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (entry, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches([']', '.']);
        let hosts = match (host.parse(), host.strip_prefix('.')) {
            (Ok(network), _) => Hosts::Network(network),
            (Err(_), Some(domain)) => Hosts::Names(vec![domain.to_owned(), format!("*.{domain}")]),
            (Err(_), None) => Hosts::Names(vec![host.to_owned()]),
        };
        (!host.is_empty()).then_some(Self { hosts, port })
    }

    pub(super) fn matches(&self, host: &Host<String>, port: u16) -> bool {
        if self.port.is_some_and(|own| own != port) {
            return false;
        }
        match (&self.hosts, host) {
            (Hosts::Network(network), Host::Ipv4(ip)) => network.contains(IpAddr::V4(*ip)),
            (Hosts::Network(network), Host::Ipv6(ip)) => network.contains(IpAddr::V6(*ip)),
            (Hosts::Network(_), Host::Domain(_)) => false,
            (Hosts::Names(patterns), host) => {
                let text = host.to_string().to_ascii_lowercase();
                let text: Vec<char> = text.trim_end_matches('.').chars().collect();
                patterns.iter().any(|pattern| glob_matches(&pattern.chars().collect::<Vec<_>>(), &text))
            }
        }
    }
}

/// The entries of `NO_PROXY`, in which a host includes its subdomains.
pub(super) fn of_variable(hosts: &str) -> Vec<String> {
    let entries = hosts.split([',', ' ', '\t', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
    let with_subdomains = |entry: &str| {
        let host = entry.split_once("://").map_or(entry, |(_, rest)| rest.trim_end_matches('/'));
        let is_name = !host.starts_with(['.', '*', '[']) && !host.contains('/') && host.parse::<IpAddr>().is_err();
        if is_name { format!(".{host}") } else { host.to_owned() }
    };
    entries.map(with_subdomains).collect()
}

#[cfg(test)]
mod tests {
    use url::Host;

    use super::{Exemption, of_variable};

    fn is_exempt(entries: &[String], host: &str, port: u16) -> bool {
        let host = Host::parse(host).unwrap();
        entries.iter().any(|entry| Exemption::parse(entry).unwrap().matches(&host, port))
    }

    #[test]
    fn the_variable_is_read_as_curl_and_go_read_it() {
        for (variable, host, port, expected) in [
            ("example.org", "example.org", 443, true),
            ("example.org", "hs.EXAMPLE.org", 443, true),
            ("example.org.", "hs.example.org", 443, true),
            ("example.org", "hs.example.org.", 443, true),
            ("example.org", "badexample.org", 443, false),
            (".example.org", "hs.example.org", 443, true),
            (" a.example , example.org", "hs.example.org", 443, true),
            ("a.example example.org", "hs.example.org", 443, true),
            ("example.org:8443", "hs.example.org", 8443, true),
            ("example.org:8443", "hs.example.org", 443, false),
            ("https://example.org/", "hs.example.org", 443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("10.0.0.0/8", "ten.example", 443, false),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("10.1.2.3:80", "10.1.2.3", 443, false),
            ("10.1.2.3:80", "10.1.2.3", 80, true),
            ("fd00::/8", "[fd00::1]", 443, true),
            ("::1", "[0:0:0:0:0:0:0:1]", 443, true),
            ("[::1]", "[::1]", 443, true),
            ("[::1]:443", "[::1]", 443, true),
            ("[::1]:443", "[::1]", 80, false),
            ("*", "anything.example", 443, true),
            ("*", "10.1.2.3", 443, true),
        ] {
            assert_eq!(is_exempt(&of_variable(variable), host, port), expected, "{variable}: {host}:{port}");
        }
    }

    #[test]
    fn an_entry_of_the_configuration_names_exactly_its_hosts() {
        for (entry, host, expected) in [
            ("*.internal", "hs.internal", true),
            ("*.internal", "internal", false),
            ("internal", "hs.internal", false),
            (".internal", "hs.internal", true),
            ("127.0.0.*", "127.0.0.5", true),
        ] {
            assert_eq!(is_exempt(&[entry.to_owned()], host, 443), expected, "{entry}: {host}");
        }
        for entry in ["", ":443", "a:b", "10.0.0.0/99", "fd00::/129", "10.0.0.0/x"] {
            assert_eq!(Exemption::parse(entry), None, "{entry}");
        }
    }
}
