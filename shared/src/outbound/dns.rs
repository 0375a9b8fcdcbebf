//! DNS client: addresses (the hosts file included) and SRV records.
//!
//! Invariant: a name without records is an empty list; an error means that no name server gave a usable response.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

/// A DNS client with a cache that honours TTLs. Clones share the cache.
#[derive(Clone)]
pub struct Dns(Arc<TokioResolver>);

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Clients try lower values first.
    pub priority: u16,
    /// The share of requests among records of one priority.
    pub weight: u16,
    /// The TCP port.
    pub port: u16,
    /// The host name without the final dot. An empty name declares that the service does not exist.
    pub target: String,
}

/// A lookup without a usable response.
#[derive(Debug, thiserror::Error)]
#[error("DNS lookup failed: {0}")]
pub struct DnsError(String);

impl Dns {
    /// A client of `servers`, or of the system's name servers if the list is empty.
    ///
    /// # Errors
    /// [`DnsError`] if the system's resolver configuration cannot be read.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, DnsError> {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio().map_err(DnsError::from)?
        } else {
            let servers = servers.iter().map(|&server| name_server(server)).collect();
            let config = ResolverConfig::from_name_servers(servers);
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = ResolverOpts::default();
            builder
        };
        Ok(Self(Arc::new(builder.build().map_err(DnsError::from)?)))
    }

    /// The addresses of `host`, IPv6 and IPv4 alternating, as RFC 8305 recommends.
    ///
    /// A name with a dot is absolute. A name without a dot is also looked up in the system's search domains.
    ///
    /// # Errors
    /// [`DnsError`] if no name server gave a usable response.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let name = if host.contains('.') { absolute(host) } else { host.to_owned() };
        match self.0.lookup_ip(name).await {
            Ok(found) => {
                let mut addresses: Vec<IpAddr> = found.iter().collect();
                addresses.sort_by_key(IpAddr::is_ipv4);
                Ok(interleave(addresses, IpAddr::is_ipv6))
            }
            Err(error) => none_or(error),
        }
    }

    /// The SRV records of `name`, for example `_matrix-fed._tcp.example.org`, unsorted.
    ///
    /// # Errors
    /// [`DnsError`] if no name server gave a usable response.
    pub async fn services(&self, name: &str) -> Result<Vec<Service>, DnsError> {
        let found = match self.0.srv_lookup(absolute(name)).await {
            Ok(found) => found,
            Err(error) => return none_or(error),
        };
        let service = |data: &RData| match data {
            RData::SRV(srv) => Some(Service {
                priority: srv.priority,
                weight: srv.weight,
                port: srv.port,
                target: srv.target.to_ascii().trim_end_matches('.').to_ascii_lowercase(),
            }),
            _ => None,
        };
        Ok(found.answers().iter().filter_map(|record| service(&record.data)).collect())
    }
}

impl From<NetError> for DnsError {
    fn from(error: NetError) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dns")
    }
}

fn none_or<T>(error: NetError) -> Result<Vec<T>, DnsError> {
    if error.is_no_records_found() { Ok(Vec::new()) } else { Err(error.into()) }
}

fn absolute(name: &str) -> String {
    if name.ends_with('.') { name.to_owned() } else { format!("{name}.") }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = address.port();
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

/// Alternates between the address families, beginning with the family of the first address (RFC 8305 §4).
pub(super) fn interleave<T>(addresses: impl IntoIterator<Item = T>, is_ipv6: impl Fn(&T) -> bool) -> Vec<T> {
    let mut addresses = addresses.into_iter().peekable();
    let Some(first_is_ipv6) = addresses.peek().map(&is_ipv6) else { return Vec::new() };
    let (first, second): (Vec<T>, Vec<T>) = addresses.partition(|address| is_ipv6(address) == first_is_ipv6);
    let mut alternating = Vec::with_capacity(first.len() + second.len());
    let mut second = second.into_iter();
    for address in first {
        alternating.push(address);
        alternating.extend(second.next());
    }
    alternating.extend(second);
    alternating
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Dns, absolute, interleave};

    #[test]
    fn address_families_alternate_and_no_address_is_lost() {
        for (addresses, expected) in [
            (&["::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"][..], &["::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"][..]),
            (&["::2", "::3", "1.1.1.1"], &["::2", "1.1.1.1", "::3"]),
            (&["1.1.1.1", "2.2.2.2", "::2"], &["1.1.1.1", "::2", "2.2.2.2"]),
            (&[], &[]),
        ] {
            let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
            let found: Vec<String> = interleave(addresses, IpAddr::is_ipv6).iter().map(ToString::to_string).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_name_becomes_absolute_with_one_final_dot() {
        assert_eq!(absolute("hs.example"), "hs.example.");
        assert_eq!(absolute("hs.example."), "hs.example.");
    }

    #[tokio::test]
    async fn localhost_resolves_without_a_name_server() {
        // Nothing listens on this port, so the addresses come from the hosts file.
        let dns = Dns::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
        let found = dns.addresses("localhost").await.unwrap();
        assert!(found.contains(&"127.0.0.1".parse().unwrap()), "{found:?}");
    }
}
