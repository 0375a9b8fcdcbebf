//! Connections: how many there are, and which are left.

use std::sync::Arc;

use harness::certificates::Certificate;
use harness::fcm::Fault;
use serde_json::json;

use super::{SOON, World, deliver, outage};
use crate::providers::Provider;
use crate::providers::outcome::Outcome;

#[tokio::test]
async fn two_hundred_concurrent_messages_need_one_token_and_few_connections() {
    let world = World::new().await;
    let (one, other) = (Arc::new(world.app()), Arc::new(world.try_app(json!({"target": "token"})).unwrap()));
    let mut deliveries = tokio::task::JoinSet::new();
    for n in 0..200 {
        let app = Arc::clone(if n % 2 == 0 { &one } else { &other });
        deliveries.spawn(async move { deliver(&app, &format!("tok-{n}")).await });
    }
    for outcome in deliveries.join_all().await {
        assert_eq!(outcome, Outcome::Delivered);
    }
    assert_eq!(world.google.messages().len(), 200);
    assert_eq!(world.google.token_requests().len(), 1);
    // One for the token, and one or two for each app.
    assert!(world.google.connections() <= 5, "{}", world.google.connections());
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.kill_connections();
    harness::wait::wait_for("a new connection", SOON, async || {
        (deliver(&app, "tok-1").await == Outcome::Delivered).then_some(())
    })
    .await;
    world.google.fault_times(1, Fault::Close);
    assert_eq!(deliver(&app, "tok-1").await, outage("connection_lost", None));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
}

#[tokio::test]
async fn an_unprocessed_message_is_resent_on_another_connection() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.fault_times(1, Fault::GoAway);
    assert_eq!(deliver(&app, "tok-2").await, Outcome::Delivered);
    assert_eq!(world.google.messages_for("tok-2").len(), 2);
}

#[tokio::test]
async fn a_server_without_a_valid_certificate_gets_no_message() {
    let world = World::new().await;
    // Each has its own backoff, and a token.
    let apps = [world.app(), world.app(), world.app()];
    apps[0].warm_up().await.unwrap();
    let certificates = [
        Certificate::self_signed(&["127.0.0.1"]),
        world.google.authority().issue(&["other.example"]),
        world.google.authority().issue_expired(&["127.0.0.1"]),
    ];
    for (app, certificate) in apps.iter().zip(certificates) {
        world.google.set_certificate(&certificate);
        assert_eq!(deliver(app, "tok-1").await, outage("tls", None));
    }
    assert!(world.google.messages().is_empty());
}

#[tokio::test]
async fn an_attempt_at_a_silent_server_times_out() {
    let world = World::new().await;
    let app = world.app();
    app.warm_up().await.unwrap();
    world.google.fault_for("silent", Fault::Silence);
    let found = tokio::time::timeout(SOON, deliver(&app, "silent")).await;
    assert_eq!(found.expect("it gives up"), outage("timeout", None));
}
