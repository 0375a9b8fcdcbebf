//! Looking up names: addresses, from the hosts file and the name servers, and SRV records.
//!
//! Invariant: "there is none" is an empty list; an error means that nobody knows.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

/// A DNS client with a cache that keeps answers as long as they say. Clones share it.
#[derive(Clone)]
pub struct Dns(TokioResolver);

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower comes first.
    pub priority: u16,
    /// The share of the traffic among records of one priority.
    pub weight: u16,
    /// The port at which the target serves.
    pub port: u16,
    /// The target's name without the final dot. It is empty if the service is declared not to exist.
    pub target: String,
}

/// A look-up that brought neither a record nor the certainty that there is none.
#[derive(Debug, thiserror::Error)]
#[error("DNS look-up failed: {0}")]
pub struct DnsError(String);

impl Dns {
    /// A client of `servers`, or of those that the system is set to use if the list is empty.
    ///
    /// # Errors
    /// [`DnsError`] if the system's settings cannot be read.
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
        Ok(Self(builder.build().map_err(DnsError::from)?))
    }

    /// The addresses of `host`, IPv6 and IPv4 taking turns, as RFC 8305 likes them to be tried.
    ///
    /// A name with a dot in it is a whole name; one without is also looked for in the system's search domains.
    ///
    /// # Errors
    /// [`DnsError`] if no name server answered usably; a name without addresses is an empty list.
    pub async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, DnsError> {
        let name = if host.contains('.') { absolute(host) } else { host.to_owned() };
        match self.0.lookup_ip(name).await {
            Ok(found) => Ok(take_turns(found.iter())),
            Err(error) => none_or(error),
        }
    }

    /// The SRV records of `name`, for example `_matrix-fed._tcp.example.org`, unsorted.
    ///
    /// # Errors
    /// [`DnsError`] if no name server answered usably; a name without SRV records is an empty list.
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

fn take_turns(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let (mut v6, v4): (Vec<_>, Vec<_>) = addresses.partition(IpAddr::is_ipv6);
    let mut turns = Vec::with_capacity(v6.len() + v4.len());
    let mut v4 = v4.into_iter();
    for address in v6.drain(..) {
        turns.push(address);
        turns.extend(v4.next());
    }
    turns.extend(v4);
    turns
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Dns, absolute, take_turns};

    #[test]
    fn families_take_turns_and_none_is_lost() {
        let ips = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpAddr>>();
        assert_eq!(
            take_turns(ips(&["1.1.1.1", "2.2.2.2", "::2", "3.3.3.3"]).into_iter()),
            ips(&["::2", "1.1.1.1", "2.2.2.2", "3.3.3.3"])
        );
        assert_eq!(take_turns(ips(&["::2", "::3", "1.1.1.1"]).into_iter()), ips(&["::2", "1.1.1.1", "::3"]));
    }

    #[test]
    fn a_name_becomes_absolute_once() {
        assert_eq!(absolute("hs.example"), "hs.example.");
        assert_eq!(absolute("hs.example."), "hs.example.");
    }

    #[tokio::test]
    async fn the_local_host_is_known_without_asking_anyone() {
        // Port 9 discards: an answer can only come from here.
        let dns = Dns::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
        let found = dns.addresses("localhost").await.unwrap();
        assert!(found.contains(&"127.0.0.1".parse().unwrap()), "{found:?}");
    }
}
