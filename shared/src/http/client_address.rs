//! The client's address: the connection's peer, or the address that a trusted proxy reports.
//!
//! Invariant: the server uses the header only from peers in `[http] trusted_proxies`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Once;

use actix_web::HttpRequest;
use actix_web::dev::RequestHead;
use actix_web::guard::GuardContext;
use actix_web::web::Data;

use crate::config::Cidr;

/// The networks of the operator's reverse proxies.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(pub Vec<Cidr>);

impl TrustedProxies {
    pub(super) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: the peer, or, for a trusted peer, the first untrusted address of `X-Forwarded-For` from the right.
    /// An unreadable entry ends the search, because the client may have written everything to its left: the proxy that reported
    /// it then counts as the client.
    fn client(&self, peer: IpAddr, forwarded_for: &[&str]) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops = forwarded_for.iter().flat_map(|line| line.split(',')).map(str::trim).rev();
        for hop in hops {
            if !self.contain(client) {
                break;
            }
            let Some(address) = parse(hop) else { break };
            client = address.to_canonical();
        }
        client
    }
}

/// The address of the client of `request`, for limits and logs.
pub fn client_address(request: &HttpRequest) -> IpAddr {
    address(request.head(), request.app_data::<Data<TrustedProxies>>())
}

/// The address of the client of a request that has no route yet, for guards of routes.
pub fn client_of_route(context: &GuardContext<'_>) -> IpAddr {
    address(context.head(), context.app_data::<Data<TrustedProxies>>())
}

/// Whether the operator lists the peer as a reverse proxy.
pub(super) fn is_trusted(request: &HttpRequest, peer: IpAddr) -> bool {
    request.app_data::<Data<TrustedProxies>>().is_some_and(|proxies| proxies.contain(peer))
}

fn address(head: &RequestHead, proxies: Option<&Data<TrustedProxies>>) -> IpAddr {
    // A Unix socket has no peer address. Only the operator can open it.
    let peer = head.peer_addr.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.ip());
    let Some(proxies) = proxies else { return peer.to_canonical() };
    // A line that is no text counts as an unreadable entry.
    let lines: Vec<&str> =
        head.headers().get_all("x-forwarded-for").map(|value| value.to_str().unwrap_or_default()).collect();
    if !lines.is_empty() && !proxies.contain(peer.to_canonical()) {
        report_unlisted(peer.to_canonical());
    }
    proxies.client(peer, &lines)
}

/// Logs the first `X-Forwarded-For` of a peer that is not listed: it may be the operator's reverse proxy. Peers from the
/// Internet do not consume the report about one of the operator's network.
fn report_unlisted(peer: IpAddr) {
    static NEAR: Once = Once::new();
    static FAR: Once = Once::new();
    let is_near = match peer {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    };
    (if is_near { &NEAR } else { &FAR }).call_once(|| {
        tracing::warn!(
            %peer,
            "X-Forwarded-For is ignored, so that all clients behind this peer share one limit; if it is your reverse proxy, \
             add its address to [http] trusted_proxies"
        );
    });
}

/// What counts as one client: an IPv4 address, or a /48 network of IPv6, which many providers assign on request.
pub(super) fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 80))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Parses an address as proxies write it: bare, in brackets, or with a port.
fn parse(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split(']').next()).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::TrustedProxies;

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        proxies.client(peer.parse().unwrap(), lines).to_string()
    }

    #[test]
    fn an_untrusted_peer_is_the_client_regardless_of_headers() {
        assert_eq!(client("9.9.9.9", &["1.2.3.4, 10.0.0.1"]), "9.9.9.9");
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_used() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("::1", &["[2a00::1]:443"]), "2a00::1");
        assert_eq!(client("::ffff:10.0.0.1", &["1.2.3.4:5"]), "1.2.3.4");
    }

    #[test]
    fn an_unreadable_entry_ends_the_search() {
        assert_eq!(client("10.0.0.1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.3"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &["1.2.3.4", ""]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown, 1.2.3.4"]), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["unknown, 10.0.0.3"]), "10.0.0.3");
    }
}
