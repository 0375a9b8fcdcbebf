//! The homeservers that one person may run at little cost, counted as one: those below one registrable domain, or in
//! one network if they are named by address.
//!
//! Invariant: two names of one registrable domain are one group; a name of another domain never is. Names that
//! the owner of a domain offers without a fee are one group with it.

use std::net::{IpAddr, Ipv6Addr};

use super::server_name::ServerName;

/// The group of `server`: its registrable domain by the public suffix list, or the /24 or /48 of its address.
pub fn homeserver_group(server: &ServerName) -> String {
    match server.ip().map(|ip| ip.to_canonical()) {
        Some(IpAddr::V4(ip)) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            format!("{}/48", Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0))
        }
        None => {
            let host = server.host().trim_end_matches('.');
            registrable_domain(host).to_owned()
        }
    }
}

/// The domain for which a fee was paid. Names below a private suffix, such as `github.io`, are free, so all of them count
/// as their owner's. A public suffix itself, or a name without a dot, is a domain of its own.
fn registrable_domain(host: &str) -> &str {
    let starts = host.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
    let is_icann = |name: &str| {
        psl::suffix(name.as_bytes())
            .is_some_and(|suffix| suffix.as_bytes().len() == name.len() && suffix.typ() != Some(psl::Type::Private))
    };
    // Names below a public suffix of several labels, such as `co.uk`, come after it.
    let longest = starts.clone().filter(|start| is_icann(&host[*start..])).min();
    let next = longest.and_then(|suffix| starts.clone().find(|start| *start < suffix));
    next.map_or(host, |start| &host[start..])
}

#[cfg(test)]
mod tests {
    use super::homeserver_group;
    use crate::domain::server_name::ServerName;

    #[test]
    fn servers_of_one_owner_are_one_group() {
        for (server, group) in [
            ("hs.example", "hs.example"),
            ("a.b.HS.example:8448", "hs.example"),
            ("matrix.example.co.uk", "example.co.uk"),
            ("x.example.com.br:1", "example.com.br"),
            ("a.b.github.io", "github.io"),
            ("x.vercel.app", "vercel.app"),
            ("a.s3.amazonaws.com", "amazonaws.com"),
            ("x.kawasaki.jp", "x.kawasaki.jp"),
            ("y.x.kawasaki.jp", "y.x.kawasaki.jp"),
            ("hs.unknown-tld", "hs.unknown-tld"),
            ("co.uk", "co.uk"),
            ("localhost", "localhost"),
            ("9.8.7.6", "9.8.7.0/24"),
            ("9.8.7.255:8448", "9.8.7.0/24"),
            ("[::ffff:9.8.7.6]", "9.8.7.0/24"),
            ("[2a00:1:2:3::4]:8448", "2a00:1:2::/48"),
            ("[2a00:1:2:ffff::]", "2a00:1:2::/48"),
        ] {
            assert_eq!(homeserver_group(&ServerName::parse(server).unwrap()), group, "{server}");
        }
    }
}
