//! SIGTERM: the server responds to every earlier request, then the process exits.
//!
//! Invariant: no time is measured. A wait that must not happen is set to minutes, and the deadline of the tests is far
//! below that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use harness::homeserver::Fault;
use harness::raw::{NoResponse, Raw, Response};
use harness::wait::wait_until;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::identity::register::USERINFO;
use harness::world::identity::{DEADLINE, SQLITE, Settings, World, v2};

const NO_LIMITS: &str = "[limits]\nenabled = false";

/// A request as bytes.
fn request(method: &str, path: &str, token: &str, body: &Value) -> Vec<u8> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: id.example\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_in_flight_are_answered_and_what_they_did_is_kept() {
    for signal in ["TERM", "INT"] {
        let http = "shutdown_timeout = \"10m\"\nkeep_alive = \"10m\"";
        let mut world = World::with(Settings { http, tables: NO_LIMITS, ..Settings::default() }).await;
        // Its response takes seconds, so that all requests are in flight when the signal arrives.
        let reply = format!("{}{}", " ".repeat(150), json!({ "sub": "@alice:hs.example" }));
        world.homeserver.fault(USERINFO, Fault::drip(reply, Duration::from_millis(20)));
        let mut connections = Vec::new();
        for _ in 0..5 {
            let mut connection = Raw::connect(world.server.address()).await;
            let body = json!({ "access_token": "t", "matrix_server_name": "hs.example" });
            assert!(connection.send(&request("POST", &v2("/account/register"), "", &body)).await);
            connections.push(connection);
        }
        wait_until("the requests at the homeserver", DEADLINE, || world.homeserver.requests_to(USERINFO).len() == 5)
            .await;
        world.server.signal(signal);
        let mut tokens = Vec::new();
        for mut connection in connections {
            let response = connection.response(DEADLINE).await.expect("an answer");
            assert_eq!(response.status, 200, "{}", response.head);
            let body: Value = serde_json::from_slice(&response.body).unwrap();
            tokens.push(body["token"].as_str().unwrap().to_owned());
            assert!(connection.closes_within(DEADLINE).await);
        }
        assert_eq!(world.server.wait_for_exit(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
        assert!(!world.server.logs().contains("accepting connection"), "{}", world.server.logs());
        world.restart().await;
        for token in tokens {
            world.api.get(&v2("/account")).bearer(&token).send().await.expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_began_that_has_hung_up_since_is_finished() {
    let http = "shutdown_timeout = \"10m\"";
    let mut world = World::with(Settings { http, tables: SQLITE, ..Settings::default() }).await;
    let reply = format!("{}{}", " ".repeat(150), json!({ "sub": "@alice:hs.example" }));
    world.homeserver.fault(USERINFO, Fault::drip(reply, Duration::from_millis(20)));
    let mut connection = Raw::connect(world.server.address()).await;
    let body = json!({ "access_token": "t", "matrix_server_name": "hs.example" });
    assert!(connection.send(&request("POST", &v2("/account/register"), "", &body)).await);
    wait_until("the request at the homeserver", DEADLINE, || world.homeserver.requests_to(USERINFO).len() == 1).await;
    connection.reset();
    assert_eq!(world.server.terminate(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
    let folder = std::fs::read_dir(world.server.folder().join("data")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let database = files.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("identity.db"));
    let account = b"@alice:hs.example";
    let knows = |path| std::fs::read(path).unwrap().windows(account.len()).any(|window| window == account);
    assert!(database.into_iter().any(knows), "the account is not in the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_do_not_hold_the_end_up() {
    let http = "shutdown_timeout = \"10m\"\nkeep_alive = \"10m\"\nheader_timeout = \"10m\"";
    let one_process = Some("the listener of a process");
    let mut world = World::with(Settings { http, one_process, ..Settings::default() }).await;
    let mut connections = Vec::new();
    for n in 0..20 {
        let mut connection = Raw::connect(world.server.address()).await;
        if n % 2 == 0 {
            assert!(connection.send(&request("GET", &v2(""), "", &Value::Null)).await);
            assert_eq!(connection.response(DEADLINE).await.unwrap().status, 200);
        }
        connections.push(connection);
    }
    assert_eq!(world.server.terminate(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
    for mut connection in connections {
        assert!(connection.closes_within(DEADLINE).await);
    }
    assert!(std::net::TcpStream::connect(world.server.address()).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_cut_off_at_the_shutdown_timeout() {
    let settings = Settings {
        http: "shutdown_timeout = \"300ms\"",
        federation: "timeout = \"10m\"\nconnect_timeout = \"10m\"",
        ..Settings::default()
    };
    let mut world = World::with(settings).await;
    world.homeserver.fault(USERINFO, Fault::Silence);
    let mut connection = Raw::connect(world.server.address()).await;
    let body = json!({ "access_token": "t", "matrix_server_name": "hs.example" });
    assert!(connection.send(&request("POST", &v2("/account/register"), "", &body)).await);
    wait_until("the request at the homeserver", DEADLINE, || world.homeserver.requests_to(USERINFO).len() == 1).await;
    assert_eq!(world.server.terminate(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
    // A response may or may not arrive; it is never a success.
    match connection.response(DEADLINE).await {
        Ok(Response { status, .. }) => assert_eq!(status, 500),
        outcome => assert_eq!(outcome, Err(NoResponse::Closed(Vec::new()))),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_every_request_sent_before_the_signal_is_answered() {
    const CLIENTS: usize = 16;
    for round in 0..5 {
        let http = "shutdown_timeout = \"10m\"\nkeep_alive = \"10m\"";
        let mut world = World::with(Settings { http, tables: NO_LIMITS, ..Settings::default() }).await;
        let token = world.register("@alice:hs.example").await;
        let load = Arc::new(Load {
            address: world.server.address(),
            requests: requests(&token, &world.pepper(&token).await),
            answered: AtomicUsize::new(0),
            is_signalled: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for number in 0..CLIENTS {
            tasks.spawn(Arc::clone(&load).run(number));
        }
        wait_until("a load", DEADLINE, || load.answered.load(Ordering::SeqCst) > 200).await;
        load.is_signalled.store(true, Ordering::SeqCst);
        world.server.signal("TERM");
        let mut lost = BTreeMap::<String, usize>::new();
        for failure in tasks.join_all().await.into_iter().flatten() {
            *lost.entry(failure).or_default() += 1;
        }
        assert!(lost.is_empty(), "round {round}: {lost:#?}");
        assert_eq!(world.server.wait_for_exit(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_opened_just_before_the_signal_are_served() {
    const CONNECTIONS: usize = 100;
    for round in 0..5 {
        let http = "shutdown_timeout = \"10m\"";
        let mut world = World::with(Settings { http, tables: NO_LIMITS, ..Settings::default() }).await;
        let token = world.register("@alice:hs.example").await;
        let ask = request("GET", &v2("/account"), &token, &Value::Null);
        let mut connections = Vec::new();
        // A process without a processor for a moment sees all of it at once: connections, requests and the signal.
        world.server.signal("STOP");
        for _ in 0..CONNECTIONS {
            let mut connection = Raw::connect(world.server.address()).await;
            assert!(connection.send(&ask).await);
            connections.push(connection);
        }
        world.server.signal("TERM");
        world.server.signal("CONT");
        for (number, mut connection) in connections.into_iter().enumerate() {
            let response = connection.response(DEADLINE).await;
            assert!(matches!(&response, Ok(Response { status: 200, .. })), "round {round}: {number}: {response:?}");
        }
        assert_eq!(world.server.wait_for_exit(DEADLINE).await.code(), Some(0), "{}", world.server.logs());
    }
}

/// Requests that read and requests that write.
fn requests(token: &str, pepper: &str) -> Vec<Vec<u8>> {
    let addresses: Vec<_> = (0..200).map(|n| format!("{n:043}")).collect();
    let lookup = json!({ "addresses": addresses, "algorithm": "sha256", "pepper": pepper });
    vec![
        request("GET", &v2("/account"), token, &Value::Null),
        request("POST", &v2("/lookup"), token, &lookup),
        request("POST", &v2("/terms"), token, &json!({ "user_accepts": [] })),
        request("GET", &v2("/hash_details"), token, &Value::Null),
    ]
}

struct Load {
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    answered: AtomicUsize,
    /// Set before the signal is sent: a request that was sent while it was not set was sent before the signal.
    is_signalled: AtomicBool,
}

impl Load {
    /// Sends requests one after another until the signal; returns the result of a request that was sent before the
    /// signal and got no response. Every second client opens a connection for each request.
    async fn run(self: Arc<Self>, number: usize) -> Option<String> {
        let mut kept = None;
        loop {
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => match Raw::try_connect(self.address).await {
                    Ok(connection) => connection,
                    Err(error) if self.is_signalled.load(Ordering::SeqCst) => {
                        // Reset: it was complete, but not accepted, when the socket was closed.
                        use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
                        assert!(matches!(error.kind(), ConnectionRefused | ConnectionReset), "{error}");
                        return None;
                    }
                    Err(error) => return Some(format!("client {number}, not connected: {error}")),
                },
            };
            let answered = self.answered.load(Ordering::SeqCst);
            let request = &self.requests[answered % self.requests.len()];
            let is_sent = connection.send(request).await;
            let is_before = !self.is_signalled.load(Ordering::SeqCst);
            match connection.response(DEADLINE).await {
                Ok(Response { status: 200, head, .. }) => {
                    self.answered.fetch_add(1, Ordering::SeqCst);
                    if number.is_multiple_of(2) && !head.contains("connection: close") {
                        kept = Some(connection);
                    }
                }
                outcome if is_before => return Some(format!("client {number}, sent {is_sent}: {outcome:?}")),
                _ => return None,
            }
        }
    }
}
