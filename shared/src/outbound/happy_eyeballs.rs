//! Happy Eyeballs (RFC 8305): connects to several addresses of one host.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

use super::failure::{ConnectError, Failure};
use super::stream::set_options;

/// The delay before the next address is tried in parallel (RFC 8305 §8).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// The number of addresses of one host that are tried.
pub(super) const MAX_ADDRESSES: usize = 8;

/// Connects to the addresses in their order and returns the first connection, with the options that all connections have. A failed attempt starts the next one at
/// once, a pending one after [`ATTEMPT_DELAY`].
pub(super) async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut rest = addresses.iter().take(MAX_ADDRESSES);
    let mut attempts = FuturesUnordered::new();
    let attempt = |address: &SocketAddr| {
        let address = *address;
        async move { TcpStream::connect(address).await.map_err(|error| (address, error)) }
    };
    attempts.extend(rest.next().map(attempt));
    let mut last = ConnectError::from(Failure::Connect);
    loop {
        tokio::select! {
            finished = attempts.next() => match finished {
                Some(Ok(stream)) => {
                    set_options(&stream)?;
                    return Ok(stream);
                }
                Some(Err((address, error))) => {
                    last = ConnectError::new(Failure::Connect, &error).of_address(address);
                    attempts.extend(rest.next().map(attempt));
                }
                None => return Err(last),
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if rest.len() > 0 => {
                attempts.extend(rest.next().map(attempt));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use tokio::net::{TcpListener, TcpSocket};

    use super::{Failure, connect};

    /// An address that does not complete handshakes, because its queue of connections is full.
    async fn silent() -> (SocketAddr, Vec<tokio::net::TcpStream>, TcpListener) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        let mut held = Vec::new();
        while let Ok(Ok(stream)) =
            tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await
        {
            held.push(stream);
        }
        (address, held, listener)
    }

    async fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn a_refused_address_starts_the_next_one_at_once_and_a_silent_one_after_a_delay() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = good.local_addr().unwrap();
        let started = Instant::now();
        let stream = connect(&[closed().await, closed().await, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(started.elapsed() < Duration::from_millis(250), "{:?}", started.elapsed());

        let (pending, _held, _listener) = silent().await;
        let started = Instant::now();
        let stream = connect(&[pending, address]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert!(started.elapsed() >= Duration::from_millis(250), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn at_most_eight_addresses_are_tried() {
        let good = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut addresses = vec![closed().await; 8];
        addresses.push(good.local_addr().unwrap());
        assert_eq!(connect(&addresses).await.unwrap_err().failure, Failure::Connect);
        assert!(connect(&addresses[1..]).await.is_ok());
        assert_eq!(connect(&[]).await.unwrap_err().failure, Failure::Connect);
    }
}
