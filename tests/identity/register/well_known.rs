//! `https://<host>/.well-known/matrix/server`: how often it is fetched, how far redirects are followed, and that a
//! flawed one is the same as none.
//!
//! Invariant: nothing about the file is visible but who is asked for it and where a registration goes then.

use harness::certificates::Certificate;
use harness::homeserver::{Fault, Homeserver};
use serde_json::json;

use super::{Outside, WELL_KNOWN, WELL_KNOWN_PORT, asked_as, delegation, fresh_ip, registered, unreachable};
use harness::world::identity::DEADLINE;

/// A homeserver of users of `name` at an IP address, with the file's content that delegates to it.
async fn behind_a_file(world: &Outside, name: &str) -> (Homeserver, serde_json::Value) {
    let ip = fresh_ip();
    let server = world.homeserver(name, ip, 0).await;
    server.set_certificate(&world.authority.issue(&[&ip.to_string()]));
    let file = json!({ "m.server": server.address().to_string() });
    (server, file)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_remembered_as_long_as_it_says() {
    let world = Outside::open().await;
    for (host, header, fetched_again) in [
        ("silent.test", None, false),
        ("aged.test", Some("public, max-age=3600"), false),
        ("endless.test", Some("max-age=99999999"), false),
        ("never.test", Some("no-store"), true),
        ("stale.test", Some("max-age=0"), true),
    ] {
        let (server, file) = behind_a_file(&world, host).await;
        let reply = Fault::json(200, file);
        let reply = header.map_or(reply.clone(), |value| reply.with_header("cache-control", value));
        let web = world.well_known(host, reply).await;
        for _ in 0..3 {
            registered(&world.register(&server).await);
        }
        assert_eq!(web.requests_to(WELL_KNOWN).len(), if fetched_again { 3 } else { 1 }, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_file_is_fetched_and_used_again() {
    let world = Outside::open().await;
    let (first, file) = behind_a_file(&world, "hs.test").await;
    let web = world.well_known("hs.test", Fault::json(200, file).with_header("cache-control", "max-age=1")).await;
    registered(&world.register(&first).await);
    let (second, file) = behind_a_file(&world, "hs.test").await;
    web.mend();
    web.fault("/", Fault::json(200, file));
    harness::wait::wait_for("a registration at the second server", DEADLINE, async || {
        // The first one answers until the file's second is over; it does not know the token.
        (world.register(&second).await.code() == 200).then_some(())
    })
    .await;
    assert_eq!(web.requests_to(WELL_KNOWN).len(), 2);
    assert_eq!(second.requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_absence_of_a_file_is_remembered_for_a_while() {
    let world = Outside::open().await;
    let server = world.usual_homeserver("hs.test").await;
    let web = world.homeserver("hs.test", server.address().ip(), WELL_KNOWN_PORT).await;
    for _ in 0..3 {
        registered(&world.register(&server).await);
    }
    assert_eq!(web.requests_to(WELL_KNOWN).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_redirects_are_followed_and_six_are_not() {
    let world = Outside::open().await;
    let (server, file) = behind_a_file(&world, "r5.test").await;
    let mut hops = vec![world.well_known("r0.test", Fault::json(200, file)).await];
    for hop in 1..=6 {
        let to = format!("https://r{}.test:{WELL_KNOWN_PORT}/{hop}", hop - 1);
        hops.push(world.well_known(&format!("r{hop}.test"), Fault::redirect(&to)).await);
    }
    registered(&world.register(&server).await);
    assert_eq!(hops[0].requests()[0].target, "/1");
    assert_eq!(hops[0].requests()[0].header("host"), Some(format!("r0.test:{WELL_KNOWN_PORT}").as_str()));
    assert_eq!(hops[6].connections(), 0);

    unreachable(&world.register_at("r6.test").await);
    let fetched: Vec<_> = hops.iter().map(|hop| hop.requests().len()).collect();
    assert_eq!(fetched, [1, 2, 2, 2, 2, 2, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flawed_file_is_the_same_as_none() {
    let world = Outside::open().await;
    let elsewhere = world.homeserver("elsewhere.test", fresh_ip(), 0).await;
    let to = elsewhere.address().to_string();
    let file = json!({ "m.server": to });
    let padded = json!({ "m.server": to, "x": "x".repeat(50 * 1024) });
    for (n, reply) in [
        Fault::json(404, file.clone()),
        Fault::json(500, file.clone()),
        Fault::json(201, file.clone()),
        Fault::json(200, json!({ "m.server": format!("{to}/path") })),
        Fault::json(200, json!({ "m.server": format!("user@{to}") })),
        Fault::json(200, json!({ "m.server": "" })),
        Fault::json(200, json!({ "m.server": 5 })),
        Fault::json(200, json!({ "m.server": null })),
        Fault::json(200, json!({})),
        Fault::json(200, json!([to])),
        Fault::reply(200, "<html>"),
        Fault::reply(200, ""),
        Fault::json(200, padded),
        Fault::stream(format!("{{\"m.server\":\"{to}\""), b' ', 1 << 30),
        Fault::redirect(&format!("http://{to}/")),
        Fault::redirect(&format!("https://user@{to}/")),
        Fault::redirect("https://"),
        Fault::reply(302, ""),
        Fault::Close,
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("flawed{n}.test");
        let web = world.well_known(&host, reply).await;
        let server = world.homeserver(&host, web.address().ip(), 8448).await;
        registered(&world.register(&server).await);
        assert_eq!(web.requests().len(), 1, "{host}");
        assert_eq!(asked_as(&server), vec![(Some(host.clone()), host.clone())]);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_web_server_does_not_use_up_the_time_for_the_homeserver() {
    let world = Outside::with("timeout = \"4s\"", "").await;
    for (host, is_deaf) in [("deaf.test", true), ("mute.test", false)] {
        let web = world.well_known(host, Fault::Silence).await;
        web.set_silent(is_deaf);
        let server = world.homeserver(host, web.address().ip(), 8448).await;
        registered(&world.register(&server).await);
        assert!(web.connections() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_from_a_server_with_a_wrong_certificate_is_not_believed() {
    let world = Outside::open().await;
    let elsewhere = world.homeserver("elsewhere.test", fresh_ip(), 0).await;
    for (n, certificate) in [
        world.authority.issue(&["other.test"]),
        world.authority.issue_expired(&["bad1.test"]),
        Certificate::self_signed(&["bad2.test"]),
    ]
    .iter()
    .enumerate()
    {
        let host = format!("bad{n}.test");
        let web = world.well_known(&host, delegation(&elsewhere.address().to_string())).await;
        web.set_certificate(certificate);
        unreachable(&world.register_at(&host).await);
        assert!(web.connections() > 0 && web.requests().is_empty(), "{host}");
    }
    assert_eq!(elsewhere.connections(), 0);
}
