//! The way to a homeserver, step by step, for `doctor`.
//!
//! Invariant: takes the steps of every request, with the same resolver, address guard and certificates, but no cache.

use super::client::HomeserverClient;
use super::connect::Attempt;
use super::resolve::Discovery;
use crate::domain::server_name::ServerName;

/// One step of discovery, or one attempt to connect.
pub struct Step {
    /// What was done.
    pub what: String,
    /// What came of it.
    pub result: Result<String, String>,
    /// Whether a failure ends the way. Without a well-known file discovery goes on.
    pub is_decisive: bool,
}

impl HomeserverClient {
    /// Discovers `server` and connects to its targets.
    pub async fn trace(&self, server: &ServerName) -> Vec<Step> {
        let mut steps = Vec::new();
        let name = self.trace_delegation(server, &mut steps).await;
        let attempts = match self.connector.attempts(&name).await {
            Ok(attempts) => attempts,
            Err(error) => {
                steps.push(Step {
                    what: format!("addresses of {name}"),
                    result: Err(error.to_string()),
                    is_decisive: true,
                });
                return steps;
            }
        };
        let number = attempts.len();
        for (index, Attempt { tried, result }) in attempts.into_iter().enumerate() {
            steps.push(Step {
                what: format!("connection to {tried}"),
                result: result
                    .map(|_| format!("accepted, with a valid certificate for {}", name.host()))
                    .map_err(|error| error.to_string()),
                is_decisive: index + 1 == number,
            });
        }
        steps
    }

    async fn trace_delegation(&self, server: &ServerName, steps: &mut Vec<Step>) -> ServerName {
        let mut step = |what: &str, result| steps.push(Step { what: what.to_owned(), result, is_decisive: false });
        if let Some(endpoint) = self.discovery.overridden(server) {
            step("discovery", Ok(format!("[federation.overrides] leads to {endpoint}")));
            return server.clone();
        }
        if Discovery::is_explicit(server) {
            step("discovery", Ok("the name has an address or a port, so there is no well-known file".to_owned()));
            return server.clone();
        }
        match self.discovery.well_known().fetch(server.host()).await {
            Ok((name, _)) => {
                step("well-known file", Ok(format!("{} delegates to {name}", server.host())));
                name
            }
            Err(reason) => {
                step("well-known file", Err(format!("none ({reason}); SRV records and port 8448 are next")));
                server.clone()
            }
        }
    }
}
