//! The client over real sockets, against servers that speak HTTP/1.1. HTTP/2 is tested with the providers, against their
//! fakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::wait::wait_until;
use http::HeaderMap;
use http::uri::PathAndQuery;
use metrics::Gauge;
use parking_lot::Mutex;
use shared::outbound::backoff::Backoff;
use shared::outbound::connector::Connector;
use shared::outbound::dns::Dns;
use shared::outbound::failure::Failure;
use shared::outbound::guard::AddressGuard;
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use shared::outbound::settings::Outbound;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use super::client::Client;
use super::no_response::NoResponse;
use super::options::{Options, Timing};
use super::origin::{Origin, Protocols};
use super::origins::Origins;
use super::report::Quiet;
use super::request::UpstreamRequest;
use super::response::UpstreamResponse;

const PATIENCE: Duration = Duration::from_secs(20);

const QUICK: Options = Options {
    protocols: Protocols::Any,
    max_connections: 3,
    max_http1_connections: 3,
    max_body: 16,
    timing: Timing {
        connect: PATIENCE,
        attempt: PATIENCE,
        grow_after: Duration::from_millis(50),
        ping_after: PATIENCE,
        ping_timeout: PATIENCE,
        idle: None,
        backoff: Backoff::new(PATIENCE, PATIENCE),
    },
};

const OK: &str = "HTTP/1.1 201 Created\r\ncontent-length: 2\r\nretry-after: 7\r\n\r\nok";

/// A server that records requests and answers each by its path.
struct Server {
    url: Url,
    requests: Arc<Mutex<Vec<String>>>,
    /// Connections in all, and those that are open.
    connections: Arc<[AtomicUsize; 2]>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (requests, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<[AtomicUsize; 2]>::default());
        let server = Self { url, requests: Arc::clone(&requests), connections: Arc::clone(&connections) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, connections) = (Arc::clone(&requests), Arc::clone(&connections));
                for number in &*connections {
                    number.fetch_add(1, Ordering::SeqCst);
                }
                tokio::spawn(async move {
                    serve(stream, &requests).await;
                    connections[1].fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    fn client(&self, options: Options) -> Arc<Client> {
        let connector = Connector::plain(options.timing.connect);
        let client = Client::new(self.origin(), connector, options, Arc::new(Quiet), Gauge::noop());
        Arc::new(client.unwrap())
    }

    fn origin(&self) -> Origin {
        Origin::of(&self.url).unwrap()
    }

    fn requests(&self) -> usize {
        self.requests.lock().len()
    }

    fn connections(&self) -> usize {
        self.connections[0].load(Ordering::SeqCst)
    }

    fn open_connections(&self) -> usize {
        self.connections[1].load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, requests: &Mutex<Vec<String>>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let mut body = [0; 2];
        stream.read_exact(&mut body).await.unwrap();
        requests.lock().push(head.clone());
        let long = format!("HTTP/1.1 400 Bad Request\r\ncontent-length: 40\r\n\r\n{}", "x".repeat(40));
        let (reply, stays) = match head.split(' ').nth(1).unwrap() {
            "/close" => (OK, false),
            "/cut" => ("", false),
            "/long" => (long.as_str(), true),
            "/slow" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                (OK, true)
            }
            "/half" => {
                stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
                std::future::pending().await
            }
            "/silent" => std::future::pending().await,
            _ => (OK, true),
        };
        if stream.write_all(reply.as_bytes()).await.is_err() || !stays {
            return;
        }
    }
}

fn post(path: &'static str) -> UpstreamRequest {
    UpstreamRequest::post(PathAndQuery::from_static(path), HeaderMap::new(), Bytes::from_static(b"{}"))
}

async fn send(client: &Client, path: &'static str) -> Result<(u16, String), NoResponse> {
    let response = client.send(&post(path), Instant::now() + PATIENCE).await;
    response.map(|UpstreamResponse { status, body, .. }| (status, String::from_utf8(body).unwrap()))
}

fn ok() -> Result<(u16, String), NoResponse> {
    Ok((201, "ok".to_owned()))
}

#[tokio::test]
async fn http1_connections_are_kept_and_each_takes_one_request_at_a_time() {
    let server = Server::start().await;
    let client = server.client(QUICK);
    for _ in 0..20 {
        assert_eq!(send(&client, "/a?b").await, ok());
    }
    assert_eq!((server.requests(), server.connections()), (20, 1));
    let head = server.requests.lock()[0].to_ascii_lowercase();
    let host = server.url.authority();
    assert!(head.starts_with("post /a?b http/1.1\r\n") && head.contains(&format!("\r\nhost: {host}\r\n")), "{head}");
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let client = Arc::clone(&client);
        all.spawn(async move { send(&client, "/slow").await });
    }
    assert!(all.join_all().await.iter().all(|result| *result == ok()));
    assert_eq!((server.requests(), server.connections()), (32, 3));
}

#[tokio::test]
async fn requests_that_hang_over_http1_stop_no_others() {
    let server = Server::start().await;
    let client = server.client(Options { max_connections: 1, max_http1_connections: 4, ..QUICK });
    let hanging: Vec<_> = (0..3)
        .map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { send(&client, "/silent").await })
        })
        .collect();
    wait_until("three requests", PATIENCE, || server.requests() == 3).await;
    assert_eq!((send(&client, "/a").await, server.connections()), (ok(), 4));
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_is_replaced() {
    let server = Server::start().await;
    let client = server.client(QUICK);
    for number in 1..6 {
        assert_eq!(send(&client, "/close").await, ok());
        wait_until("its end", PATIENCE, || server.open_connections() == 0).await;
        assert_eq!((server.requests(), server.connections()), (number, number));
    }
}

#[tokio::test]
async fn a_request_that_may_be_processed_is_not_resent() {
    let server = Server::start().await;
    let client = server.client(QUICK);
    assert_eq!(send(&client, "/a").await, ok());
    assert_eq!(send(&client, "/cut").await, Err(NoResponse::Lost));
    assert_eq!((server.requests(), send(&client, "/a").await), (2, ok()));
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_body_has_a_limit_and_the_status_decides_without_it() {
    let server = Server::start().await;
    let timing = Timing { attempt: Duration::from_millis(500), ..QUICK.timing };
    let client = server.client(Options { timing, ..QUICK });
    assert_eq!(send(&client, "/long").await, Ok((400, "x".repeat(16))));
    assert_eq!(send(&client, "/half").await, Ok((404, "half".to_owned())));
    assert_eq!(send(&client, "/silent").await, Err(NoResponse::Timeout));
    assert_eq!(send(&client, "/a").await, ok());
    // None of the three can be used again.
    assert_eq!((server.requests(), server.connections()), (4, 4));
    wait_until("their end", PATIENCE, || server.open_connections() <= 3).await;
}

#[tokio::test]
async fn a_server_that_accepts_no_connection_gets_a_pause() {
    let server = Server::start().await;
    let url = {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Url::parse(&format!("http://{}", closed.local_addr().unwrap())).unwrap()
    };
    let client = Server { url, ..server }.client(QUICK);
    let refused = |retry_after| Err(NoResponse::Unreachable { failure: Failure::Connect, retry_after });
    assert_eq!(send(&client, "/a").await, refused(None));
    let Err(NoResponse::Unreachable { retry_after: Some(wait), .. }) = send(&client, "/a").await else {
        panic!("it connects again")
    };
    assert!(wait <= PATIENCE && wait > PATIENCE / 2, "{wait:?}");
}

#[tokio::test]
async fn the_least_recently_used_origin_leaves_first_and_idle_connections_close() {
    let servers = [Server::start().await, Server::start().await, Server::start().await];
    let origins = Origins::new(Connector::plain(PATIENCE), 2, QUICK);
    let send_to = async |origins: &Origins, number: usize| {
        origins.send(&servers[number].origin(), &post("/a"), Instant::now() + PATIENCE).await.unwrap().status
    };
    for number in [0, 1, 0, 2, 0] {
        assert_eq!(send_to(&origins, number).await, 201);
    }
    wait_until("the end of the second", PATIENCE, || servers[1].open_connections() == 0).await;
    assert_eq!([0, 2].map(|number| (servers[number].connections(), servers[number].open_connections())), [(1, 1); 2]);
    drop(origins);
    wait_until("the end of all", PATIENCE, || servers.iter().all(|server| server.open_connections() == 0)).await;

    let timing = Timing { idle: Some(Duration::from_millis(200)), ..QUICK.timing };
    let origins = Origins::new(Connector::plain(PATIENCE), 2, Options { timing, ..QUICK });
    assert_eq!(send_to(&origins, 0).await, 201);
    assert_eq!(servers[0].open_connections(), 1);
    wait_until("the end of an idle one", PATIENCE, || servers[0].open_connections() == 0).await;
    assert_eq!(send_to(&origins, 0).await, 201);
}

#[tokio::test]
async fn the_address_guard_decides_about_the_address_of_the_connection() {
    let server = Server::start().await;
    let outbound = Outbound::default();
    for (allowed, expected) in [
        ("127.0.0.0/8", Ok(201)),
        ("10.0.0.0/8", Err(NoResponse::Unreachable { failure: Failure::Blocked, retry_after: None })),
    ] {
        let guard = AddressGuard::new(&[allowed.parse().unwrap()], &[]);
        let resolver = Resolver::Guarded { dns: Dns::new(&[]).unwrap(), guard };
        let connector = Connector::new(resolver, ProxyRule::default(), outbound.tls().unwrap(), PATIENCE);
        let origins = Origins::new(connector, 2, QUICK);
        let sent = origins.send(&server.origin(), &post("/a"), Instant::now() + PATIENCE).await;
        assert_eq!(sent.map(|response| response.status), expected);
    }
    assert_eq!(server.connections(), 1);
}
