//! The homeserver's responses about an OpenID token, and the server's response to the client.
//!
//! Invariant: only a homeserver's own word about its own user makes an account.

use std::time::Duration;

use harness::api::Answer;
use harness::homeserver::{Fault, Homeserver};
use harness::wait::wait_until;
use serde_json::{Value, json};

use super::{USERINFO, fresh_ip};
use harness::world::identity::{DEADLINE, Settings, World, v2};

/// A world without limits on registrations.
async fn start(federation: &str) -> World {
    World::with(Settings { federation, tables: "[limits]\nenabled = false", ..Settings::default() }).await
}

async fn register(world: &World, token: &str) -> Answer {
    let body = json!({ "access_token": token, "matrix_server_name": "hs.example" });
    world.api.post(&v2("/account/register"), body).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openid_token_is_sent_percent_encoded_and_asked_for_plainly() {
    let world = start("").await;
    world.homeserver.fault("/", Fault::json(200, json!({ "sub": "@a:hs.example" })));
    let longest = "x".repeat(2048);
    for (token, encoded) in [
        ("t&x=1#", "t%26x%3D1%23"),
        ("a b+c/d", "a%20b%2Bc%2Fd"),
        ("%41", "%2541"),
        ("é\r\nHost: x", "%C3%A9%0D%0AHost%3A%20x"),
        ("\0", "%00"),
        (&longest, &longest),
    ] {
        register(&world, token).await.expect(200);
        let asked = world.homeserver.requests().pop().unwrap();
        let target = format!("{USERINFO}?access_token={encoded}");
        assert_eq!((asked.method.as_str(), &asked.target), ("GET", &target));
        assert_eq!((asked.header("host"), asked.sni.as_deref()), (Some("hs.example"), Some("hs.example")));
        // No content coding is decoded, so none is asked for; and nothing is shown that was not asked for.
        for absent in ["accept-encoding", "authorization", "cookie", "referer"] {
            assert_eq!(asked.header(absent), None);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_one_is_refused_without_asking() {
    let world = start("").await;
    let body = |token: Value| json!({ "access_token": token, "matrix_server_name": "hs.example" });
    for token in [json!(""), json!("x".repeat(2049)), json!(5), json!(["t"]), json!({}), json!(true)] {
        let answer = world.api.post(&v2("/account/register"), body(token)).send().await;
        answer.refused(400, "M_INVALID_PARAM");
    }
    for missing in [body(Value::Null), json!({ "access_token": "t" }), json!({})] {
        let answer = world.api.post(&v2("/account/register"), missing).send().await;
        answer.refused(400, "M_MISSING_PARAMS");
    }
    assert_eq!(world.homeserver.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_reply_of_the_homeserver_has_its_answer() {
    let world = start("").await;
    let sub = |sub: &str| Fault::json(200, json!({ "sub": sub }));
    let json = |body: Value| Fault::json(200, body);
    let long = |bytes: usize| format!("@{}:hs.example", "a".repeat(bytes - 12));
    for (reply, status, errcode) in [
        (sub("@a:other.example"), 403, "M_FORBIDDEN"),
        (sub("@a:hs.example:1"), 403, "M_FORBIDDEN"),
        (sub("@a:hs.example:8448"), 403, "M_FORBIDDEN"),
        (sub("@a:x.hs.example"), 403, "M_FORBIDDEN"),
        (sub("@a:hs.example.other"), 403, "M_FORBIDDEN"),
        (sub("@x:y:hs.example"), 502, "M_UNKNOWN"),
        (sub("x:hs.example"), 502, "M_UNKNOWN"),
        (sub("@:hs.example"), 502, "M_UNKNOWN"),
        (sub("@hs.example"), 502, "M_UNKNOWN"),
        (sub("@a:"), 502, "M_UNKNOWN"),
        (sub(" @a:hs.example"), 502, "M_UNKNOWN"),
        (sub("@a:hs.example\n"), 502, "M_UNKNOWN"),
        (sub("@a\0:hs.example"), 502, "M_UNKNOWN"),
        (sub("a@hs.example"), 502, "M_UNKNOWN"),
        // Words and look-alikes that the historical grammar does not allow.
        (sub("@call me:hs.example"), 502, "M_UNKNOWN"),
        (sub("@\u{430}lice:hs.example"), 502, "M_UNKNOWN"),
        (sub("@a\u{202e}b:hs.example"), 502, "M_UNKNOWN"),
        (sub("@a\u{7f}:hs.example"), 502, "M_UNKNOWN"),
        (sub(""), 502, "M_UNKNOWN"),
        (sub(&long(256)), 502, "M_UNKNOWN"),
        (json(json!({ "sub": 5 })), 502, "M_UNKNOWN"),
        (json(json!({ "sub": null })), 502, "M_UNKNOWN"),
        (json(json!({ "sub": ["@a:hs.example"] })), 502, "M_UNKNOWN"),
        (json(json!({})), 502, "M_UNKNOWN"),
        (json(json!(["@a:hs.example"])), 502, "M_UNKNOWN"),
        (json(json!("@a:hs.example")), 502, "M_UNKNOWN"),
        (json(json!({ "user": "@a:hs.example" })), 502, "M_UNKNOWN"),
        (Fault::json(401, json!({ "sub": "@a:hs.example" })), 401, "M_UNAUTHORIZED"),
        (Fault::json(403, json!({ "errcode": "M_FORBIDDEN", "error": "no" })), 401, "M_UNAUTHORIZED"),
        (Fault::reply(401, ""), 401, "M_UNAUTHORIZED"),
        (Fault::json(400, json!({ "sub": "@a:hs.example" })), 502, "M_UNKNOWN"),
        (Fault::json(404, json!({ "errcode": "M_UNRECOGNIZED" })), 502, "M_UNKNOWN"),
        (Fault::json(429, json!({ "errcode": "M_LIMIT_EXCEEDED" })), 502, "M_UNKNOWN"),
        (Fault::json(500, json!({ "sub": "@a:hs.example" })), 502, "M_UNKNOWN"),
        (Fault::reply(503, "busy"), 502, "M_UNKNOWN"),
        (Fault::json(201, json!({ "sub": "@a:hs.example" })), 502, "M_UNKNOWN"),
        (Fault::reply(204, ""), 502, "M_UNKNOWN"),
    ] {
        world.homeserver.mend();
        world.homeserver.fault(USERINFO, reply);
        register(&world, "t").await.refused(status, errcode);
    }
    for (user, server) in
        [("@a:hs.example", "hs.example"), ("@A~b!:HS.Example", "hs.example"), (&long(255), "hs.example")]
    {
        world.homeserver.mend();
        world.homeserver.fault(USERINFO, sub(user));
        let body = json!({ "access_token": "t", "matrix_server_name": server });
        let token = world.api.post(&v2("/account/register"), body).send().await.expect(200)["token"].clone();
        let account = world.api.get(&v2("/account")).bearer(token.as_str().unwrap()).send().await.expect(200);
        assert_eq!(account, json!({ "user_id": user }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_not_json_is_called_that() {
    let world = start("").await;
    let not_utf8 = b"{\"sub\":\"@a\xff:hs.example\"}".to_vec();
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec();
    for reply in [
        Fault::reply(200, "<html>It works!</html>"),
        Fault::reply(200, ""),
        Fault::reply(200, "{\"sub\":\"@a:hs.example\""),
        Fault::reply(200, "{\"sub\":\"@a:hs.example\"} x"),
        Fault::reply(200, not_utf8),
        Fault::reply(200, gzip).with_header("content-encoding", "gzip"),
    ] {
        world.homeserver.mend();
        world.homeserver.fault(USERINFO, reply);
        let answer = register(&world, "t").await;
        let error = answer.refused(502, "M_UNKNOWN")["error"].clone();
        assert!(error.as_str().unwrap().contains("JSON"), "{answer}");
    }
    // Its content type does not matter.
    world.homeserver.mend();
    let reply = Fault::reply(200, "{\"sub\":\"@a:hs.example\"}").with_header("content-type", "text/html");
    world.homeserver.fault(USERINFO, reply);
    register(&world, "t").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_five_kibibytes_are_read() {
    let world = start("").await;
    let padded = |length: usize| {
        let start = "{\"sub\":\"@a:hs.example\",\"x\":\"";
        format!("{start}{}\"}}", "x".repeat(length - start.len() - 2))
    };
    world.homeserver.fault(USERINFO, Fault::reply(200, padded(5120)));
    register(&world, "t").await.expect(200);
    for reply in [
        Fault::reply(200, padded(5121)),
        Fault::stream("{\"sub\":\"@a:hs.example\"}", b' ', 1 << 30),
        Fault::stream("{\"sub\":\"@a:hs.example\"}", b' ', 5121),
    ] {
        world.homeserver.mend();
        world.homeserver.fault(USERINFO, reply);
        register(&world, "t").await.refused(502, "M_UNKNOWN");
    }
    let mut before = u64::MAX;
    wait_until("the end of the sending", DEADLINE, || {
        std::mem::replace(&mut before, world.homeserver.bytes_sent()) == world.homeserver.bytes_sent()
    })
    .await;
    // What the sockets of both sides buffer was sent but not read.
    assert!(world.homeserver.bytes_sent() < 1 << 26, "{} bytes", world.homeserver.bytes_sent());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_takes_too_long_is_a_timeout_however_it_does_it() {
    let world = start("timeout = \"500ms\"").await;
    let drip = Fault::drip("{\"sub\":\"@a:hs.example\"}", Duration::from_millis(100));
    for (reply, is_deaf) in [(Fault::Silence, false), (drip, false), (Fault::Silence, true)] {
        world.homeserver.mend();
        world.homeserver.set_silent(is_deaf);
        // The connection of the last one has been closed by now: it was in use when its time was over.
        world.homeserver.fault(USERINFO, reply);
        register(&world, "t").await.refused(504, "M_UNKNOWN");
    }
    assert_eq!(world.homeserver.connections(), 3);
    world.homeserver.mend();
    register(&world, "t").await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let other = Homeserver::start("127.0.0.1").await;
    let outbound = "allow_cidrs = [\"127.0.0.0/8\"]";
    let tables = "[limits]\nenabled = false";
    let world = World::with(Settings { outbound, tables, ..Settings::default() }).await;
    for status in [301, 302, 303, 307, 308] {
        world.homeserver.mend();
        let location = format!("https://{}{USERINFO}", other.address());
        world.homeserver.fault(USERINFO, Fault::reply(status, "").with_header("location", &location));
        register(&world, "t").await.refused(502, "M_UNKNOWN");
    }
    assert_eq!((world.homeserver.requests().len(), other.connections()), (5, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_breaks_off_or_is_not_there_cannot_be_contacted() {
    let world = start(&format!("overrides.\"gone.example\" = \"{}:8448\"", fresh_ip())).await;
    world.homeserver.fault(USERINFO, Fault::Close);
    for name in ["hs.example", "gone.example"] {
        let body = json!({ "access_token": "t", "matrix_server_name": name });
        let answer = world.api.post(&v2("/account/register"), body).send().await;
        let error = answer.refused(502, "M_UNKNOWN")["error"].clone();
        assert!(error.as_str().unwrap().contains("contact"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_registration_stores_and_reveals_nothing() {
    let world = start("").await;
    let secret = "a-secret-openid-token";
    for reply in [Fault::reply(401, ""), Fault::reply(500, secret), Fault::reply(200, secret), Fault::Close] {
        world.homeserver.mend();
        world.homeserver.fault(USERINFO, reply);
        let answer = register(&world, secret).await;
        assert!(!answer.text().contains(secret) && answer.json()["token"].is_null(), "{answer}");
    }
    assert!(!world.server.logs().contains(secret), "{}", world.server.logs());
}
