//! The open connections of each client.
//!
//! Invariant: one client has at most a quarter of `[http] max_connections`, so that idle connections of one address keep
//! no other client out. This machine and the operator's proxies, which connect for many clients, have no such limit.

use std::any::Any;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::Extensions;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::client_address::{TrustedProxies, network};

/// The part of all connections that one client may have.
const CLIENT_SHARE: usize = 4;
/// At most one log line in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The connections of a listener.
#[derive(Debug)]
pub(super) struct Connections {
    max_per_client: usize,
    proxies: TrustedProxies,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    by_client: HashMap<IpAddr, usize>,
    logged_at: Option<Instant>,
}

/// One open connection; lives as long as the connection does.
#[derive(Debug)]
struct Connection {
    connections: Arc<Connections>,
    client: IpAddr,
}

impl Connections {
    pub(super) fn new(max: usize, proxies: TrustedProxies) -> Arc<Self> {
        Arc::new(Self { max_per_client: (max / CLIENT_SHARE).max(1), proxies, open: Mutex::default() })
    }

    /// Counts a new connection, or closes it. For actix's `on_connect`.
    pub(super) fn accept(self: &Arc<Self>, connection: &dyn Any, extensions: &mut Extensions) {
        let tls = || connection.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
        // A Unix socket has no client address.
        let Some(stream) = connection.downcast_ref::<TcpStream>().or_else(tls) else { return };
        let Ok(peer) = stream.peer_addr() else { return };
        match self.admit(peer.ip()) {
            Admission::Unlimited => {}
            Admission::Counted(connection) => drop(extensions.insert(Arc::new(connection))),
            Admission::Refused { is_logged } => {
                if is_logged {
                    let (client, max) = (peer.ip(), self.max_per_client);
                    tracing::warn!(%client, max, "a client has a quarter of [http] max_connections; its new ones are closed");
                }
                // A connection that is gone already is as good as closed.
                let _ = SockRef::from(stream).shutdown(Shutdown::Both);
            }
        }
    }

    fn admit(self: &Arc<Self>, peer: IpAddr) -> Admission {
        let peer = peer.to_canonical();
        if peer.is_loopback() || self.proxies.contain(peer) {
            return Admission::Unlimited;
        }
        let client = network(peer);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.by_client.get(&client).copied().unwrap_or(0);
        if number >= self.max_per_client {
            let is_logged = open.logged_at.is_none_or(|at| at.elapsed() >= LOG_INTERVAL);
            if is_logged {
                open.logged_at = Some(Instant::now());
            }
            return Admission::Refused { is_logged };
        }
        open.by_client.insert(client, number + 1);
        Admission::Counted(Connection { connections: self.clone(), client })
    }
}

enum Admission {
    Unlimited,
    Counted(Connection),
    Refused { is_logged: bool },
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = open.by_client.get_mut(&self.client) {
            *number -= 1;
            if *number == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Admission, Connections, TrustedProxies};

    #[test]
    fn one_client_has_at_most_a_quarter_of_the_connections() {
        let proxies = TrustedProxies(vec!["10.0.0.0/8".parse().unwrap()]);
        let connections = Connections::new(8, proxies);
        let admit = |peer: &str| connections.admit(peer.parse().unwrap());
        let is_refused = |admission: &Admission| matches!(admission, Admission::Refused { .. });
        let mut held: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(&admit).into_iter().collect();
        assert!(held.iter().all(|admission| matches!(admission, Admission::Counted(_))));
        assert!(is_refused(&admit("2001:db8::3")), "the same /48 network");
        assert!(!is_refused(&admit("192.0.2.1")));
        for exempt in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.1.2.3"] {
            held.extend((0..9).map(|_| admit(exempt)));
        }
        assert!(!held.iter().any(is_refused));
        held.remove(0);
        assert!(!is_refused(&admit("2001:db8::3")));
        drop(held);
        assert!(connections.open.lock().unwrap().by_client.is_empty());
    }
}
