//! The notices to a former owner of an address: the mail to the address, and the request to that user's homeserver.

use harness::homeserver::Fault;
use harness::wait::wait_until;
use serde_json::json;

use super::{ALICE, BOB, CAROL, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::{DEADLINE, Settings, databases, v2};

/// The subject of the notice; every other mail of these tests is a validation.
const SUBJECT: &str = "Your email address and Matrix";

/// The texts of the notices to `EMAIL`.
fn notices(scene: &Scene) -> Vec<String> {
    let mails = scene.world.mail.mails_to(EMAIL).into_iter().map(|mail| mail.message());
    let notices = mails.filter(|message| message.header("subject") == Some(SUBJECT));
    notices.map(|message| format!("{} {}", message.text(), message.html())).collect()
}

async fn wait_for_notices(scene: &Scene, number: usize) -> Vec<String> {
    wait_until("the notices", DEADLINE, || notices(scene).len() >= number).await;
    assert_eq!(notices(scene).len(), number);
    notices(scene)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_that_moves_an_address_is_reported_to_the_address_and_to_the_former_homeserver() {
    for database in databases().await {
        let scene = Scene::start(&format!("{database}[bind]\n")).await;
        scene.other.federate_with(&scene.world.homeserver);
        scene.bind(BOB, EMAIL).await;
        assert!(notices(&scene).is_empty());
        let session = scene.validate(CAROL, EMAIL).await;
        let association = scene.publish(CAROL, &session).await;
        let notice = wait_for_notices(&scene, 1).await.remove(0);
        for user in [BOB, CAROL] {
            assert!(notice.matches(user).count() >= 2, "{user}: {notice}");
        }
        scene.wait_for_onbinds(1).await;
        let body = scene.world.homeserver.requests_to(ONBIND)[0].json();
        assert_eq!((&body["mxid"], &body["ts"]), (&json!(CAROL), &association["ts"]));
        assert!(tokens_in(&body).is_empty(), "{body}");
        assert!(scene.other.requests_to(ONBIND).is_empty());
        scene.wait_for_empty().await;
        // The same association again moves nothing, and a first bind replaces nothing.
        scene.publish(CAROL, &session).await;
        scene.bind(BOB, "fresh@example.com").await;
        scene.wait_for_onbinds(1).await;
        wait_for_notices(&scene, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_notices_survive_a_kill_and_a_relay_and_a_homeserver_that_are_down() {
    let email = "retry_after = \"1s\"\ntimeout = \"2s\"";
    let mut scene = Scene::with(Settings { email, tables: "[bind]\n", ..Settings::default() }).await;
    scene.bind(BOB, EMAIL).await;
    let session = scene.validate(CAROL, EMAIL).await;
    scene.world.mail.always(harness::mail::Stage::Greeting, harness::mail::Script::Close);
    scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
    scene.publish(CAROL, &session).await;
    scene.restart().await;
    scene.world.mail.mend();
    scene.world.homeserver.mend();
    // A lease that the killed process held has to expire.
    wait_until("the notice", 3 * DEADLINE, || !notices(&scene).is_empty()).await;
    assert!(wait_for_notices(&scene, 1).await[0].contains(CAROL));
    scene.wait_for_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invitations_of_a_moved_address_go_to_the_new_owner_alone() {
    let scene = Scene::start("[bind]\n").await;
    scene.other.federate_with(&scene.world.homeserver);
    scene.bind(BOB, EMAIL).await;
    // An invitation that arrives by a race while the address is bound: it is stored before the bind is undone.
    scene.unbind(BOB, EMAIL).await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_join(&token, BOB).await;
    scene.bind(CAROL, EMAIL).await;
    scene.wait_for_onbinds(2).await;
    assert!(tokens_in(&scene.world.homeserver.requests_to(ONBIND)[1].json()).is_empty());
    scene.wait_for_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_does_not_know_the_request_leaves_no_dead_letter() {
    let scene = Scene::start("[bind]\n").await;
    scene.bind(BOB, EMAIL).await;
    scene.world.homeserver.fault(ONBIND, Fault::reply(403, r#"{"errcode":"M_FORBIDDEN","error":"not ours"}"#));
    scene.bind(CAROL, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    scene.wait_for_empty().await;
    assert!(scene.metric("identity_outbox_dead_total").await == 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_returns_cancels_the_request_about_its_move() {
    let scene = Scene::start("[bind]\n").await;
    scene.bind(BOB, EMAIL).await;
    scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
    scene.bind(CAROL, EMAIL).await;
    scene.wait_for_listing("a failed try", |lines| lines.len() == 1 && lines[0].contains("it replied 502")).await;
    scene.bind(BOB, EMAIL).await;
    scene.world.homeserver.mend();
    scene.wait_for_empty().await;
    let requests = scene.other.requests_to(ONBIND);
    assert_eq!((requests.len(), &requests[0].json()["mxid"]), (1, &json!(BOB)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_homeserver_is_notified_of_every_move_when_the_mails_are_used_up() {
    let limits = "[bind]\n[limits]\nemail_per_address = { burst = 2, every = \"1h\" }\n";
    let scene = Scene::start(limits).await;
    let (bob, carol) = (scene.validate(BOB, EMAIL).await, scene.validate(CAROL, EMAIL).await);
    scene.publish(BOB, &bob).await;
    for round in 1..=3 {
        scene.publish(CAROL, &carol).await;
        scene.wait_for_onbinds(round).await;
        scene.wait_for_empty().await;
        scene.publish(BOB, &bob).await;
        wait_until("the request to Carol's homeserver", DEADLINE, || scene.other.requests_to(ONBIND).len() == round)
            .await;
        scene.wait_for_empty().await;
    }
    wait_for_notices(&scene, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbind_cancels_the_request_about_the_move_before_it() {
    for database in databases().await {
        let scene = Scene::start(&format!("{database}[bind]\n")).await;
        scene.bind(BOB, EMAIL).await;
        scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
        scene.bind(CAROL, EMAIL).await;
        scene.wait_for_listing("a failed try", |lines| lines.len() == 1 && lines[0].contains("it replied 502")).await;
        scene.unbind(CAROL, EMAIL).await;
        assert!(scene.listed().await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbind_is_reported_to_the_address() {
    let scene = Scene::start("").await;
    scene.bind(BOB, EMAIL).await;
    // Of another user there is nothing to remove, so nothing to report.
    scene.unbind(ALICE, EMAIL).await;
    scene.unbind(BOB, EMAIL).await;
    let notice = wait_for_notices(&scene, 1).await.remove(0);
    assert!(notice.contains(BOB) && !notice.contains("has confirmed"), "{notice}");
    scene.unbind(BOB, EMAIL).await;
    wait_for_notices(&scene, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_turns_the_notices_off() {
    let scene = Scene::start("[bind]\nnotify_old_owner = false\n[unbind]\nnotify_owner = false\n").await;
    scene.bind(BOB, EMAIL).await;
    scene.bind(CAROL, EMAIL).await;
    scene.unbind(CAROL, EMAIL).await;
    // A later mail on the same queue would arrive after them.
    scene.world.request_token(&scene.tokens[ALICE], "later@example.com").await;
    assert!(notices(&scene).is_empty() && scene.world.homeserver.requests_to(ONBIND).is_empty());
    let queued = scene.metric("identity_queued_mails").await;
    assert!(queued == 0.0, "{queued}");
    assert_eq!(scene.world.api.get(&v2("")).send().await.code(), 200);
}
