//! The name of a homeserver: a host name or an IP address, with an optional port.
//!
//! Invariant: a [`ServerName`] is in lower case. It has no character that could become a path, a query, user information or
//! a second host in a URL.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::Deserialize;

/// The specification's limit, port and colon included.
const MAX_LENGTH: usize = 255;

/// A server name of the grammar in the specification's appendix on identifiers, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct ServerName {
    text: String,
    host_end: usize,
}

/// The text is not a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a server name (host, IPv4 address or [IPv6 address], optionally with :port)")]
pub struct InvalidServerName;

impl ServerName {
    /// Parses a server name; ASCII upper case becomes lower case.
    ///
    /// # Errors
    /// [`InvalidServerName`] unless the whole text, untrimmed, matches the grammar.
    pub fn parse(text: &str) -> Result<Self, InvalidServerName> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidServerName);
        }
        let host_end = match text.strip_prefix('[') {
            Some(rest) => rest.find(']').ok_or(InvalidServerName)? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, port) = text.split_at(host_end);
        if !is_host(host) || !(port.is_empty() || is_port(port)) {
            return Err(InvalidServerName);
        }
        Ok(Self { text: text.to_ascii_lowercase(), host_end })
    }

    /// The whole name, as in a `Host` header.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name without its port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        &self.text[..self.host_end]
    }

    pub fn port(&self) -> Option<u16> {
        self.text[self.host_end..].strip_prefix(':').and_then(|digits| digits.parse().ok())
    }

    /// The address, if the host is an IP literal.
    pub fn ip(&self) -> Option<IpAddr> {
        let host = self.host();
        match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse().ok().map(IpAddr::V6),
            None => host.parse().ok().map(IpAddr::V4),
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(text: &str) -> Result<Self, InvalidServerName> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ServerName {
    type Error = InvalidServerName;

    fn try_from(text: String) -> Result<Self, InvalidServerName> {
        Self::parse(&text)
    }
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok()),
        None => host.parse::<Ipv4Addr>().is_ok() || host.split('.').all(is_label),
    }
}

/// A label of RFC 1123: letters, digits and hyphens, without a hyphen at either end.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|digits| {
        digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0') && digits.parse::<u16>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

    use super::{InvalidServerName, ServerName};

    #[test]
    fn valid_names_are_parsed_and_lower_cased() {
        for text in [
            "9.9.9.9",
            "9.9.9.9:4242",
            "[::]",
            "[::]:4242",
            "[a:b:c::]:4242",
            "[A:B:c::1]",
            "example.com",
            "EXAMPLE.COM",
            "ExAmPlE.CoM",
            "example.com:4242",
            "localhost",
            "localhost:9000",
            "a.b.c.d:1234",
            "example.com:1",
            "a-b.c",
            "example.com:65535",
            "xn--bcher-kva.example",
        ] {
            let name = ServerName::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(name.as_str(), text.to_ascii_lowercase());
        }
    }

    #[test]
    fn invalid_names_are_rejected() {
        let long = "a".repeat(64);
        let longest = format!("{}com", "a.".repeat(127));
        assert_eq!(longest.len(), 257);
        for text in [
            "",
            "[:::]",
            "a:b:c::",
            "example.com:65536",
            "example.com:0",
            "example.com:-1",
            "example.com:a",
            "example.com: ",
            "example.com:04242",
            "example.com: 4242",
            "example.com:",
            "example.com/example.com",
            "example.com#example.com",
            "example.com?x",
            "user@example.com",
            "exämple.com",
            "a..b",
            "-a.b",
            "a-.b",
            "example.com\n",
            "example.com.",
            ".",
            "a b",
            "[::1",
            "::1",
            "[::1]x",
            "[::1%25lo]",
            "[::1]:",
            "[]",
            "[1.2.3.4]",
            "example.com:+80",
            "hs\0",
            "a_b.example",
            "10.0.0.5:443/x?y#",
            "http://a",
            "%61.example",
            "a:1:2",
            &long,
            &longest,
            &"a".repeat(256),
        ] {
            assert_eq!(ServerName::parse(text), Err(InvalidServerName), "{text}");
        }
        assert!(ServerName::parse(&format!("{}a", "a.".repeat(127))).is_ok(), "255 bytes are allowed");
    }

    #[test]
    fn host_port_and_address_are_the_parts_of_a_name() {
        let name = ServerName::parse("[2001:DB8::1]:8448").unwrap();
        assert_eq!((name.host(), name.port()), ("[2001:db8::1]", Some(8448)));
        assert_eq!(name.ip(), Some("2001:db8::1".parse().unwrap()));
        let name = ServerName::parse("hs.example").unwrap();
        assert_eq!((name.host(), name.port(), name.ip()), ("hs.example", None, None));
        assert_eq!(ServerName::parse("9.9.9.9").unwrap().ip(), Some("9.9.9.9".parse().unwrap()));
        for not_quite in ["127.1", "0177.0.0.1", "010.0.0.1", "2130706433", "0x7f.1", "0", "999.1.1.1"] {
            assert_eq!(ServerName::parse(not_quite).unwrap().ip(), None, "{not_quite}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_text_panics_and_a_valid_name_is_the_authority_of_a_url(text in any::<String>(), tail in "[a-z0-9:.\\[\\]-]{0,20}") {
            for text in [text, tail] {
                if let Ok(name) = ServerName::parse(&text) {
                    prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)));
                    prop_assert_eq!(ServerName::parse(name.as_str()), Ok(name.clone()));
                }
            }
        }
    }
}
