//! One complete invitation: Alice invites an address; its owner gets the mail, validates and binds the address, and
//! joins the room.

use serde_json::json;

use crate::identity::onbind::{ALICE, BOB, CAROL, EMAIL, ONBIND, Scene, tokens_in};
use harness::world::identity::v2;

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_person_gets_a_mail_proves_the_address_and_is_in_the_room() {
    let scene = Scene::start("").await;
    // Carol's homeserver is not in the room: it sends a request to Alice's.
    scene.other.federate_with(&scene.world.homeserver);
    let token = scene.invite("!party:hs.example", EMAIL).await;
    let mails = scene.world.mail.mails_to(EMAIL);
    assert_eq!(mails.len(), 1);
    assert!(mails[0].message().text().contains(&token));
    assert_eq!(scene.world.look_up(&scene.tokens[ALICE], EMAIL, "email").await, None);

    scene.bind(CAROL, "Bob@Example.com").await;
    let join = scene.wait_for_join(&token, CAROL).await;
    assert_eq!((join.room_id.as_str(), join.sender.as_str()), ("!party:hs.example", ALICE));
    assert_eq!(scene.world.look_up(&scene.tokens[ALICE], EMAIL, "email").await.as_deref(), Some(CAROL));
    assert_eq!(scene.other.requests_to(ONBIND).len(), 1);
    assert_eq!(scene.world.homeserver.requests_to(ONBIND).len(), 0);

    // From now on Alice invites her directly.
    let body = json!({ "medium": "email", "address": EMAIL, "room_id": "!r:hs.example", "sender": ALICE });
    let again = scene.world.api.post(&v2("/store-invite"), body).bearer(&scene.tokens[ALICE]).send().await;
    assert_eq!(again.refused(400, "M_THREEPID_IN_USE")["mxid"], CAROL);
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_of_two_people_of_different_homeservers_reach_the_same_person() {
    let scene = Scene::start("").await;
    scene.world.homeserver.federate_with(&scene.other);
    let near = scene.invite_by(ALICE, "!near:hs.example", EMAIL).await;
    let far = scene.invite_by(CAROL, "!far:other.example", EMAIL).await;
    scene.bind(BOB, EMAIL).await;
    assert_eq!(scene.wait_for_join(&near, BOB).await.sender, ALICE);
    assert_eq!(scene.wait_for_join(&far, BOB).await.sender, CAROL);
    let requests = scene.world.homeserver.requests_to(ONBIND);
    assert_eq!((requests.len(), tokens_in(&requests[0].json())), (1, vec![near, far]));
    assert_eq!(scene.other.requests_to(ONBIND).len(), 0);
}
