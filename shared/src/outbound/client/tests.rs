//! Tests of the client with real sockets on the loopback interface.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Client, pool};
use crate::outbound::connector::Connector;
use crate::outbound::dns::Dns;
use crate::outbound::failure::Failure;
use crate::outbound::guard::AddressGuard;
use crate::outbound::proxy::ProxyRule;
use crate::outbound::resolver::Resolver;
use crate::outbound::tls;

const RESPONSE: &str =
    "HTTP/1.1 302 Found\r\nLocation: /again\r\nConnection: close\r\nContent-Length: 10\r\n\r\n0123456789";

/// A server that gives each request the same response; yields the heads of the requests.
async fn server(response: &'static str) -> (u16, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, seen) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            head.truncate(length);
            heads.send(String::from_utf8(head).unwrap()).unwrap();
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    (port, seen)
}

fn client(resolver: Resolver, proxy: ProxyRule) -> Client {
    let tls = tls::client_config(None, false).unwrap();
    let timeout = Duration::from_secs(5);
    Client::new(Connector::new(resolver, proxy, tls, timeout), &pool(), timeout)
}

/// A client that may connect to `allowed` besides public addresses, and resolves no name but `localhost`.
fn guarded(allowed: &[&str]) -> Client {
    let allowed: Vec<_> = allowed.iter().map(|cidr| cidr.parse().unwrap()).collect();
    let dns = Dns::new(&["127.0.0.1:9".parse().unwrap()]).unwrap();
    client(Resolver::Guarded { dns, guard: AddressGuard::new(&allowed, &[]) }, ProxyRule::default())
}

async fn get(client: &Client, url: &str, max: usize) -> Result<(u16, usize), Failure> {
    let request = Request::get(url).body(Full::default()).unwrap();
    client.fetch(request, max).await.map(|reply| (reply.status.as_u16(), reply.body.len()))
}

#[tokio::test]
async fn the_client_connects_only_to_permitted_addresses_and_limits_bodies() {
    let (port, mut requests) = server(RESPONSE).await;
    let closed = guarded(&[]);
    for host in ["localhost", "127.0.0.1", "127.1", "0x7f000001", "[::ffff:127.0.0.1]", "[::1]", "0"] {
        assert_eq!(get(&closed, &format!("http://{host}:{port}/"), 10).await, Err(Failure::Blocked), "{host}");
    }
    assert_eq!(get(&closed, "http://9.9.9.9:25/", 10).await, Err(Failure::Blocked));
    assert!(requests.try_recv().is_err(), "a connection was made");

    let open = guarded(&["127.0.0.1"]);
    for host in ["localhost", "127.0.0.1", "127.1"] {
        assert_eq!(get(&open, &format!("http://{host}:{port}/"), 10).await, Ok((302, 10)), "{host}");
        assert_eq!(get(&open, &format!("http://{host}:{port}/"), 9).await, Err(Failure::TooLarge), "{host}");
    }
    // allow_cidrs also permits ports that the guard rejects by default.
    assert_eq!(get(&open, "http://localhost:1/", 10).await, Err(Failure::Connect));
    assert_eq!(get(&closed, "http://localhost:1/", 10).await, Err(Failure::Blocked));
}

#[tokio::test]
async fn a_prefix_of_the_body_is_returned_even_if_the_rest_does_not_arrive() {
    let (port, _requests) = server("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789").await;
    let client = client(Resolver::System, ProxyRule::default());
    for (max, expected) in [(4, "0123"), (50, "0123456789")] {
        let request = Request::get(format!("http://127.0.0.1:{port}/")).body(Full::default()).unwrap();
        let body = client.send(request).await.unwrap().read_prefix(max).await;
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(get(&client, &url, 1000).await, Err(Failure::Other));
}

#[tokio::test]
async fn a_proxy_forwards_http_and_tunnels_https_and_exempt_hosts_are_connected_to_directly() {
    let (port, mut proxied) = server("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let rule = |no_proxy: crate::config::Globs| {
        ProxyRule::new(format!("http://us%40er:p%3Aw@127.0.0.1:{port}").parse().ok(), &no_proxy)
    };
    let client = client(Resolver::System, rule([].into()));
    assert_eq!(get(&client, "http://sms.example/send?x=1", 10).await, Ok((200, 2)));
    let head = proxied.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get http://sms.example/send?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnazxi6cdp3\r\n") && head.contains("accept: */*\r\n"), "{head}");

    assert_eq!(get(&client, "https://sms.example/send", 10).await, Err(Failure::Tls));
    let head = proxied.recv().await.unwrap();
    assert!(head.starts_with("CONNECT sms.example:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic dXNAZXI6cDp3\r\n"), "{head}");

    let (direct, mut requests) = server("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").await;
    let client = self::client(Resolver::System, rule(["127.0.0.*"].into()));
    assert_eq!(get(&client, &format!("http://127.0.0.1:{direct}/"), 10).await, Ok((200, 2)));
    let head = requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get / http/1.1\r\n") && !head.contains("proxy-authorization"), "{head}");
}

#[tokio::test]
async fn a_proxy_that_refuses_is_a_failed_connection_and_nothing_was_sent() {
    let (port, _heads) = server("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").await;
    let rule = ProxyRule::new(format!("http://127.0.0.1:{port}").parse().ok(), &[].into());
    let failure = get(&client(Resolver::System, rule), "https://sms.example/", 10).await.unwrap_err();
    assert_eq!((failure, failure.may_have_been_sent()), (Failure::Connect, false));
}

#[tokio::test]
async fn a_server_that_closes_the_connection_may_have_received_the_request() {
    let (port, mut requests) = server("").await;
    let client = client(Resolver::System, ProxyRule::default());
    let failure = get(&client, &format!("http://127.0.0.1:{port}/"), 10).await.unwrap_err();
    assert_eq!((failure, failure.may_have_been_sent()), (Failure::Other, true));
    requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err(), "the client does not send the request again");
}

#[tokio::test]
async fn a_get_over_a_kept_connection_that_the_server_closes_is_sent_once_more_where_that_is_safe() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (heads, mut requests) = unbounded_channel();
    // Responds to the first request of each connection, and closes it when the second arrives.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = heads.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                assert!(stream.read(&mut head).await.unwrap() > 0);
                heads.send(()).unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                if stream.read(&mut head).await.unwrap() > 0 {
                    heads.send(()).unwrap();
                }
            });
        }
    });
    let url = format!("http://127.0.0.1:{port}/");
    let client = client(Resolver::System, ProxyRule::default());
    assert_eq!(get(&client, &url, 10).await, Ok((200, 2)));
    assert_eq!(get(&client, &url, 10).await, Err(Failure::Other));
    let client = client.repeating_get();
    assert_eq!(get(&client, &url, 10).await, Ok((200, 2)));
    assert_eq!(get(&client, &url, 10).await, Ok((200, 2)));
    let post = Request::post(&url).body(Full::default()).unwrap();
    assert_eq!(client.fetch(post, 10).await.map(|reply| reply.status.as_u16()), Ok(200));
    let post = Request::post(&url).body(Full::default()).unwrap();
    assert!(client.fetch(post, 10).await.is_err(), "a POST may have been processed");
    let mut number = 0;
    while requests.try_recv().is_ok() {
        number += 1;
    }
    assert_eq!(number, 7);
}
