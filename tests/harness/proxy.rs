//! A forward proxy that supports CONNECT and is reached by TLS.
//!
//! Invariant: it records every request before it opens the tunnel, so what passed it is known; it serves nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificate;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy with this certificate.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn start(certificate: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let acceptor = TlsAcceptor::from(certificate.server_config(&["http/1.1"]));
        let heads = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, record) = (acceptor.clone(), Arc::clone(&record));
                // A client that hangs up, or a tunnel that fails, ends only its own connection.
                tokio::spawn(async move { drop(serve(stream, acceptor, &record).await) });
            }
        });
        Self { address, heads, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The heads of all requests, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of tunnels to `server` that were requested.
    pub fn tunnels_to(&self, server: SocketAddr) -> usize {
        let line = format!("connect {server} http/1.1\r\n");
        self.requests().iter().filter(|head| head.starts_with(&line)).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, record: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut client = acceptor.accept(stream).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    record.lock().unwrap_or_else(PoisonError::into_inner).push(head.clone());
    let authority = head.strip_prefix("connect ").and_then(|rest| rest.split(' ').next());
    let Some(authority) = authority else {
        client.write_all(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n").await?;
        return client.shutdown().await;
    };
    let mut server = TcpStream::connect(authority).await?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
