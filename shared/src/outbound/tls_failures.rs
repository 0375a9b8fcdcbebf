//! Logs why TLS handshakes fail: the operator's only hint at a certificate with the wrong name, issuer or date.
//!
//! Invariant: a server is named at most once a minute, and names that users choose cannot fill the log or the memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::time::Instant;

use super::failure::ConnectError;

/// How long a server is not named again.
const INTERVAL: Duration = Duration::from_secs(60);
/// The most servers that are named within one interval.
const MAX_SERVERS: usize = 200;
/// The most characters of a cause; a certificate can contain any number of names.
const MAX_CAUSE: usize = 300;

/// The servers whose failures were logged, with the time.
#[derive(Default)]
pub(super) struct TlsFailures(Mutex<HashMap<ServerName<'static>, Instant>>);

impl TlsFailures {
    /// Logs that the handshake with `server` failed, once a minute.
    pub(super) fn report(&self, server: &ServerName<'static>, error: &ConnectError) {
        if self.is_due(server, Instant::now()) {
            let cause: String = error.to_string().chars().take(MAX_CAUSE).collect();
            tracing::warn!(server = %server.to_str(), cause, "TLS handshake failed");
        }
    }

    fn is_due(&self, server: &ServerName<'static>, now: Instant) -> bool {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.retain(|_, at| now.duration_since(*at) < INTERVAL);
        if logged.contains_key(server) || logged.len() >= MAX_SERVERS {
            return false;
        }
        logged.insert(server.clone(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;
    use tokio::time::Instant;

    use super::{MAX_SERVERS, TlsFailures};

    #[test]
    fn a_server_is_named_once_a_minute_and_many_servers_are_bounded() {
        let name = |n: usize| ServerName::try_from(format!("hs{n}.example")).unwrap();
        let (failures, start) = (TlsFailures::default(), Instant::now());
        assert!(failures.is_due(&name(0), start));
        assert!(!failures.is_due(&name(0), start + Duration::from_secs(59)));
        assert!(failures.is_due(&name(0), start + Duration::from_secs(60)));
        let named = (1..1000).filter(|&n| failures.is_due(&name(n), start + Duration::from_secs(61))).count();
        assert_eq!(named, MAX_SERVERS - 1);
    }
}
