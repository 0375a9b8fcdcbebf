//! Delivery of invitations: at once, and again until the homeserver accepts them.

use std::time::Duration;

use harness::api::Api;
use harness::certificates::Certificate;
use harness::homeserver::{Fault, Homeserver};
use harness::wait::wait_until;
use ruma_common::serde::Base64;
use ruma_signatures::{PublicKeyMap, PublicKeySet};
use serde_json::{Value, json};

use super::{ALICE, BOB, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::{DEADLINE, Settings, databases, v2};

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_binds_an_invited_address_joins_at_once_and_the_onbind_is_as_specified() {
    for database in databases().await {
        let scene = Scene::start(&database).await;
        let token = scene.invite("!r:hs.example", "Bob@Example.com").await;
        let session = scene.validate(BOB, EMAIL).await;
        let association = scene.publish(BOB, &session).await;
        let join = scene.wait_for_join(&token, BOB).await;
        assert_eq!((join.room_id.as_str(), join.sender.as_str()), ("!r:hs.example", ALICE));
        scene.wait_for_empty().await;

        let requests = scene.world.homeserver.requests_to(ONBIND);
        assert_eq!((requests.len(), requests[0].method.as_str()), (1, "POST"));
        assert_eq!(requests[0].header("content-type"), Some("application/json"));
        assert_eq!(requests[0].header("authorization"), None);
        let mut body = requests[0].json();
        verify(&scene, &body).await;
        verify(&scene, &body["invites"][0]["signed"]).await;
        // The signed object is the response to bind, with the invites.
        let invites = body["invites"].take();
        for name in ["address", "medium", "mxid", "ts", "not_before", "not_after"] {
            assert_eq!(body[name], association[name], "{name}");
        }
        let invite = invites[0].as_object().unwrap();
        let names: Vec<_> = invite.keys().map(String::as_str).collect();
        assert_eq!(names, ["address", "medium", "mxid", "room_id", "sender", "signed", "token"]);
        let expected = json!({ "mxid": BOB, "token": token, "signatures": invite["signed"]["signatures"] });
        assert_eq!(invite["signed"], expected);
        assert_eq!((invites.as_array().unwrap().len(), &invite["address"]), (1, &json!(EMAIL)));
    }
}

/// Verifies a signature with another implementation.
async fn verify(scene: &Scene, signed: &Value) {
    let (name, keys) = signed["signatures"].as_object().and_then(|all| all.iter().next()).expect("a signature");
    assert_eq!(name, "id.example.org");
    let id = keys.as_object().and_then(|keys| keys.keys().next()).expect("a key");
    let key = scene.world.api.get(&v2(&format!("/pubkey/{id}"))).send().await.expect(200);
    let encoded = Base64::parse(key["public_key"].as_str().expect("a key")).expect("base64");
    let public_keys = PublicKeyMap::from([(name.clone(), PublicKeySet::from([(id.clone(), encoded)]))]);
    let object = serde_json::from_value(signed.clone()).expect("canonical JSON");
    ruma_signatures::verify_json(&public_keys, &object).expect("a good signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_invitations_of_one_address_come_in_one_request() {
    let scene = Scene::start("").await;
    let tokens = [scene.invite("!a:hs.example", EMAIL).await, scene.invite("!b:hs.example", EMAIL).await];
    let others = scene.invite("!a:hs.example", "carol@example.com").await;
    scene.bind(BOB, EMAIL).await;
    for token in &tokens {
        scene.wait_for_join(token, BOB).await;
    }
    let requests = scene.world.homeserver.requests_to(ONBIND);
    assert_eq!(tokens_in(&requests[0].json()), tokens);
    assert_eq!((requests.len(), scene.joins().contains_key(&others)), (1, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_invitations_an_onbind_is_sent_only_with_notify_always() {
    let scene = Scene::start("").await;
    scene.bind(BOB, EMAIL).await;
    // The next one shows that nothing was sent before it.
    let token = scene.invite("!r:hs.example", "bob2@example.com").await;
    scene.bind(BOB, "bob2@example.com").await;
    scene.wait_for_join(&token, BOB).await;
    scene.wait_for_onbinds(1).await;

    let scene = Scene::start("[bind]\nalways_notify = true").await;
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    let body = scene.world.homeserver.requests_to(ONBIND)[0].json();
    assert_eq!((&body["invites"], &body["address"], &body["mxid"]), (&json!([]), &json!(EMAIL), &json!(BOB)));
    verify(&scene, &body).await;
    scene.wait_for_empty().await;
    // This onbind is retried too, until it is accepted.
    scene.world.homeserver.fault_times(ONBIND, 2, Fault::reply(502, "gone"));
    scene.bind(BOB, "bob2@example.com").await;
    scene.wait_for_onbinds(4).await;
    scene.wait_for_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_is_retried_until_a_failing_homeserver_accepts_it() {
    let limited = json!({ "errcode": "M_LIMIT_EXCEEDED", "error": "later" });
    let unknown = json!({ "errcode": "M_UNKNOWN", "error": "trouble" });
    let faults = [
        ("closed", Fault::Close),
        ("502", Fault::reply(502, "<html>bad gateway</html>")),
        ("500", Fault::json(500, unknown.clone())),
        ("503", Fault::json(503, unknown.clone())),
        ("404 of a proxy", Fault::reply(404, "<html>not found</html>")),
        ("403 of a proxy", Fault::reply(403, "forbidden")),
        ("408", Fault::json(408, unknown)),
        ("429", Fault::json(429, limited)),
        ("redirect", Fault::redirect("https://elsewhere.example/")),
        ("too large", Fault::stream("{", b' ', 1 << 20)),
        ("silence", Fault::Silence),
        ("drip", Fault::drip(" ".repeat(1000), Duration::from_millis(50))),
    ];
    let settings = Settings { federation: "timeout = \"3s\"", ..Settings::default() };
    let scene = Scene::with(settings).await;
    let homeserver = &scene.world.homeserver;
    for (number, (name, fault)) in faults.into_iter().enumerate() {
        let email = format!("b{number}@example.com");
        let token = scene.invite("!r:hs.example", &email).await;
        let before = homeserver.requests_to(ONBIND).len();
        homeserver.fault_times(ONBIND, 2, fault);
        scene.bind(BOB, &email).await;
        scene.wait_for_join(&token, BOB).await;
        assert_eq!(homeserver.requests_to(ONBIND).len(), before + 3, "{name}");
    }
    scene.wait_for_empty().await;
    assert!(homeserver.requests_to(ONBIND).iter().all(|request| request.method == "POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_is_retried_until_an_unreachable_homeserver_returns() {
    let mut scene = Scene::start("").await;
    let session = scene.validate(BOB, EMAIL).await;
    let room = "!r:hs.example";
    let body = json!({ "medium": "email", "address": EMAIL, "room_id": room, "sender": ALICE });
    let stored = scene.world.api.post(&v2("/store-invite"), body).bearer(&scene.tokens[ALICE]).send().await.expect(200);

    let (authority, address) = (scene.world.homeserver.authority().clone(), scene.world.homeserver.address());
    let elsewhere = Homeserver::start_with("hs.example", &authority, "127.0.0.1:0").await;
    drop(std::mem::replace(&mut scene.world.homeserver, elsewhere));
    wait_until("a refused connection", DEADLINE, || std::net::TcpStream::connect(address).is_err()).await;
    scene.publish(BOB, &session).await;
    let failed = |lines: &[String]| lines.len() == 1 && lines[0].contains("it accepts no connection");
    scene.wait_for_listing("a failed try", failed).await;
    assert!((scene.metric("identity_outbox_pending").await - 1.0).abs() < 1e-9);
    assert!(scene.metric("identity_outbox_oldest_seconds").await > 0.0);

    scene.world.homeserver = Homeserver::start_with("hs.example", &authority, &address.to_string()).await;
    scene.introduce();
    scene.world.homeserver.invite_by_address(room, ALICE, &stored);
    scene.wait_for_join(stored["token"].as_str().unwrap(), BOB).await;
    scene.wait_for_empty().await;
    assert!(scene.metric("identity_outbox_pending").await.abs() < 1e-9);
    assert!(scene.metric("identity_outbox_oldest_seconds").await.abs() < 1e-9);
    assert!(scene.metric("identity_outbox_dead_total").await.abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_with_a_wrong_certificate_learns_nothing() {
    let mut scene = Scene::start("").await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    let session = scene.validate(BOB, EMAIL).await;
    let authority = scene.world.homeserver.authority().clone();
    for certificate in [authority.issue(&["other.example"]), Certificate::self_signed(&["hs.example"])] {
        scene.world.homeserver.set_certificate(&certificate);
        // Without connections from before.
        scene.restart().await;
        scene.publish(BOB, &session).await;
        let before = scene.world.homeserver.connections();
        let homeserver = &scene.world.homeserver;
        wait_until("two more tries", DEADLINE, || homeserver.connections() >= before + 2).await;
        let lines = scene.listed().await;
        assert!(lines[0].contains("TLS"), "{lines:?}");
    }
    assert_eq!(scene.world.homeserver.requests_to(ONBIND).len(), 0);
    scene.world.homeserver.set_certificate(&authority.issue(&["hs.example"]));
    scene.wait_for_join(&token, BOB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_says_when_is_left_alone_until_then() {
    let scene = Scene::start("").await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    let limited = Fault::json(429, json!({ "errcode": "M_LIMIT_EXCEEDED" })).with_header("retry-after", "1000");
    scene.world.homeserver.fault_times(ONBIND, 1, limited);
    scene.bind(BOB, EMAIL).await;
    let later = |lines: &[String]| {
        lines.len() == 1 && lines[0].contains("in 16m ") && lines[0].ends_with("it replied 429 M_LIMIT_EXCEEDED")
    };
    let lines = scene.wait_for_listing("a pause of 1000 s", later).await;
    let id = lines[0].split_whitespace().next().unwrap();
    assert!(!scene.outbox(&["retry", "nowhere"]).await.status.success());
    assert!(scene.outbox(&["retry", id]).await.status.success());
    scene.wait_for_join(&token, BOB).await;
    scene.wait_for_onbinds(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bind_does_not_wait_for_a_homeserver_and_nothing_is_held_while_one_is_asked() {
    let tables = "[database]\nmax_connections = 1";
    let settings = Settings { http: "workers = 1", federation: "timeout = \"10m\"", tables, ..Settings::default() };
    let scene = Scene::with(settings).await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.world.homeserver.fault_times(ONBIND, 1, Fault::Silence);
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    // The only database connection is free, and so is the only worker.
    let admin = Api::new(&scene.world.server.admin_url());
    assert_eq!(admin.get("/ready").send().await.code(), 200);
    assert_eq!(scene.world.look_up(&scene.tokens[ALICE], EMAIL, "email").await.as_deref(), Some(BOB));
    assert!(!scene.joins().contains_key(&token));
    // A homeserver that receives a second request, and sends one to the server before it responds, gets a response.
    let second = scene.invite("!r:hs.example", "bob2@example.com").await;
    scene.bind(BOB, "bob2@example.com").await;
    scene.wait_for_join(&second, BOB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_in_flight_is_not_sent_again_by_the_next_process() {
    let mut scene = Scene::start("").await;
    scene.invite("!r:hs.example", EMAIL).await;
    // Its response takes seconds.
    scene.world.homeserver.fault_times(
        ONBIND,
        1,
        Fault::drip(format!("{}{{}}", " ".repeat(100)), Duration::from_millis(20)),
    );
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    assert_eq!(scene.world.server.terminate(DEADLINE).await.code(), Some(0));
    scene.restart().await;
    scene.wait_for_empty().await;
    scene.wait_for_onbinds(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn onbinds_survive_a_restart_and_a_kill() {
    for database in databases().await {
        let mut scene = Scene::start(&database).await;
        let token = scene.invite("!r:hs.example", EMAIL).await;
        scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
        scene.bind(BOB, EMAIL).await;
        let failed = |lines: &[String]| lines.len() == 1 && lines[0].contains("it replied 502");
        scene.wait_for_listing("a failed try", failed).await;
        assert!(scene.world.server.terminate(DEADLINE).await.success());
        scene.restart().await;
        scene.wait_for_listing("a failed try", failed).await;
        scene.world.server.kill();
        scene.world.homeserver.mend();
        scene.restart().await;
        scene.wait_for_join(&token, BOB).await;
        scene.wait_for_empty().await;
    }
}
