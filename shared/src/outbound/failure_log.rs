//! Logs why TLS handshakes and connections through the proxy fail: the operator's only hint at a certificate with the wrong
//! name, issuer or date, and at a proxy that refuses.
//!
//! Invariant: a server is named at most once a minute, and names that users choose cannot fill the log or the memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::failure::ConnectError;
use super::proxy::Proxy;

/// How long a server is not named again.
const INTERVAL: Duration = Duration::from_secs(60);
/// The most servers that are named within one interval.
const MAX_SERVERS: usize = 200;
/// The most characters of a cause; a certificate can contain any number of names.
const MAX_CAUSE: usize = 400;

/// The servers and proxies whose failures were logged, with the time.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<HashMap<String, Instant>>);

impl FailureLog {
    /// Logs that the handshake with `server` failed, once a minute.
    pub(super) fn tls(&self, server: &ServerName<'static>, error: &ConnectError) {
        let server = server.to_str();
        if self.is_due(&server) {
            tracing::warn!(%server, cause = cut(error), "TLS handshake failed");
        }
    }

    /// Logs that no address of `server`, a name that a user may have chosen, accepted a connection, once a minute. `tried` is
    /// the last host and port.
    pub fn homeserver(&self, server: &str, tried: &str, error: &ConnectError) {
        if self.is_due(server) {
            let action = "check its federation port and certificate; for a homeserver in your own network see \
                          [federation.overrides], [outbound] allow_cidrs and extra_ca_file";
            tracing::warn!(server, tried, cause = cut(error), action, "homeserver is not reachable");
        }
    }

    /// Logs that `proxy` opened no connection, once a minute. The host behind it may be one that a user chose.
    pub(super) fn proxy(&self, proxy: &Proxy, error: &ConnectError) {
        if self.is_due(&format!("proxy {proxy}")) {
            tracing::warn!(%proxy, cause = cut(error), "the proxy opened no connection");
        }
    }

    /// Whether the server, or another cause of a line, is to be named now; counts it if so.
    pub fn is_due(&self, server: &str) -> bool {
        self.is_due_at(server, Instant::now())
    }

    fn is_due_at(&self, server: &str, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.duration_since(*at) < INTERVAL);
        if logged.contains_key(server) || logged.len() >= MAX_SERVERS {
            return false;
        }
        logged.insert(server.to_owned(), now);
        true
    }
}

fn cut(error: &ConnectError) -> String {
    error.to_string().chars().take(MAX_CAUSE).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{FailureLog, MAX_SERVERS};

    #[test]
    fn a_server_is_named_once_a_minute_and_many_servers_are_bounded() {
        let name = |n: usize| format!("hs{n}.example");
        let (failures, start) = (FailureLog::default(), Instant::now());
        assert!(failures.is_due_at(&name(0), start));
        assert!(!failures.is_due_at(&name(0), start + Duration::from_secs(59)));
        assert!(failures.is_due_at(&name(0), start + Duration::from_secs(60)));
        let named = (1..1000).filter(|&n| failures.is_due_at(&name(n), start + Duration::from_secs(61))).count();
        assert_eq!(named, MAX_SERVERS - 1);
    }
}
