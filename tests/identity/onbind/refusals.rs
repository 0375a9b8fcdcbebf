//! Homeservers that reject an invitation, or accept onbind only by PUT.

use std::time::Duration;

use harness::homeserver::Fault;
use serde_json::json;

use super::{BOB, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::databases;

fn methods(scene: &Scene) -> Vec<String> {
    scene.world.homeserver.requests_to(ONBIND).into_iter().map(|request| request.method).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_without_post_receives_put_at_once() {
    // A backoff would be noticed: it is longer than any wait here.
    let scene = Scene::start("[outbox]\nretry_after = \"1h\"").await;
    scene.world.homeserver.take_onbind_by_put();
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_join(&token, BOB).await;
    assert_eq!(methods(&scene), ["POST", "PUT"]);
    let bodies: Vec<_> = scene.world.homeserver.requests_to(ONBIND).iter().map(|request| request.json()).collect();
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_knows_neither_way_may_learn_one() {
    for status in [404, 405] {
        let scene = Scene::start("").await;
        let unknown = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
        scene.world.homeserver.fault_times(ONBIND, 4, Fault::json(status, unknown));
        let token = scene.invite("!r:hs.example", EMAIL).await;
        scene.bind(BOB, EMAIL).await;
        scene.wait_for_join(&token, BOB).await;
        assert_eq!(methods(&scene), ["POST", "PUT", "POST", "PUT", "POST"], "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_invitations_the_one_that_is_refused_keeps_the_other_from_nothing() {
    for database in databases().await {
        let scene = Scene::start(&database).await;
        let refused = scene.invite("!a:hs.example", EMAIL).await;
        let taken = scene.invite("!b:hs.example", EMAIL).await;
        scene.world.homeserver.refuse_invitation(&refused, 403, "M_FORBIDDEN");
        // So that the first request contains both and delivers neither.
        scene.world.homeserver.fault_times(ONBIND, 1, Fault::json(400, json!({ "errcode": "M_BAD_JSON" })));
        scene.bind(BOB, EMAIL).await;
        scene.wait_for_join(&taken, BOB).await;
        let is_dead = |lines: &[String]| lines.len() == 1 && lines[0].contains("dead for");
        let lines = scene.wait_for_listing("a dead letter", is_dead).await;
        let words: Vec<&str> = lines[0].split_whitespace().collect();
        assert_eq!(words[1..6], ["email", BOB, "hs.example", "1", "1"], "{lines:?}");
        assert!(lines[0].ends_with("it replied 403 M_FORBIDDEN"), "{lines:?}");
        let requests = scene.world.homeserver.requests_to(ONBIND);
        let sent: Vec<_> = requests.iter().map(|request| tokens_in(&request.json())).collect();
        assert_eq!(sent, [vec![refused.clone(), taken.clone()], vec![refused.clone()], vec![taken.clone()]]);
        assert!((scene.metric("identity_outbox_dead_total").await - 1.0).abs() < 1e-9);
        assert!(scene.metric("identity_outbox_pending").await.abs() < 1e-9);

        // The operator retries it; a second rejection makes it a dead letter again, and at last it is delivered.
        assert!(scene.outbox(&["retry", "--dead"]).await.status.success());
        scene.wait_for_onbinds(4).await;
        let lines = scene.wait_for_listing("the dead letter again", is_dead).await;
        scene.world.homeserver.refuse_nothing();
        assert!(scene.outbox(&["retry", lines[0].split_whitespace().next().unwrap()]).await.status.success());
        scene.wait_for_join(&refused, BOB).await;
        scene.wait_for_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_holds_the_refused_invitation_and_not_a_revoked_one() {
    let scene = Scene::start("").await;
    // The maximum number in one request.
    for number in 0..50 {
        scene.invite(&format!("!{number}:hs.example"), EMAIL).await;
    }
    scene.invite("!revoked:hs.example", EMAIL).await;
    let refused = scene.invite("!refused:hs.example", EMAIL).await;
    scene.world.homeserver.refuse_invitation(&refused, 403, "M_FORBIDDEN");
    // Its response to the first request takes seconds.
    let slow = Fault::drip(format!("{}{{}}", " ".repeat(100)), Duration::from_millis(40));
    scene.world.homeserver.fault_times(ONBIND, 1, slow);
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    let output = scene.world.server.run(&["invites", "revoke", "--room", "!revoked:hs.example"]).await;
    assert!(output.status.success(), "{output:?}");
    let is_dead = |lines: &[String]| lines.len() == 1 && lines[0].contains("dead for");
    scene.wait_for_listing("a dead letter", is_dead).await;
    let requests = scene.world.homeserver.requests_to(ONBIND);
    assert_eq!(requests.len(), 2);
    assert_eq!(tokens_in(&requests[1].json()), [refused]);
    assert!((scene.metric("identity_outbox_dead_total").await - 1.0).abs() < 1e-9);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_without_success_for_too_long_is_a_dead_letter() {
    let scene = Scene::start("[outbox]\nretry_after = \"100ms\"\nmax_age = \"1s\"").await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
    scene.bind(BOB, EMAIL).await;
    let is_dead = |lines: &[String]| lines.len() == 1 && lines[0].contains("dead for");
    scene.wait_for_listing("the dead letter", is_dead).await;
    scene.world.server.wait_for_log("became a dead letter", harness::world::identity::DEADLINE).await;
    assert!((scene.metric("identity_outbox_dead_total").await - 1.0).abs() < 1e-9);
    let tries = scene.world.homeserver.requests_to(ONBIND).len();
    assert!(tries > 1, "{tries}");
    scene.world.homeserver.mend();
    assert!(scene.outbox(&["retry", "--all"]).await.status.success());
    scene.wait_for_join(&token, BOB).await;
    assert!(!scene.outbox(&["retry"]).await.status.success(), "it has to be said which");
    assert!(!scene.outbox(&["retry", "--dead", "--all"]).await.status.success());
}
