//! The address guard against server-side request forgery: which addresses connections to user-chosen hosts may use.
//!
//! Invariant: the decision depends on the address alone, never on the name that resolved to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::de::{Deserialize, Deserializer, Error};

use crate::config::Cidr;

/// Rejects addresses that are not public, unless the operator allows them.
#[derive(Clone, Debug)]
pub struct AddressGuard {
    allow: Arc<[Cidr]>,
    deny: Arc<[Cidr]>,
    nat64: Arc<[Nat64Prefix]>,
    requires_all: bool,
}

impl AddressGuard {
    /// A guard that permits the networks in `allow` on every port and also rejects those in `deny`.
    pub fn new(allow: &[Cidr], deny: &[Cidr]) -> Self {
        Self { allow: allow.into(), deny: deny.into(), nat64: Arc::new([]), requires_all: false }
    }

    /// With the prefixes of the operator's NAT64 translators: an address below one is permitted if the IPv4 address in
    /// it is.
    #[must_use]
    pub fn with_nat64(self, prefixes: &[Nat64Prefix]) -> Self {
        Self { nat64: prefixes.into(), ..self }
    }

    /// A host with one address that is not permitted has none, instead of the others.
    #[must_use]
    pub fn requiring_all(self) -> Self {
        Self { requires_all: true, ..self }
    }

    /// Keeps the permitted addresses of one host.
    pub(super) fn retain_permitted(&self, addresses: &mut Vec<SocketAddr>) {
        if self.requires_all && !addresses.iter().all(|address| self.permits(*address)) {
            addresses.clear();
        }
        addresses.retain(|address| self.permits(*address));
    }

    /// Whether the operator allowed this address by name.
    pub fn allows(&self, ip: IpAddr) -> bool {
        self.allow.iter().any(|net| net.contains(ip.to_canonical()) || net.contains(ip))
    }

    /// Whether a connection to `address` is permitted.
    pub fn permits(&self, address: SocketAddr) -> bool {
        let ip = address.ip();
        let plain = ip.to_canonical();
        if self.allows(ip) {
            return true;
        }
        if !port_is_usual(address.port()) {
            return false;
        }
        if let Some(inner) = self.nat64.iter().find_map(|prefix| prefix.embedded(ip)) {
            return !self.rejects(IpAddr::V4(inner)) && !self.deny.iter().any(|net| net.contains(ip));
        }
        !self.rejects(ip)
            && !self.rejects(plain)
            && !embedded_ipv4(ip).is_some_and(|inner| self.rejects(IpAddr::V4(inner)))
    }

    fn rejects(&self, ip: IpAddr) -> bool {
        let public = match ip {
            IpAddr::V4(ip) => !DENIED_V4.iter().any(|net| net.contains(&ip)),
            IpAddr::V6(ip) => !DENIED_V6.iter().any(|net| net.contains(&ip)),
        };
        !public || self.deny.iter().any(|net| net.contains(ip))
    }
}

/// The prefix of a NAT64 translator (RFC 6052), such as `2001:db8:64::/96`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat64Prefix(Ipv6Net);

impl Nat64Prefix {
    /// The IPv4 address in `ip`, if it is below the prefix.
    fn embedded(self, ip: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V6(ip) = ip else { return None };
        if !self.0.contains(&ip) {
            return None;
        }
        let start = usize::from(self.0.prefix_len() / 8);
        // Octet 8 is reserved (RFC 6052 section 2.2).
        let positions = (start..16).filter(|position| *position != 8 || start > 8);
        let mut octets = [0; 4];
        for (octet, position) in octets.iter_mut().zip(positions) {
            *octet = ip.octets()[position];
        }
        Some(octets.into())
    }
}

impl FromStr for Nat64Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let net = text.parse::<Ipv6Net>().ok().filter(|net| matches!(net.prefix_len(), 32 | 40 | 48 | 56 | 64 | 96));
        net.map(Self).ok_or_else(|| {
            format!("expected an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits such as \"2001:db8:64::/96\", found \"{text}\"")
        })
    }
}

impl<'de> Deserialize<'de> for Nat64Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Ports below 1024 belong to services that must not receive requests of users.
fn port_is_usual(port: u16) -> bool {
    port >= 1024 || port == 80 || port == 443
}

/// The IPv4 address to which a translating network delivers packets for this IPv6 address.
fn embedded_ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(ip) = ip else { return None };
    let o = ip.octets();
    let last = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    match ip.segments() {
        // ::ffff:0:0/96, ::/96, ::ffff:0:0:0/96 (SIIT, RFC 2765) and 64:ff9b::/96 end with the IPv4 address, 2002::/16
        // starts with it.
        [0, 0, 0, 0, 0, 0xffff | 0, _, _] | [0, 0, 0, 0, 0xffff, 0, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => {
            Some(last)
        }
        [0x2002, ..] => Some(Ipv4Addr::new(o[2], o[3], o[4], o[5])),
        _ => None,
    }
}

const DENIED_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

const DENIED_V6: [Ipv6Net; 12] = [
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

const fn v4(octets: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = octets;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Ipv6Net {
    let [a, b, c, d, e, f, g, h] = segments;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::{AddressGuard, Nat64Prefix};
    use crate::config::Cidr;

    fn guard(allow: &[&str], deny: &[&str]) -> AddressGuard {
        let cidrs = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Cidr>>();
        AddressGuard::new(&cidrs(allow), &cidrs(deny))
    }

    fn permits(guard: &AddressGuard, ip: &str, port: u16) -> bool {
        guard.permits(SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port))
    }

    #[test]
    fn denied_networks_are_rejected_from_first_to_last_address_and_their_neighbours_are_permitted() {
        let open = guard(&[], &[]);
        for (first, last) in [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.255.255"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "239.255.255.255"),
            ("240.0.0.0", "255.255.255.255"),
            ("::", "::1"),
            ("100::", "100::ffff:ffff:ffff:ffff"),
            ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            assert!(!permits(&open, first, 8448), "{first}");
            assert!(!permits(&open, last, 8448), "{last}");
        }
        for public in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.101.0",
            "203.0.114.0",
            "223.255.255.255",
            "8.8.8.8",
            "100:0:0:1::",
            "64:ff9b:2::",
            "2001:200::",
            "2001:db9::",
            "3fff:1000::",
            "2606:4700::1111",
            "2a00::1",
            "5eff::",
            "fbff::",
        ] {
            assert!(permits(&open, public, 8448), "{public}");
        }
    }

    #[test]
    fn an_embedded_ipv4_address_is_treated_like_that_address() {
        let open = guard(&[], &["9.9.9.0/24"]);
        for (ip, allowed) in [
            ("::ffff:127.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("::ffff:9.9.9.9", false),
            ("::127.0.0.1", false),
            ("::8.8.8.8", true),
            ("2002:7f00:1::", false),
            ("2002:a00:5::1", false),
            ("2002:808:808::1", true),
            ("2002:909:909::1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::10.0.0.5", false),
            ("64:ff9b::8.8.8.8", true),
            ("::ffff:0:127.0.0.1", false),
            ("::ffff:0:169.254.169.254", false),
            ("::ffff:0:9.9.9.9", false),
            ("::ffff:0:8.8.8.8", true),
        ] {
            assert_eq!(permits(&open, ip, 443), allowed, "{ip}");
        }
    }

    #[test]
    fn an_address_below_a_nat64_prefix_is_treated_like_the_ipv4_address_in_it() {
        let prefixes = ["2001:db8:64::/96", "fd64:0:0:1::/64", "2a00:64::/32", "64:ff9b:1::/48"];
        let prefixes: Vec<Nat64Prefix> = prefixes.iter().map(|text| text.parse().unwrap()).collect();
        let own = guard(&[], &["9.9.9.0/24", "fd64::1:8:800:400:0"]).with_nat64(&prefixes);
        for (ip, allowed) in [
            ("2001:db8:64::7f00:1", false),
            ("2001:db8:64::10.0.0.5", false),
            ("2001:db8:64::9.9.9.9", false),
            ("2001:db8:64::8.8.8.8", true),
            ("2001:db8:65::8.8.8.8", false),
            // RFC 6052 section 2.2: octet 8 is skipped.
            ("fd64:0:0:1:8:808:800:0", true),
            ("fd64:0:0:1:7f:0:100:0", false),
            ("2a00:64:808:808::", true),
            ("2a00:64:a00:1::", false),
            ("64:ff9b:1:808:8:800::", true),
            ("64:ff9b:1:7f00:0:100::", false),
        ] {
            assert_eq!(permits(&own, ip, 8448), allowed, "{ip}");
        }
        assert!(!permits(&own, "2001:db8:64::8.8.8.8", 22));
        for wrong in ["2001:db8::/95", "2001:db8::/128", "10.0.0.0/8", "2001:db8::", "x"] {
            assert!(wrong.parse::<Nat64Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports_below_1024_except_80_and_443_are_rejected() {
        let open = guard(&[], &[]);
        for (port, allowed) in [
            (0, false),
            (22, false),
            (25, false),
            (79, false),
            (80, true),
            (81, false),
            (443, true),
            (1023, false),
            (1024, true),
            (8448, true),
            (65535, true),
        ] {
            assert_eq!(permits(&open, "8.8.8.8", port), allowed, "{port}");
        }
    }

    #[test]
    fn a_host_that_must_have_permitted_addresses_alone_loses_them_all_for_one_other() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 443)).collect()
        };
        let kept = |guard: &AddressGuard, texts: &[&str]| {
            let mut found = addresses(texts);
            guard.retain_permitted(&mut found);
            found.len()
        };
        let (one, all) = (guard(&["10.0.0.5"], &[]), guard(&["10.0.0.5"], &[]).requiring_all());
        assert_eq!((kept(&one, &["8.8.8.8", "10.0.0.1"]), kept(&all, &["8.8.8.8", "10.0.0.1"])), (1, 0));
        assert_eq!((kept(&one, &["8.8.8.8", "10.0.0.5"]), kept(&all, &["8.8.8.8", "10.0.0.5"])), (2, 2));
        let allows = |text: &str| all.allows(text.parse().unwrap());
        assert!(allows("10.0.0.5") && allows("::ffff:10.0.0.5") && !allows("8.8.8.8"));
    }

    #[test]
    fn allowed_networks_override_the_denied_ones_and_the_port_rule() {
        let own = guard(&["127.0.0.1", "fd00::/8", "10.1.0.0/16"], &["8.8.8.0/24", "10.1.0.0/16"]);
        assert!(permits(&own, "127.0.0.1", 22));
        assert!(permits(&own, "::ffff:127.0.0.1", 22));
        assert!(permits(&own, "fd00::1", 25));
        assert!(permits(&own, "10.1.2.3", 8448));
        assert!(!permits(&own, "127.0.0.2", 8448));
        assert!(!permits(&own, "10.2.0.1", 8448));
        assert!(!permits(&own, "8.8.8.8", 443));
        assert!(!permits(&own, "::ffff:8.8.8.8", 443));
        assert!(permits(&own, "8.8.4.4", 443));
        // The loopback address of a translator belongs to another machine.
        assert!(!permits(&own, "64:ff9b::127.0.0.1", 443));
    }
}
