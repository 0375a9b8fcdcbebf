//! Server discovery: from a server name to the targets of a connection.
//! <https://spec.matrix.org/v1.19/server-server-api/#resolving-server-names>
//!
//! Invariant: only the targets of the operator's overrides are exempt from the address guard.

use std::collections::BTreeMap;

use shared::outbound::connector::Target;
use shared::outbound::dns::{Dns, Service};
use shared::outbound::failure::{ConnectError, Failure};
use shared::random::Random;
use url::Host;

use super::well_known::WellKnown;
use crate::config::federation::Endpoint;
use crate::domain::server_name::ServerName;

/// The default port of homeservers.
const DEFAULT_PORT: u16 = 8448;

/// The SRV targets of one server that are tried.
const MAX_TARGETS: usize = 8;

/// Discovers servers.
pub(super) struct Discovery {
    overrides: BTreeMap<ServerName, Endpoint>,
    dns: Dns,
    well_known: WellKnown,
    random: Random,
}

impl Discovery {
    pub(super) fn new(
        overrides: BTreeMap<ServerName, Endpoint>,
        dns: Dns,
        well_known: WellKnown,
        random: Random,
    ) -> Self {
        Self { overrides, dns, well_known, random }
    }

    /// Whether the operator overrides the discovery of the server.
    pub(super) fn overridden(&self, server: &ServerName) -> Option<&Endpoint> {
        self.overrides.get(server)
    }

    /// Whether the name alone decides, without a well-known file.
    pub(super) fn is_explicit(server: &ServerName) -> bool {
        server.port().is_some() || !matches!(Host::parse(server.host()), Ok(Host::Domain(_)))
    }

    /// The well-known files.
    pub(super) fn well_known(&self) -> &WellKnown {
        &self.well_known
    }

    /// Steps 1 to 3: the name for `Host` and the certificate. The well-known file may delegate it to another name.
    pub(super) async fn delegate(&self, server: &ServerName) -> ServerName {
        if Self::is_explicit(server) || self.overrides.contains_key(server) {
            return server.clone();
        }
        self.well_known.find(server.host()).await.unwrap_or_else(|| server.clone())
    }

    /// The remaining steps: the targets of a name from [`Discovery::delegate`], in the order of attempts.
    ///
    /// # Errors
    /// [`Failure::Dns`] if the name has no target or if DNS fails; [`Failure::Blocked`] for addresses in an unusual form.
    pub(super) async fn targets(&self, name: &ServerName) -> Result<Vec<Target>, ConnectError> {
        let target = |host: &str, port| Target::tcp(host, port).ok_or(ConnectError::from(Failure::Dns));
        if let Some(endpoint) = self.overrides.get(name) {
            return Ok(vec![Target { is_exempt: true, ..target(&endpoint.host, endpoint.port)? }]);
        }
        if let Some(ip) = name.ip() {
            return Ok(vec![target(&ip.to_string(), name.port().unwrap_or(DEFAULT_PORT))?]);
        }
        match Host::parse(name.host()) {
            Ok(Host::Domain(_)) => {}
            // Some libraries parse numbers such as 127.1 and 0x7f000001 as addresses.
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(Failure::Blocked.into()),
            Err(_) => return Err(Failure::Dns.into()),
        }
        if let Some(port) = name.port() {
            return Ok(vec![target(name.host(), port)?]);
        }
        for service in ["_matrix-fed._tcp", "_matrix._tcp"] {
            let services = self.dns.services(&format!("{service}.{}", name.host())).await;
            let services = services.map_err(|error| ConnectError::new(Failure::Dns, &error))?;
            if !services.is_empty() {
                // An empty target declares that the service does not exist (RFC 2782).
                let ordered = order(services, |bound| self.random.below(bound));
                let mut targets: Vec<Target> = Vec::new();
                for service in ordered {
                    let found = Target::tcp(&service.target, service.port);
                    targets.extend(found.filter(|target| !targets.contains(target)));
                    if targets.len() == MAX_TARGETS {
                        break;
                    }
                }
                return if targets.is_empty() { Err(Failure::Dns.into()) } else { Ok(targets) };
            }
        }
        Ok(vec![target(name.host(), DEFAULT_PORT)?])
    }
}

/// Sorts SRV records by priority, and randomly by weight within one priority (RFC 2782). `random_below` returns a number
/// below its argument.
fn order(mut services: Vec<Service>, random_below: impl Fn(u32) -> u32) -> Vec<Service> {
    // Weight 0 is first in its group, so that it has a small chance.
    services.sort_by_key(|service| (service.priority, service.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let group = services.iter().take_while(|service| service.priority == first.priority);
        let sum = group.map(|service| u32::from(service.weight)).sum::<u32>();
        let drawn = random_below(sum.saturating_add(1));
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
    fn a_lower_priority_comes_first_and_weights_decide_within_one_priority() {
        let given = [(20, 100, "d"), (10, 1, "b"), (10, 3, "c"), (10, 0, "a")];
        assert_eq!(names(order(services(&given), |_| 0)), "abcd");
        assert_eq!(names(order(services(&given), |bound| bound - 1)), "cbad");
        assert_eq!(names(order(services(&given), |bound| 1.min(bound - 1))), "bcad");
        assert_eq!(names(order(Vec::new(), |_| 0)), "");
    }

    #[test]
    fn weights_are_shares_of_the_requests() {
        let firsts = (0..4_000)
            .filter(|_| names(order(services(&[(1, 30, "a"), (1, 10, "b")]), |n| Random.below(n))).starts_with('a'));
        let count = firsts.count();
        // Expected 3,000 with a standard deviation of 27.
        assert!((2_750..3_250).contains(&count), "{count}");
    }
}
