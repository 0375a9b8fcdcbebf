//! Invalid HTTP requests: framed twice, too large, too slow, never finished.
//!
//! Invariant: gateway and proxies see the same requests, and no client holds a connection forever.

use harness::world::push::{DEADLINE, NOTIFY, World, android_app, ids, with};
use std::net::SocketAddr;
use std::time::Duration;

use harness::raw::{NoResponse, Raw, exchange};
use serde_json::{Value, json};

const APP: &str = "org.example.android";

fn head(headers: &str) -> Vec<u8> {
    format!("POST {NOTIFY} HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes()
}

fn whole(body: &str) -> Vec<u8> {
    [head(&format!("Content-Length: {}\r\n", body.len())), body.as_bytes().to_vec()].concat()
}

fn body(device: &Value) -> String {
    json!({ "notification": with(ids(), json!({ "devices": [device] })) }).to_string()
}

async fn still_delivers(gateway: &World) {
    let device = gateway.phone(APP);
    gateway.deliver(ids(), &device).await;
    gateway.message(&device);
}

/// The status, or `None` if the connection was closed without a response.
async fn status(address: SocketAddr, bytes: &[u8]) -> Option<u16> {
    match exchange(address, bytes, DEADLINE).await {
        Ok(response) => Some(response.status),
        Err(NoResponse::Closed(_)) => None,
        Err(NoResponse::Late(seen)) => panic!("no end of {} after {}", bytes.escape_ascii(), seen.escape_ascii()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_framed_in_two_ways_is_never_taken_for_two() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let smuggled = gateway.phone(APP);
    let inner = whole(&body(&smuggled));
    let inner = String::from_utf8(inner).unwrap();
    let chunk = format!("0\r\n\r\n{inner}");
    let length = chunk.len();
    for headers in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: 0, {length}\r\n"),
        format!("Content-Length: +{length}\r\n"),
        String::from("Content-Length: -1\r\n"),
        format!("Content-Length: 0x{length:x}\r\n"),
        format!("Content-Length: {length} \r\nTransfer-Encoding : chunked\r\n"),
        String::from("Transfer-Encoding: chunked, identity\r\n"),
        String::from("Transfer-Encoding: xchunked\r\n"),
        String::from("Transfer-Encoding: identity\r\n"),
        String::from("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
        String::from("Transfer-Encoding:\x0bchunked\r\n"),
        String::from("Content-Length: 99999999999999999999\r\n"),
        format!("X: y\r\n Content-Length: {length}\r\n"),
        format!("X: y\rContent-Length: {length}\r\n"),
    ] {
        let bytes = [head(&headers), chunk.clone().into_bytes()].concat();
        let mut connection = Raw::connect(gateway.server.address()).await;
        connection.send(&bytes).await;
        connection.finish().await;
        let first = match connection.response(DEADLINE).await {
            Ok(response) => Some(response.status),
            Err(NoResponse::Closed(_)) => None,
            Err(NoResponse::Late(_)) => panic!("no end of {headers:?}"),
        };
        assert!(first.is_none_or(|status| status == 400), "{headers:?}: {first:?}");
        assert!(connection.closes_within(DEADLINE).await, "{headers:?} left the connection open");
        assert!(gateway.google.messages().is_empty(), "{headers:?} was taken for two");
    }
    still_delivers(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_stops_is_refused_readably_and_cut_off() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let address = gateway.server.address();
    let too_much = "x".repeat(513 * 1024);
    let chunked = format!("{:x}\r\n{too_much}\r\n0\r\n\r\n", too_much.len());
    for bytes in [whole(&too_much), [head("Transfer-Encoding: chunked\r\n"), chunked.into_bytes()].concat()] {
        let mut connection = Raw::connect(address).await;
        connection.send(&bytes).await;
        let response = connection.response(DEADLINE).await.expect("a readable refusal");
        assert_eq!((response.status, &response.json()["errcode"]), (413, &json!("M_TOO_LARGE")));
        assert_eq!(response.header("connection"), Some("close"));
        assert!(connection.closes_within(DEADLINE).await);
    }
    for headers in [format!("X: {}\r\n", "x".repeat(1_000_000)), "X: y\r\n".repeat(100_000)] {
        assert!(status(address, &head(&headers)).await.is_none_or(|status| (400..500).contains(&status)));
    }
    let long_path = format!("POST /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1_000_000));
    assert!(status(address, long_path.as_bytes()).await.is_none_or(|status| (400..500).contains(&status)));
    still_delivers(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_in_time_ends_the_connection() {
    let impatient = "header_timeout = \"2s\"\nbody_timeout = \"2s\"\nkeep_alive = \"2s\"";
    let gateway = World::serving(impatient, "", &[android_app(APP, "")]).await;
    let address = gateway.server.address();
    for (what, bytes) in [
        ("nothing at all", Vec::new()),
        ("half a head", head("")[..20].to_vec()),
        ("half a body", [head("Content-Length: 100\r\n"), b"{\"noti".to_vec()].concat()),
        ("half a chunk", [head("Transfer-Encoding: chunked\r\n"), b"20\r\n{\"noti".to_vec()].concat()),
    ] {
        let mut connection = Raw::connect(address).await;
        connection.send(&bytes).await;
        let found = match connection.response(DEADLINE).await {
            Ok(response) => Some(response.status),
            Err(NoResponse::Closed(_)) => None,
            Err(NoResponse::Late(_)) => panic!("{what} is waited for without end"),
        };
        assert!(found.is_none_or(|status| status == 408), "{what}: {found:?}");
        assert!(connection.closes_within(DEADLINE).await, "{what}");
    }
    // Sending byte by byte does not extend the timeout.
    let mut connection = Raw::connect(address).await;
    connection.send(&head("Content-Length: 1000000\r\n")).await;
    let dripping = async {
        while connection.send(b" ").await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, dripping).await.expect("an end");
    still_delivers(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_one_another_are_answered_in_their_order() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let (first, second) = (gateway.phone(APP), gateway.phone("org.example.unknown"));
    let mut connection = Raw::connect(gateway.server.address()).await;
    connection.send(&[whole(&body(&first)), whole("x"), whole(&body(&second))].concat()).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let response = connection.response(DEADLINE).await.expect("an answer");
        answers.push((response.status, response.json()));
    }
    assert_eq!(answers[0], (200, json!({ "rejected": [] })));
    assert_eq!((answers[1].0, &answers[1].1["errcode"]), (400, &json!("M_NOT_JSON")));
    assert_eq!(answers[2], (200, json!({ "rejected": [second["pushkey"]] })));
    gateway.message(&first);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused_without_harm() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let address = gateway.server.address();
    for bytes in [
        // HTTP/2 without TLS, with a flood of resets and of CONTINUATION after the preface.
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), b"\0\0\0\x04\0\0\0\0\0".repeat(1000)].concat(),
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), b"\0\0\0\x09\0\0\0\0\x01".repeat(1000)].concat(),
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        b"GET / HTTP/0.9\r\n\r\n".to_vec(),
        b"GET /\r\n\r\n".to_vec(),
        format!(
            "POST {NOTIFY} HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\nHost: x\r\n\r\n{{}}"
        )
        .into_bytes(),
        b"\0\0\0\0\r\n\r\n".to_vec(),
    ] {
        let mut connection = Raw::connect(address).await;
        connection.send(&bytes).await;
        connection.finish().await;
        match connection.response(DEADLINE).await {
            Ok(response) => {
                assert!((400..600).contains(&response.status) && response.status != 500, "{}", response.head);
            }
            Err(NoResponse::Closed(_)) => {}
            Err(NoResponse::Late(_)) => panic!("no end of {}", bytes[..30].escape_ascii()),
        }
    }
    still_delivers(&gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_beyond_the_bound_delay_new_ones_only_briefly() {
    let gateway = World::serving(
        "max_connections = 50\nkeep_alive = \"1s\"\nheader_timeout = \"1s\"",
        "",
        &[android_app(APP, "")],
    )
    .await;
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(Raw::connect(gateway.server.address()).await);
    }
    still_delivers(&gateway).await;
    drop(idle);
    still_delivers(&gateway).await;
}
