//! Methods, paths, header fields and bodies, and the order of the checks.

use std::time::{Duration, Instant};

use harness::raw::{Raw, exchange};
use harness::world::push::{DEADLINE, IOS};
use hyper::Method;
use serde_json::json;

use super::{ONCE, RELAY, Relay, assert_status, body, example};

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_405_and_messages_are_not_kept() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    for path in [path.as_str(), "/wp/com.example.ios"] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH"] {
            let answer = relay.world.api.request(method.parse().unwrap(), path).send().await;
            assert_eq!((answer.code(), answer.header("allow")), (405, Some("POST, OPTIONS")), "{method} {path}");
        }
        let answer = relay.world.api.request(Method::OPTIONS, path).send().await;
        assert_eq!((answer.code(), answer.header("allow")), (200, Some("POST, OPTIONS")), "{path}");
    }
    for method in ["GET", "DELETE", "POST"] {
        let answer =
            relay.world.api.request(method.parse().unwrap(), "/wpm/0123456789abcdef0123456789abcdef").send().await;
        assert_status(&answer, 404, method);
    }
    for path in ["/wp", "/wp/a/b/c"] {
        relay.bare(path).send().await.refused(404, "M_UNRECOGNIZED");
    }
    assert_eq!(relay.upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_table_there_is_no_relay_and_a_disabled_one_asks_to_retry() {
    let relay = Relay::with(ONCE, ONCE, "").await;
    for path in ["/wp/com.example.ios", "/wp/com.example.ios/AQ", "/wpm/00"] {
        relay.bare(path).send().await.refused(404, "M_UNRECOGNIZED");
    }
    let relay = Relay::with(ONCE, ONCE, "[relay]\nenabled = false\n").await;
    for path in ["/wp/com.example.ios", "/wp/com.example.ios/AQ", "/wp/a/b/c"] {
        for method in [Method::POST, Method::GET] {
            let answer = relay.world.api.request(method, path).send().await;
            assert_eq!((answer.code(), answer.header("retry-after")), (503, Some("3600")), "{path} {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_paths_lie_below_the_base_path() {
    use harness::world::push::{World, ios_app};
    let world = World::serving("base_path = \"/push\"", RELAY, &[ios_app(IOS, "relay = true\n")]).await;
    let body =
        json!({ "token": "ab".repeat(32), "vapid": harness::application_server::ApplicationServer::new().key() });
    world.api.post("/push/wp/com.example.ios", body.clone()).send().await.expect(201);
    world.api.post("/wp/com.example.ios", body).send().await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_header_field_has_its_rule() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let long = "a".repeat(33);
    let encoding = ("content-encoding", "aes128gcm");
    let ttl = ("ttl", "60");
    let rows: Vec<(u16, Vec<(&str, &str)>)> = vec![
        (400, vec![encoding]),
        (400, vec![("ttl", "-1"), encoding]),
        (400, vec![("ttl", "1.5"), encoding]),
        (400, vec![("ttl", ""), encoding]),
        (400, vec![("ttl", "abc"), encoding]),
        (400, vec![ttl, ttl, encoding]),
        (400, vec![ttl, ("urgency", "urgent"), encoding]),
        (400, vec![ttl, ("urgency", "high"), ("urgency", "high"), encoding]),
        (400, vec![ttl, ("topic", &long), encoding]),
        (400, vec![ttl, ("topic", "a b"), encoding]),
        (400, vec![ttl, ("topic", "é"), encoding]),
        (400, vec![ttl, ("topic", ""), encoding]),
        (400, vec![ttl, ("topic", "a"), ("topic", "a"), encoding]),
        (415, vec![ttl, ("content-encoding", "aesgcm"), ("encryption", "salt=x"), ("crypto-key", "dh=x")]),
        (415, vec![ttl, ("content-encoding", "gzip")]),
        (415, vec![ttl, ("content-encoding", "aes128gcm, gzip")]),
        (415, vec![ttl, ("content-encoding", "aes128gcm, aes128gcm")]),
        (415, vec![ttl, encoding, encoding]),
        (415, vec![ttl]),
        (400, vec![ttl, encoding, ("encryption", "salt=x")]),
        (400, vec![ttl, encoding, ("crypto-key", "p256ecdsa=x;dh=y")]),
        (400, vec![ttl, encoding, ("push-receipt", "https://hs.example/r")]),
    ];
    for (status, fields) in rows {
        let request = relay.bare(&path).header("authorization", &relay.authorization()).body(example());
        let request =
            fields.iter().fold(request, |request, (name, value)| request.header_bytes(name, value.as_bytes()));
        let answer = request.send().await;
        assert_status(&answer, status, &format!("{fields:?}"));
        assert_eq!(answer.header("accept-encoding"), (status == 415).then_some("aes128gcm"), "{fields:?}");
        assert_eq!(answer.header("www-authenticate"), None);
    }
    assert_eq!(relay.upstream(), 0);
    for (name, value) in [("content-encoding", "AES128GCM"), ("prefer", "respond-async"), ("crypto-key", "p256ecdsa=x")]
    {
        let request = relay.wake(&path).header(name, value);
        let request =
            if name == "content-encoding" { request } else { request.header("content-encoding", "aes128gcm") };
        let answer = request.body(body(200, value.as_bytes()[0])).send().await;
        assert_status(&answer, 201, value);
        assert_eq!(answer.header("preference-applied"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_encrypted_message_is_passed_on() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let sized = |length: usize, record_size: u32| {
        let mut body = body(length, 0);
        body[16..20].copy_from_slice(&record_size.to_be_bytes());
        body
    };
    let with = |at: usize, value: u8| {
        let mut body = body(200, 0);
        body[at] = value;
        body
    };
    for (status, body) in [
        (400, b"{\"notification\":{}}".to_vec()),
        (400, body(102, 0)),
        (400, sized(200, 0)),
        (400, sized(200, 17)),
        (400, sized(4096, 18)),
        (400, with(20, 0)),
        (400, with(20, 64)),
        (400, with(20, 255)),
        (400, with(21, 2)),
        (413, body(4097, 0)),
        (413, vec![b'['; 5000]),
    ] {
        assert_status(&relay.push(&path, body.clone()).send().await, status, &format!("{} bytes", body.len()));
    }
    assert_eq!(relay.upstream(), 0);
    for body in [body(103, 0), body(4096, 0), sized(150, u32::MAX)] {
        assert_status(&relay.push(&path, body).send().await, 201, "a message");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_check_that_fails_answers() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let other_end = if path.ends_with('A') { 'Q' } else { 'A' };
    let unknown = format!("{}{other_end}", &path[..path.len() - 1]);
    let other = harness::application_server::ApplicationServer::new();
    // From the last check to the first one: each request fails in everything that the ones before it failed in.
    let large = body(4097, 0);
    let json = b"{}".to_vec();
    let push = |path: &str, body: Vec<u8>| relay.bare(path).body(body);
    let ok = |call: harness::api::Call| {
        call.header("ttl", "1").header("content-encoding", "aes128gcm").header("authorization", &relay.authorization())
    };
    assert_status(&ok(push(&path, json.clone())).send().await, 400, "17");
    let expired = relay.homeserver.token_of(&json!({ "aud": super::PUBLIC_URL, "exp": 1 }));
    let authorization = format!("vapid t={expired},k={}", relay.homeserver.key());
    let base = |path: &str, body: Vec<u8>| push(path, body).header("ttl", "1").header("content-encoding", "aes128gcm");
    assert_status(&base(&path, json.clone()).header("authorization", &authorization).send().await, 401, "14");
    let theirs = format!("vapid t={expired},k={}", other.key());
    assert_status(&base(&path, json.clone()).header("authorization", &theirs).send().await, 403, "13");
    assert_status(&base(&path, json.clone()).send().await, 401, "12");
    assert_status(&base(&unknown, json.clone()).send().await, 404, "9");
    let draft = base(&unknown, json.clone()).header("encryption", "salt=x");
    assert_status(&draft.send().await, 400, "8");
    let coding = push(&unknown, json.clone()).header("ttl", "1").header("encryption", "salt=x");
    assert_status(&coding.send().await, 415, "7");
    let topic = push(&unknown, json.clone()).header("ttl", "1").header("topic", "");
    assert_status(&topic.send().await, 400, "6");
    let text = push(&unknown, json.clone()).header("ttl", "1").header("topic", "").header("urgency", "x").send().await;
    assert!(text.expect(400)["error"].as_str().unwrap().starts_with("Urgency"), "5: {text}");
    let text = push(&unknown, json).header("topic", "").header("urgency", "x").send().await;
    assert!(text.expect(400)["error"].as_str().unwrap().starts_with("TTL"), "4: {text}");
    assert_status(&push(&unknown, large.clone()).send().await, 413, "3");
    assert_status(&push("/wp/com.example.ios/%2e%2e", large.clone()).send().await, 404, "2");
    let browser = push("/wp/com.example.ios/%2e%2e", large).header("origin", "https://evil.example");
    assert_status(&browser.send().await, 403, "a web page");
    assert_eq!(relay.upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_or_slow_body_is_not_waited_for() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    let head = |more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: push.example.net\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\n\
             Authorization: {}\r\n{more}\r\n",
            relay.authorization()
        )
    };
    let address = relay.world.server.address();
    // Endless chunks.
    let mut connection = Raw::connect(address).await;
    connection.send(head("Transfer-Encoding: chunked\r\n").as_bytes()).await;
    let chunk = [b"1000\r\n".to_vec(), vec![0; 4096], b"\r\n".to_vec()].concat();
    connection.send(&chunk).await;
    connection.send(&chunk).await;
    assert_eq!(connection.response(DEADLINE).await.unwrap().status, 413);
    assert!(connection.closes_within(DEADLINE).await);
    // An announced length is refused before anything is read.
    let announced = exchange(address, head("Content-Length: 1000000000\r\n").as_bytes(), DEADLINE).await.unwrap();
    assert_eq!(announced.status, 413);
    // Two lengths.
    let smuggling = head("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n";
    let mut connection = Raw::connect(address).await;
    connection.send(smuggling.as_bytes()).await;
    assert!(matches!(connection.response(DEADLINE).await, Ok(response) if response.status == 400));
    assert!(connection.closes_within(DEADLINE).await);
    let coded = exchange(address, head("Transfer-Encoding: gzip\r\n").as_bytes(), DEADLINE).await.unwrap();
    assert_eq!(coded.status, 400);
    // A small part of the body, then nothing.
    let began = Instant::now();
    let mut connection = Raw::connect(address).await;
    connection.send(head("Content-Length: 200\r\n").as_bytes()).await;
    connection.send(&body(50, 0)).await;
    assert_eq!(connection.response(DEADLINE).await.unwrap().status, 408);
    assert!((9..13).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert!(relay.pushes(&device).is_empty());
    // Chunks that end in time are a body.
    let mut connection = Raw::connect(address).await;
    connection.send(head("Transfer-Encoding: chunked\r\n").as_bytes()).await;
    let chunks = [b"c8\r\n".to_vec(), body(200, 0), b"\r\n0\r\n\r\n".to_vec()].concat();
    connection.send(&chunks).await;
    assert_eq!(connection.response(DEADLINE).await.unwrap().status, 201);
    // Without a coding only an empty one.
    let bare = head("Transfer-Encoding: chunked\r\n").replace("Content-Encoding: aes128gcm\r\n", "");
    for (chunks, status) in [(chunks, 415), (b"0\r\n\r\n".to_vec(), 201)] {
        let bytes = [bare.as_bytes(), &chunks].concat();
        assert_eq!(exchange(address, &bytes, DEADLINE).await.unwrap().status, status);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_disconnects_loses_no_push() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    relay.world.apple.fault_times("", 1, harness::apns::Fault::Delay(Duration::from_millis(500)));
    let mut connection = Raw::connect(relay.world.server.address()).await;
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: push.example.net\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\n\
         Authorization: {}\r\nContent-Length: 200\r\n\r\n",
        relay.authorization()
    );
    connection.send(&[head.as_bytes(), &body(200, 0)].concat()).await;
    harness::wait::wait_until("the push", DEADLINE, || relay.pushes(&device).len() == 1).await;
    connection.reset();
    assert_status(&relay.push(&path, body(200, 0)).send().await, 201, "the repeat");
    assert_eq!(relay.pushes(&device).len(), 1);
}
