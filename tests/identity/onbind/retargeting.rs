//! A pending invitation belongs to the current owner of the address, never to a former one.

use harness::homeserver::Fault;

use super::{ALICE, BOB, CAROL, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::databases;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_of_the_address_gets_the_undelivered_invitations() {
    for database in databases().await {
        let scene = Scene::start(&database).await;
        scene.other.federate_with(&scene.world.homeserver);
        let token = scene.invite("!r:hs.example", EMAIL).await;
        scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
        scene.bind(BOB, EMAIL).await;
        let failed = |lines: &[String]| lines.len() == 1 && lines[0].contains("it replied 502");
        scene.wait_for_listing("a failed try", failed).await;
        scene.bind(CAROL, EMAIL).await;
        scene.wait_for_join(&token, CAROL).await;
        scene.wait_for_empty().await;
        scene.world.homeserver.mend();
        // Bob's homeserver would receive it now if it were still addressed.
        let asked = scene.world.homeserver.requests_to(ONBIND).len();
        let next = scene.invite("!r:hs.example", "b@example.com").await;
        scene.bind(BOB, "b@example.com").await;
        scene.wait_for_join(&next, BOB).await;
        scene.wait_for_onbinds(asked + 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_that_is_taken_back_leaves_its_invitations_to_the_next() {
    for database in databases().await {
        let scene = Scene::start(&database).await;
        scene.other.federate_with(&scene.world.homeserver);
        let tokens = [scene.invite("!a:hs.example", EMAIL).await, scene.invite("!b:hs.example", EMAIL).await];
        scene.world.homeserver.refuse_invitation(&tokens[0], 403, "M_FORBIDDEN");
        scene.world.homeserver.refuse_invitation(&tokens[1], 500, "M_UNKNOWN");
        scene.bind(BOB, EMAIL).await;
        // The last rejection counts: both are sent again.
        scene.wait_for_listing("a failed try", |lines| lines.len() == 1 && lines[0].contains("it replied 500")).await;
        scene.unbind(BOB, EMAIL).await;
        assert_eq!(scene.listed().await, Vec::<String>::new());
        scene.world.homeserver.refuse_nothing();
        assert!(scene.joins().is_empty());
        scene.bind(CAROL, EMAIL).await;
        for token in &tokens {
            scene.wait_for_join(token, CAROL).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_go_to_the_next_owner_too() {
    let scene = Scene::start("").await;
    scene.other.federate_with(&scene.world.homeserver);
    let token = scene.invite("!r:hs.example", EMAIL).await;
    scene.world.homeserver.refuse_invitation(&token, 403, "M_FORBIDDEN");
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_listing("a refusal", |lines| lines.len() == 1 && lines[0].contains("dead for")).await;
    scene.bind(CAROL, EMAIL).await;
    scene.wait_for_join(&token, CAROL).await;
    scene.wait_for_empty().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_to_one_owner_never_comes_to_the_next() {
    for keep in ["", "[invites]\nkeep_delivered = true"] {
        let scene = Scene::start(&format!("[bind]\nalways_notify = true\nnotify_old_owner = false\n{keep}")).await;
        let token = scene.invite("!r:hs.example", EMAIL).await;
        scene.bind(BOB, EMAIL).await;
        scene.wait_for_join(&token, BOB).await;
        for round in 1..6 {
            let owner = if round % 2 == 1 { ALICE } else { BOB };
            scene.bind(owner, EMAIL).await;
            scene.wait_for_onbinds(1 + round).await;
        }
        let requests = scene.world.homeserver.requests_to(ONBIND);
        assert!(requests[1..].iter().all(|request| tokens_in(&request.json()).is_empty()));
        scene.wait_for_empty().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_taken_back_is_left_out() {
    let scene = Scene::start("").await;
    scene.invite("!revoked:hs.example", EMAIL).await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    let output = scene.world.server.run(&["invites", "revoke", "--room", "!revoked:hs.example"]).await;
    assert!(output.status.success(), "{output:?}");
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_join(&token, BOB).await;
    assert_eq!(tokens_in(&scene.world.homeserver.requests_to(ONBIND)[0].json()), [token]);

    // The same after an unbind during the delivery; then no onbind notification is left.
    scene.world.homeserver.fault(ONBIND, Fault::reply(502, "gone"));
    scene.invite("!revoked:hs.example", "bob2@example.com").await;
    scene.bind(BOB, "bob2@example.com").await;
    scene.wait_for_listing("a failed try", |lines| lines.len() == 1 && lines[0].contains("it replied 502")).await;
    let output = scene.world.server.run(&["invites", "revoke", "--room", "!revoked:hs.example"]).await;
    assert!(output.status.success(), "{output:?}");
    scene.wait_for_empty().await;
    assert_eq!(scene.joins().len(), 1);
}
