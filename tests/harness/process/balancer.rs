//! The proxy before the replicas of a service: each new connection goes to the next replica.
//!
//! Invariant: it passes bytes on and parses none, so a replica receives exactly what the client sent, from the client's
//! address. A replica that refuses a connection is passed over.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// A proxy that listens. Before it is led to a server it closes every connection.
#[derive(Debug)]
pub struct Balancer {
    address: SocketAddr,
    replicas: Arc<Replicas>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Replicas {
    addresses: Mutex<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Balancer {
    /// Starts a proxy.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let replicas = Arc::new(Replicas::default());
        let accepting = Arc::clone(&replicas);
        let task = tokio::spawn(async move {
            while let Ok((client, peer)) = listener.accept().await {
                let replicas = Arc::clone(&accepting);
                // A connection that ends with an error ends alone.
                tokio::spawn(async move { drop(replicas.serve(client, peer.ip()).await) });
            }
        });
        Self { address, replicas, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the replicas.
    pub(super) fn lead_to(&self, addresses: Vec<SocketAddr>) {
        *self.replicas.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses;
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Replicas {
    async fn serve(&self, mut client: TcpStream, peer: IpAddr) -> std::io::Result<()> {
        let mut replica = self.connect(peer).await?;
        client.set_nodelay(true)?;
        replica.set_nodelay(true)?;
        copy_bidirectional(&mut client, &mut replica).await.map(drop)
    }

    async fn connect(&self, peer: IpAddr) -> std::io::Result<TcpStream> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed) % addresses.len().max(1);
        addresses.rotate_left(first);
        let mut refusal = std::io::ErrorKind::ConnectionRefused.into();
        for address in addresses {
            let socket = TcpSocket::new_v4()?;
            // The system's choice; a bound port would be taken for all replicas at once.
            if peer != IpAddr::V4(Ipv4Addr::LOCALHOST) {
                socket.bind((peer, 0).into())?;
            }
            match socket.connect(address).await {
                Ok(replica) => return Ok(replica),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::Balancer;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    /// A replica that answers each connection with its name and the address of the client.
    async fn replica(name: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut client, peer)) = listener.accept().await {
                client.write_all(format!("{name} {}", peer.ip()).as_bytes()).await.unwrap();
            }
        });
        (address, task)
    }

    async fn answer(mut connection: TcpStream) -> String {
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn each_connection_goes_to_the_next_replica_and_none_to_one_that_is_dead() {
        let (a, b, dead) = (replica("a").await, replica("b").await, replica("dead").await);
        dead.1.abort();
        assert!(dead.1.await.unwrap_err().is_cancelled());
        let balancer = Balancer::start().await;
        assert_eq!(answer(TcpStream::connect(balancer.address()).await.unwrap()).await, "");
        balancer.lead_to(vec![a.0, b.0, dead.0]);
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(answer(TcpStream::connect(balancer.address()).await.unwrap()).await);
        }
        answers.sort();
        assert_eq!(answers[0], "a 127.0.0.1");
        assert_eq!(answers[2], "b 127.0.0.1");

        let client = TcpSocket::new_v4().unwrap();
        client.bind("127.0.0.9:0".parse().unwrap()).unwrap();
        let text = answer(client.connect(balancer.address()).await.unwrap()).await;
        assert!(text.ends_with(" 127.0.0.9"), "{text}");
    }
}
