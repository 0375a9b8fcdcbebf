//! Access tokens: their sources, renewal and failures.

use std::time::Duration;

use harness::fcm::Fault;
use harness::wait::wait_until;
use serde_json::{Value, json};
use shared::clock::{Clock, Timestamp};

use super::super::Fcm;
use super::{SOON, World, assert_mistake, deliver, deliver_within};
use crate::providers::Provider;
use crate::providers::outcome::{Failure, Outcome};

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let world = World::new().await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    for round in 2..4 {
        world.google.expire_tokens();
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
        assert_eq!(world.google.token_requests().len(), round);
    }
    world.google.fault_for("tok-2", Fault::unauthenticated());
    assert_mistake(&deliver(&app, "tok-2").await, "UNAUTHENTICATED");
    assert_eq!((world.google.messages_for("tok-2").len(), world.google.token_requests().len()), (2, 4));
    // A project that refuses the new token too requests no other one each time.
    assert_mistake(&deliver(&app, "tok-2").await, "UNAUTHENTICATED");
    assert_eq!((world.google.messages_for("tok-2").len(), world.google.token_requests().len()), (4, 4));
}

#[tokio::test]
async fn a_token_is_renewed_early_while_the_old_one_serves() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    clock.advance(Duration::from_secs(3599 - 301));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.token_requests().len(), 1);
    clock.advance(Duration::from_secs(2));
    // No delivery waits for the endpoint, even if it hangs.
    world.google.token_fault_times(1, Fault::Delay(Duration::from_millis(300)));
    let old = |request: &harness::fcm::Request| request.header("authorization").unwrap().to_owned();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    let messages = world.google.messages();
    assert_eq!(old(&messages[0]), old(&messages[2]));
    wait_until("the renewal", SOON, || world.google.token_requests().len() == 2).await;
    let first = old(&messages[0]);
    harness::wait::wait_for("the new token", SOON, async || {
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
        (old(world.google.messages().last().unwrap()) != first).then_some(())
    })
    .await;
    assert_eq!(world.google.token_requests().len(), 2);
}

#[tokio::test]
async fn failures_of_the_token_endpoint_back_off() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    let no_token = |seconds| {
        let failure = Failure::upstream("no_token", Some(Duration::from_secs(seconds)));
        Outcome::from(Failure { retry_in_request: true, ..failure })
    };
    let faults = [
        Fault::html(500),
        Fault::json(400, json!({"error": "invalid_grant", "error_description": "Invalid JWT Signature."})),
        Fault::reply(200, "{}"),
        Fault::json(200, json!({"access_token": "a\nb", "expires_in": 3599})),
        Fault::json(200, json!({"access_token": "x", "expires_in": 0})),
        Fault::Reset(2),
        Fault::reply(302, "").with_header("location", "https://127.0.0.1:1/"),
        Fault::html(503),
    ];
    for (fault, wait) in faults.into_iter().zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        world.google.token_fault_times(1, fault);
        let before = world.google.token_requests().len();
        assert_eq!(deliver(&app, "tok-1").await, no_token(wait));
        assert_eq!(deliver(&app, "tok-1").await, no_token(wait));
        assert_eq!(world.google.token_requests().len(), before + 1);
        clock.advance(Duration::from_secs(wait));
    }
    assert!(world.google.messages().is_empty() && app.readiness().is_ok_and(|note| note.is_some()));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
}

#[tokio::test]
async fn a_failed_renewal_affects_no_delivery_while_the_token_is_valid() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.token_fault(Fault::html(503));
    clock.advance(Duration::from_secs(3400));
    for _ in 0..3 {
        assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    }
    wait_until("the renewal", SOON, || world.google.token_requests().len() == 2).await;
}

#[tokio::test]
async fn a_delivery_without_a_token_before_the_deadline_fails() {
    let world = World::new().await;
    let app = world.app();
    world.google.token_fault(Fault::Silence);
    let found = deliver_within(&app, "tok-1", Duration::from_millis(200)).await;
    assert_eq!(found, Failure::upstream("no_token", None).into());
    assert!(world.google.messages().is_empty());
}

#[tokio::test]
async fn the_clouds_metadata_server_is_a_source_of_tokens() {
    let world = World::new().await;
    let settings = json!({
        "credentials": "metadata", "metadata_url": world.google.metadata_url(), "project_id": "demo-project",
    });
    let (app, other) = (world.try_app(settings.clone()).unwrap(), world.try_app(settings).unwrap());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(deliver(&other, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.token_requests().len(), 1);
    assert_eq!(world.google.token_requests()[0].method, "GET");
}

#[tokio::test]
async fn a_problem_with_the_service_account_names_the_key() {
    let world = World::new().await;
    let path = world.folder.path().join("sa.json");
    let build = |file: Value| {
        std::fs::write(&path, file.to_string()).unwrap();
        let settings = serde_json::from_value(json!({"service_account_file": path})).unwrap();
        let app = Fcm::new("a", &settings, &world.context.with_outbound(&world.outbound(), &[], true));
        app.map(drop).map_err(|error| error.to_string())
    };
    let good = world.google.service_account();
    assert_eq!(build(good.clone()), Ok(()));
    for (key, value, reason) in [
        ("type", json!("authorized_user"), "\"type\""),
        ("private_key", json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), "\"private_key\""),
        ("private_key", json!(null), "\"private_key\""),
        ("client_email", json!(""), "\"client_email\""),
        ("token_uri", json!("nowhere"), "\"token_uri\""),
        ("project_id", json!(null), "project_id: "),
        ("project_id", json!("a/../b"), "project_id: "),
    ] {
        let mut file = good.clone();
        file[key] = value;
        let error = build(file).unwrap_err();
        assert!(error.contains(reason) && !error.contains("c2VjcmV0"), "{error}");
    }
    let error = build(json!("secret")).unwrap_err();
    assert!(error.contains("sa.json") && !error.contains("secret\""), "{error}");
    std::fs::remove_file(&path).unwrap();
    let settings = serde_json::from_value(json!({"service_account_file": path})).unwrap();
    let missing = Fcm::new("a", &settings, &world.context).map(drop);
    assert!(missing.unwrap_err().to_string().starts_with("service_account_file: cannot read"));
}
