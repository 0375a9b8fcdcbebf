//! The gateway's own listener: memory for bodies, headers, web pages, shutdown, and its certificate.

use std::time::Duration;

use harness::api::Api;
use harness::certificates::Authority;
use harness::process::new_folder;
use harness::raw::Raw;
use harness::wait::wait_for;
use harness::world::push::{DEADLINE, NOTIFY, World, android_app, android_device, message_body};
use harness::{binary, fcm};
use serde_json::json;

const APP: &str = "com.example.android";

#[tokio::test(flavor = "multi_thread")]
async fn half_sent_bodies_share_one_budget() {
    let world = World::serving("body_budget = \"20KiB\"", "", &[android_app(APP, "")]).await;
    let head = format!("POST {NOTIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    let mut greedy = Vec::new();
    // More than enough, so that one which is read late changes nothing.
    for _ in 0..10 {
        let mut connection = Raw::connect(world.server.address()).await;
        assert!(connection.send(head.as_bytes()).await && connection.send(&[b' '; 4_000]).await);
        greedy.push(connection);
    }
    let device = json!({ "app_id": APP, "pushkey": "phone" });
    let mut large = message_body("$large", json!([device, json!({ "app_id": APP, "pushkey": "x".repeat(2000) })]));
    large["notification"]["content"]["body"] = json!("x".repeat(6_000));
    let answer = wait_for("the budget to be spent", DEADLINE, async || {
        let answer = world.api.post(NOTIFY, large.clone()).send().await;
        (answer.code() != 200).then_some(answer)
    });
    let answer = answer.await;
    answer.refused(503, "M_UNKNOWN");
    assert_eq!(answer.header("retry-after"), Some("1"));
    // It comes back with the connections that held it.
    greedy.into_iter().for_each(Raw::reset);
    wait_for("the budget to be free", DEADLINE, async || {
        (world.api.post(NOTIFY, large.clone()).send().await.code() == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_header_and_a_web_page_are_refused() {
    let world = World::start("").await;
    let body = message_body("$event", json!([android_device("phone")]));
    let long = "x".repeat(17_000);
    world.api.post(NOTIFY, body.clone()).header("x-long", &long).send().await.refused(431, "M_UNKNOWN");
    let page = world.api.post(NOTIFY, body.clone()).header("origin", "https://evil.example").send().await;
    page.refused(403, "M_FORBIDDEN");
    world.api.post(NOTIFY, body).header("x-long", &long[..10_000]).send().await.expect(200);
    assert_eq!(world.google.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_refused_without_its_body_does_not_wait_for_it() {
    let world = World::start("[limits]\nmax_in_flight = 1").await;
    let long = format!("X-Long: {}\r\n", "x".repeat(17_000));
    let head = |line: &str, field: &str| format!("{line} HTTP/1.1\r\nHost: x\r\n{field}Content-Length: 100\r\n\r\n");
    let post = format!("POST {NOTIFY}");
    // The one request in flight. Its body is never complete.
    let mut only = Raw::connect(world.server.address()).await;
    only.send(head(&post, "").as_bytes()).await;
    for (line, field, status) in [
        ("POST /nowhere", "", 404),
        (&format!("PUT {NOTIFY}"), "", 405),
        (&post, "Origin: https://page.example\r\n", 403),
        (&post, &long, 431),
        (&post, "", 503),
    ] {
        let response = wait_for(line, DEADLINE, async || {
            let mut connection = Raw::connect(world.server.address()).await;
            connection.send(head(line, field).as_bytes()).await;
            // A server that waits for the body answers 408 after half a minute.
            let response = connection.response(Duration::from_secs(20)).await;
            let response = response.unwrap_or_else(|error| panic!("{line}: {error:?}"));
            (response.status == status).then_some(response)
        });
        assert!(response.await.json()["errcode"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn during_a_shutdown_connections_are_refused_and_deliveries_end() {
    let mut world = World::start("").await;
    world.google.fault_times(1, fcm::Fault::Silence);
    let call = world.api.post(NOTIFY, message_body("$slow", json!([android_device("phone")])));
    let slow = tokio::spawn(call.send());
    wait_for("the message", DEADLINE, async || (!world.google.messages().is_empty()).then_some(())).await;
    world.server.signal("TERM");
    wait_for("refusal", DEADLINE, async || {
        let connection = Raw::try_connect(world.server.address()).await;
        connection.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    assert!(!slow.is_finished(), "its request is still served");
    slow.await.expect("an answer").refused(502, "M_UNKNOWN");
    assert!(world.server.wait_for_exit(DEADLINE).await.success());
    assert!(!world.server.logs().contains("accepting connection"), "{}", world.server.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_homeserver_has_left_ends_before_the_process() {
    let mut world = World::start("").await;
    world.google.fault_times(1, fcm::Fault::Silence);
    let body = message_body("$event", json!([android_device("phone")])).to_string();
    let request = format!("POST {NOTIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut homeserver = Raw::connect(world.server.address()).await;
    assert!(homeserver.send(request.as_bytes()).await);
    wait_for("the message", DEADLINE, async || (!world.google.messages().is_empty()).then_some(())).await;
    homeserver.reset();
    world.server.signal("TERM");
    let ended = tokio::time::timeout(Duration::from_secs(3), world.server.wait_for_exit(DEADLINE)).await;
    assert!(ended.is_err(), "the attempt takes ten seconds");
    assert!(world.server.wait_for_exit(DEADLINE).await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let google = fcm::Google::start().await;
    let folder = new_folder();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let (chain, key) = old.issue(&["127.0.0.1"]).write_pem(folder.path());
    let config = format!(
        "[http]\nbind = \"127.0.0.1:0\"\ntls_cert_file = {chain:?}\ntls_key_file = {key:?}\n{}",
        google.config(APP, folder.path())
    );
    let server = harness::process::Server::start_in(folder, binary::push_gateway(), &config, &[]).await;
    let health = async |authority: &Authority| {
        let api = Api::trusting(&format!("https://{}", server.address()), &authority.pem());
        api.get("/health").try_send().await.is_ok_and(|answer| answer.code() == 200)
    };
    assert!(health(&old).await && !health(&new).await);
    new.issue(&["127.0.0.1"]).write_pem(server.folder());
    server.signal("HUP");
    wait_for("the new certificate", DEADLINE, async || health(&new).await.then_some(())).await;
    assert!(!health(&old).await);
}
