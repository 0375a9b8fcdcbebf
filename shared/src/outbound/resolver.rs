//! From a host to the addresses that a connection may use.
//!
//! Invariant: the addresses that the guard permitted are the addresses that are connected to; no name is resolved twice.

use std::net::{IpAddr, SocketAddr};

use url::Host;

use super::dns::{Dns, interleave};
use super::failure::{ConnectError, Failure};
use super::guard::AddressGuard;

/// How hosts are resolved, and which of their addresses are permitted.
#[derive(Clone, Debug)]
pub enum Resolver {
    /// For hosts from the configuration: the system's resolver, and every address is permitted. A proxy receives names.
    System,
    /// For hosts that users choose: DNS and the address guard. A proxy receives permitted addresses.
    Guarded {
        /// Resolves names.
        dns: Dns,
        /// Permits addresses.
        guard: AddressGuard,
    },
}

impl Resolver {
    /// The permitted addresses of `host`, at least one. `is_exempt` permits all addresses.
    pub(super) async fn addresses(
        &self,
        host: &Host<String>,
        port: u16,
        is_exempt: bool,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        let Self::Guarded { dns, guard } = self else { return system_addresses(host, port).await };
        let mut addresses = match host {
            Host::Domain(name) => {
                let found = dns.addresses(name).await.map_err(|error| ConnectError::new(Failure::Dns, &error))?;
                found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
            }
            Host::Ipv4(ip) => vec![SocketAddr::new(IpAddr::V4(*ip), port)],
            Host::Ipv6(ip) => vec![SocketAddr::new(IpAddr::V6(*ip), port)],
        };
        if addresses.is_empty() {
            return Err(Failure::Dns.into());
        }
        if is_exempt {
            return Ok(addresses);
        }
        let all = addresses.clone();
        guard.retain_permitted(&mut addresses);
        if addresses.is_empty() { Err(ConnectError::blocked(&all)) } else { Ok(addresses) }
    }
}

/// The addresses of `host` from the system's resolver, at least one.
pub(super) async fn system_addresses(host: &Host<String>, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let name = match host {
        Host::Domain(name) => name.as_str(),
        Host::Ipv4(ip) => return Ok(vec![SocketAddr::new(IpAddr::V4(*ip), port)]),
        Host::Ipv6(ip) => return Ok(vec![SocketAddr::new(IpAddr::V6(*ip), port)]),
    };
    let found = tokio::net::lookup_host((name, port)).await;
    let addresses = interleave(found.map_err(|error| ConnectError::new(Failure::Dns, &error))?, SocketAddr::is_ipv6);
    if addresses.is_empty() { Err(Failure::Dns.into()) } else { Ok(addresses) }
}
