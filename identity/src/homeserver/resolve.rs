//! Server discovery: from a server's name to the places where it may be tried.
//! <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>
//!
//! Invariant: a place that a stranger chose is judged by the address filter in [`Resolver::addresses`] and nowhere
//! passed around unjudged as an address; only the operator's overrides are exempt.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use shared::outbound::client::permitted;
use shared::outbound::dns::{Dns, DnsError, Service};
use shared::outbound::failure::Failure;
use shared::outbound::guard::AddressGuard;
use shared::random::Random;
use url::Host;

use super::well_known::WellKnown;
use crate::config::federation::Endpoint;
use crate::domain::server_name::ServerName;

/// The port of a homeserver that says nothing else.
const DEFAULT_PORT: u16 = 8448;

/// Discovers servers.
pub(super) struct Resolver {
    overrides: BTreeMap<ServerName, Endpoint>,
    dns: Dns,
    guard: AddressGuard,
    well_known: WellKnown,
    random: Random,
}

/// A place where a server may be: a name or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    /// Written by the operator, so the address filter does not apply.
    exempt: bool,
}

impl Resolver {
    pub(super) fn new(
        overrides: BTreeMap<ServerName, Endpoint>,
        dns: Dns,
        guard: AddressGuard,
        well_known: WellKnown,
        random: Random,
    ) -> Self {
        Self { overrides, dns, guard, well_known, random }
    }

    /// Steps 1 to 3: the name that stands in `Host` and must stand in the certificate. That is the server's own,
    /// unless its well-known file delegates to another.
    pub(super) async fn delegate(&self, server: &ServerName) -> ServerName {
        let plain_name = server.port().is_none() && matches!(Host::parse(server.host()), Ok(Host::Domain(_)));
        if !plain_name || self.overrides.contains_key(server) {
            return server.clone();
        }
        self.well_known.find(server.host()).await.unwrap_or_else(|| server.clone())
    }

    /// The other steps: where a name that has been through [`Resolver::delegate`] may be tried, in this order.
    ///
    /// # Errors
    /// [`Failure::Dns`] if there is no such place, or if nobody knows.
    pub(super) async fn targets(&self, name: &ServerName) -> Result<Vec<Target>, Failure> {
        if let Some(endpoint) = self.overrides.get(name) {
            return Ok(vec![Target { host: endpoint.host.clone(), port: endpoint.port, exempt: true }]);
        }
        let target = |host: &str, port| Target { host: host.to_owned(), port, exempt: false };
        if let Some(ip) = name.ip() {
            return Ok(vec![target(&ip.to_string(), name.port().unwrap_or(DEFAULT_PORT))]);
        }
        match Host::parse(name.host()) {
            Ok(Host::Domain(_)) => {}
            // Numbers such as 127.1 or 0x7f000001: no host name, but an address to some ears.
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(Failure::Blocked),
            Err(_) => return Err(Failure::Dns),
        }
        if let Some(port) = name.port() {
            return Ok(vec![target(name.host(), port)]);
        }
        for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
            let found = self.services(&format!("{service}.{}", name.host())).await?;
            if !found.is_empty() {
                let served = order(found, |bound| self.random.below(bound));
                let targets: Vec<_> = served
                    .iter()
                    .filter(|service| !service.target.is_empty())
                    .map(|service| target(&service.target, service.port))
                    .collect();
                // A record with an empty target declares that there is no such service: that is an answer (RFC 2782).
                return if targets.is_empty() { Err(Failure::Dns) } else { Ok(targets) };
            }
        }
        Ok(vec![target(name.host(), DEFAULT_PORT)])
    }

    /// The addresses of a target to which a connection may be made; at least one.
    ///
    /// # Errors
    /// [`Failure::Dns`] if there is none, [`Failure::Blocked`] if there is none that is permitted.
    pub(super) async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, Failure> {
        let open = AddressGuard::unrestricted();
        let guard = if target.exempt { &open } else { &self.guard };
        match target.host.parse::<IpAddr>() {
            Ok(ip) => {
                let address = SocketAddr::new(ip, target.port);
                if guard.permits(address) { Ok(vec![address]) } else { Err(Failure::Blocked) }
            }
            Err(_) => permitted(&self.dns, guard, &target.host, target.port).await,
        }
    }

    async fn services(&self, name: &str) -> Result<Vec<Service>, Failure> {
        self.dns.services(name).await.map_err(|error: DnsError| {
            tracing::debug!(%error, "no answer about SRV records");
            Failure::Dns
        })
    }
}

/// Sorts SRV records as RFC 2782 wants: by priority, and within one priority by a draw in which `weight` is the chance.
/// `roll` gives a number below its argument.
fn order(mut services: Vec<Service>, roll: impl Fn(u32) -> u32) -> Vec<Service> {
    // Weight 0 goes first in a group, so that it has a small chance and not none.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let group = services.iter().take_while(|service| service.priority == first.priority);
        let sum = group.map(|service| u32::from(service.weight)).sum::<u32>();
        let drawn = roll(sum.saturating_add(1));
        let mut running = 0;
        let chosen = services.iter().position(|service| {
            running += u32::from(service.weight);
            running >= drawn
        });
        ordered.push(services.remove(chosen.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use shared::outbound::dns::Service;
    use shared::random::Random;

    use super::order;

    fn services(of: &[(u16, u16, &str)]) -> Vec<Service> {
        of.iter()
            .map(|&(priority, weight, target)| Service { priority, weight, port: 1, target: target.to_owned() })
            .collect()
    }

    fn names(of: Vec<Service>) -> String {
        of.into_iter().map(|service| service.target).collect()
    }

    #[test]
    fn a_lower_priority_always_comes_first_and_the_draw_follows_the_weights() {
        let given = [(20, 100, "d"), (10, 1, "b"), (10, 3, "c"), (10, 0, "a")];
        assert_eq!(names(order(services(&given), |_| 0)), "abcd");
        assert_eq!(names(order(services(&given), |bound| bound - 1)), "cbad");
        assert_eq!(names(order(services(&given), |bound| 1.min(bound - 1))), "bcad");
        assert_eq!(names(order(Vec::new(), |_| 0)), "");
    }

    #[test]
    fn weights_are_shares_of_the_traffic() {
        let firsts = (0..4_000)
            .filter(|_| names(order(services(&[(1, 30, "a"), (1, 10, "b")]), |n| Random.below(n))).starts_with('a'));
        let count = firsts.count();
        // Expected 3,000 with a standard deviation of 27.
        assert!((2_750..3_250).contains(&count), "{count}");
    }
}
