//! Request bodies: their size and time limits on every listener, and their framing.
//!
//! Invariant: a raw socket reads each error response, as a client does that has not sent its whole request.

use std::net::SocketAddr;

use harness::raw::{NoResponse, Raw, Response, exchange};
use serde_json::json;

use harness::world::identity::{DEADLINE, Settings, World, v2};

/// The limit in these tests, in bytes.
const LIMIT: usize = 4096;

fn small() -> Settings<'static> {
    Settings { http: "max_body = \"4KiB\"", ..Settings::default() }
}

/// As [`small`], with short timeouts. A second is the minimum for a head: the server's clock for it is coarse.
fn impatient() -> Settings<'static> {
    let http = "max_body = \"4KiB\"\nbody_timeout = \"400ms\"\nheader_timeout = \"1s\"";
    Settings { http, ..Settings::default() }
}

fn head(line: &str, token: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n{headers}\r\n").into_bytes()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn lookup_of(length: usize) -> Vec<u8> {
    let body = br#"{"addresses":[],"algorithm":"none","pepper":"x"}"#;
    [&body[..], &vec![b' '; length - body.len()]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let world = World::with(small()).await;
    let token = world.register("@alice:hs.example").await;
    for chunked in [false, true] {
        for (length, status, errcode) in [(LIMIT, 400, "M_INVALID_PARAM"), (LIMIT + 1, 413, "M_TOO_LARGE")] {
            let body = lookup_of(length);
            let request = if chunked {
                let head = head("POST /_matrix/identity/v2/lookup", &token, "Transfer-Encoding: chunked\r\n");
                [head, chunk(&body[..1000]), chunk(&body[1000..]), chunk(b"")].concat()
            } else {
                let length = format!("Content-Length: {length}\r\n");
                [head("POST /_matrix/identity/v2/lookup", &token, &length), body].concat()
            };
            let response = exchange(world.server.address(), &request, DEADLINE).await.unwrap();
            assert_eq!((response.status, response.json()["errcode"].as_str()), (status, Some(errcode)), "{chunked}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_outlives_a_refused_body_that_came_to_its_end() {
    let world = World::with(small()).await;
    for (path, status) in [(v2("/account/register"), 413), (v2("/nowhere"), 404), (v2("/hash_details"), 405)] {
        let mut connection = Raw::connect(world.server.address()).await;
        let request = head(&format!("POST {path}"), "x", &format!("Content-Length: {}\r\n", LIMIT * 3));
        connection.send(&[request, vec![b'x'; LIMIT * 3]].concat()).await;
        assert_eq!(connection.response(DEADLINE).await.unwrap().status, status, "{path}");
        connection.send(&head("GET /_matrix/identity/v2", "x", "")).await;
        assert_eq!(connection.response(DEADLINE).await.unwrap().json(), json!({}), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_stops_sending_reads_the_error_and_is_cut_off() {
    let world = World::with(small()).await;
    let admin = world.server.admin_address();
    for (address, line, status) in [
        (world.server.address(), "POST /_matrix/identity/v2/account/register", 413),
        (world.server.address(), "POST /_matrix/identity/v2/account/logout", 413),
        (world.server.address(), "GET /_matrix/identity/v2/terms", 413),
        (world.server.address(), "GET /_matrix/identity/v2", 413),
        (world.server.address(), "POST /_matrix/identity/v2/hash_details", 405),
        (world.server.address(), "POST /nowhere", 404),
        (world.server.address(), "OPTIONS /nowhere", 200),
        (admin, "GET /health", 413),
        (admin, "POST /health", 405),
        (admin, "PUT /nowhere", 404),
    ] {
        let token = if line.ends_with("logout") { world.register("@alice:hs.example").await } else { String::new() };
        for chunked in [false, true] {
            let (framing, piece) = if chunked {
                ("Transfer-Encoding: chunked\r\n", chunk(&[b'x'; 1024]))
            } else {
                ("Content-Length: 1000000000000\r\n", vec![b'x'; 1024])
            };
            let mut connection = Raw::connect(address).await;
            connection.send(&head(line, &token, framing)).await;
            let sending = async { while connection.send(&piece).await {} };
            let cut_off = tokio::time::timeout(DEADLINE, sending).await;
            assert!(cut_off.is_ok(), "{line}, chunked {chunked}: the server takes bytes without end");
            let response = connection.response(DEADLINE).await;
            let response = response.unwrap_or_else(|error| panic!("{line}, chunked {chunked}: {error:?}"));
            assert_eq!(response.status, status, "{line}, chunked {chunked}");
            if status != 200 {
                assert!(response.json()["errcode"].is_string());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_without_its_body_does_not_wait_for_it() {
    let world = World::start().await;
    let long = format!("Content-Length: 100\r\nX-Long: {}\r\n", "x".repeat(17_000));
    let short = "Content-Length: 100\r\n";
    for (line, fields, status) in [
        ("POST /_matrix/identity/v2/lookup", short, 401),
        ("POST /_matrix/identity/v2/account/logout", "Transfer-Encoding: chunked\r\n", 401),
        ("POST /_matrix/identity/v2/3pid/bind", short, 401),
        ("POST /nowhere", short, 404),
        ("PUT /_matrix/identity/v2/lookup", short, 405),
        ("POST /_matrix/identity/v2/account/register", &long, 431),
    ] {
        let mut connection = Raw::connect(world.server.address()).await;
        connection.send(&head(line, "unknown", fields)).await;
        // A server that waits for the body answers 408 after half a minute.
        let response = connection.response(DEADLINE).await;
        let response = response.unwrap_or_else(|error| panic!("{line}: {error:?}"));
        assert_eq!(response.status, status, "{line}");
        assert!(connection.closes_within(DEADLINE).await, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_in_time_ends_the_request_and_the_connection() {
    let world = World::with(impatient()).await;
    let token = world.register("@alice:hs.example").await;
    for (address, line, framing) in [
        (world.server.address(), "POST /_matrix/identity/v2/lookup", "Content-Length: 100\r\n"),
        (world.server.address(), "POST /_matrix/identity/v2/lookup", "Transfer-Encoding: chunked\r\n"),
        (world.server.address(), "GET /_matrix/identity/v2/account", "Content-Length: 100\r\n"),
        (world.server.address(), "GET /_matrix/identity/v2/account", "Transfer-Encoding: chunked\r\n"),
        (world.server.admin_address(), "GET /health", "Transfer-Encoding: chunked\r\n"),
    ] {
        let mut connection = Raw::connect(address).await;
        connection.send(&head(line, &token, framing)).await;
        connection.send(if framing.starts_with('T') { b"1\r\n{\r\n" } else { b"{" }).await;
        let response = connection.response(DEADLINE).await;
        let response = response.unwrap_or_else(|error| panic!("{line}, {framing}: {error:?}"));
        assert_eq!((response.status, response.json()["errcode"].as_str()), (408, Some("M_UNKNOWN")), "{line}");
        assert!(connection.closes_within(DEADLINE).await, "{line}, {framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_stays_too_large_when_the_rest_never_comes() {
    let world = World::with(impatient()).await;
    for framing in ["Content-Length: 1000000\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut connection = Raw::connect(world.server.address()).await;
        let token = world.register("@alice:hs.example").await;
        let request = head("POST /_matrix/identity/v2/lookup", &token, framing);
        connection.send(&[request, chunk(&[b' '; LIMIT * 2])].concat()).await;
        let response = connection.response(DEADLINE).await.unwrap();
        assert_eq!((response.status, response.json()["errcode"].as_str()), (413, Some("M_TOO_LARGE")), "{framing}");
        assert!(connection.closes_within(DEADLINE).await, "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let world = World::with(impatient()).await;
    for address in [world.server.address(), world.server.admin_address()] {
        for start in ["", "G", "GET /_matrix/identity/v2 HTTP/1.1\r\nHost: x\r\n"] {
            let mut connection = Raw::connect(address).await;
            connection.send(start.as_bytes()).await;
            assert!(connection.closes_within(DEADLINE).await, "{start:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_framed_in_two_ways_is_never_taken_for_two() {
    let world = World::start().await;
    let smuggled = "GET /_matrix/identity/versions HTTP/1.1\r\nHost: x\r\n\r\n";
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 60\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
    ] {
        let mut connection = Raw::connect(world.server.address()).await;
        let request = head("POST /_matrix/identity/v2/account/register", "x", framing);
        connection.send(&[request, b"0\r\n\r\n".to_vec(), smuggled.as_bytes().to_vec()].concat()).await;
        let first = connection.response(DEADLINE).await.unwrap();
        assert_eq!(first.status, 400, "{framing}");
        let second: Result<Response, NoResponse> = connection.response(DEADLINE).await;
        assert_eq!(second, Err(NoResponse::Closed(Vec::new())), "{framing}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expect_continue_header_is_answered_with_100() {
    let world = World::start().await;
    let mut connection = Raw::connect(world.server.address()).await;
    let headers = "Content-Length: 2\r\nExpect: 100-continue\r\n";
    connection.send(&head("POST /_matrix/identity/v2/account/register", "x", headers)).await;
    assert_eq!(connection.response(DEADLINE).await.unwrap().status, 100);
    connection.send(b"{}").await;
    let response = connection.response(DEADLINE).await.unwrap();
    assert_eq!((response.status, response.json()["errcode"].as_str()), (400, Some("M_MISSING_PARAMS")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_for_another_protocol_is_ignored() {
    let world = World::start().await;
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";
    for (line, headers, status) in [
        ("GET /_matrix/identity/v2", websocket, 200),
        ("GET /_matrix/identity/v2/lookup", websocket, 405),
        ("GET /_matrix/identity/v2", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", 200),
        ("CONNECT example.org:443", "", 404),
    ] {
        for address in [world.server.address(), world.server.admin_address()] {
            let response = exchange(address, &head(line, "x", headers), DEADLINE).await.unwrap();
            let on_main = address == world.server.address();
            assert_eq!(response.status, if on_main { status } else { 404 }, "{line}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_no_http_is_answered_or_cut_off_without_harm() {
    let world = World::start().await;
    let long_header = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1000));
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nx\0y: z\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"\r\n\r\n\r\n\0\0\0\0\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ] {
        let mut connection = Raw::connect(world.server.address()).await;
        connection.send(bytes).await;
        connection.finish().await;
        match connection.response(DEADLINE).await {
            Ok(response) => assert!((400..500).contains(&response.status), "{}", response.head),
            Err(NoResponse::Closed(_)) => {}
            Err(NoResponse::Late(seen)) => panic!("no end for {:?}: {seen:?}", String::from_utf8_lossy(bytes)),
        }
        still_answers(world.server.address()).await;
    }
}

async fn still_answers(address: SocketAddr) {
    let response = exchange(address, &head("GET /_matrix/identity/v2", "x", ""), DEADLINE).await;
    let response = response.expect("an answer");
    assert_eq!((response.status, response.json()), (200, json!({})));
}
