//! What counts as one client of the gateway.
//!
//! Invariant: pure.

use std::net::IpAddr;

/// What counts as one client for rates: an IPv4 address, or a /64 network of IPv6, which is the least that a provider assigns.
pub(super) const NETWORK: usize = 4;
/// What counts as one client for everything that clients share: an IPv4 address, or a /48 network of IPv6, which many
/// providers assign on request.
pub(super) const SITE: usize = 3;

/// The network of a client, whose IPv6 prefix has this many segments.
pub(super) fn network(client: IpAddr, segments: usize) -> String {
    match client {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let prefix =
                address.segments()[..segments].iter().map(|segment| format!("{segment:x}:")).collect::<String>();
            format!("{prefix}:/{}", segments * 16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NETWORK, SITE, network};

    #[test]
    fn networks_of_ipv6_are_named_by_their_prefix() {
        let names = |address: &str| [SITE, NETWORK].map(|segments| network(address.parse().unwrap(), segments));
        assert_eq!(names("2a00:1:2:3:4::5"), ["2a00:1:2::/48", "2a00:1:2:3::/64"]);
        assert_eq!(names("192.0.2.7"), ["192.0.2.7", "192.0.2.7"]);
    }
}
