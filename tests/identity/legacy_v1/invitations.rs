//! `store-invite` without an account: the sender is not authenticated, and the mail does not claim otherwise.
//!
//! Invariant: the operator's rules hold as they do by v2.

use serde_json::{Value, json};

use super::{BOB, EMAIL, bound, form, v1, world_with};
use harness::world::identity::{DEADLINE, World, v2};

const ALICE: &str = "@alice:hs.example";

async fn invite(world: &World, changes: &[(&str, &str)]) -> harness::api::Answer {
    let usual = [("medium", "email"), ("address", EMAIL), ("room_id", "!tea:hs.example"), ("sender", ALICE)];
    let kept = usual.into_iter().filter(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    let fields: Vec<(&str, &str)> = kept.chain(changes.iter().copied()).collect();
    form(world, "/store-invite", &fields).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_does_not_vouch_for_the_sender_as_it_does_by_v2() {
    let world = world_with("").await;
    let named = [("sender_display_name", "Alice"), ("room_name", "Tea")];
    invite(&world, &named).await.expect(200);
    let mail = world.mail.wait_for(EMAIL, 1, DEADLINE).await.message();
    assert!(mail.text().contains("\nAlice has invited you to the room \"Tea\""), "{}", mail.text());
    assert!(!mail.text().contains(ALICE) && !mail.html().contains(ALICE), "{}", mail.html());

    let alice = world.register(ALICE).await;
    let body = json!({ "medium": "email", "address": EMAIL, "room_id": "!tea:hs.example", "sender": ALICE,
                       "sender_display_name": "Alice", "room_name": "Tea" });
    world.api.post(&v2("/store-invite"), body).bearer(&alice).send().await.expect(200);
    let mail = world.mail.wait_for(EMAIL, 2, DEADLINE).await.message();
    assert!(mail.text().contains("\nAlice (@alice:hs.example) has invited you to the room \"Tea\""), "{}", mail.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_invited_person_joins_with_the_link_in_the_mail() {
    let world = world_with("").await;
    let stored = invite(&world, &[("sender", "@anyone:other.example")]).await.expect(200);
    let mail = world.mail.wait_for(EMAIL, 1, DEADLINE).await.message();
    let link = mail.links().remove(0).fragment().expect("a fragment").to_owned();
    let (_, query) = link.split_once('?').expect("parameters");
    let signurl =
        url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "signurl").expect("a signurl").1;
    let path = signurl.strip_prefix(&world.server.url()).expect("ours");
    assert!(path.starts_with(&v1("/sign-ed25519?token=")), "{path}");
    let signed = world.api.post(path, Value::Null).query("mxid", BOB).send().await.expect(200);
    assert_eq!((&signed["mxid"], &signed["sender"]), (&json!(BOB), &json!("@anyone:other.example")));
    assert_eq!(signed["token"], stored["token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_rules_hold_in_their_order() {
    let tables = "[invites]\nallow_senders = [\"*:hs.example\", \"*:blocked.example\"]\n\
                  blocked_homeservers = [\"blocked.example\"]\nblocked_rooms = [\"!bad:*\"]\nblocked_keywords = [\"casino\"]\n";
    let world = world_with(tables).await;
    bound(&world, "taken@example.com", BOB).await;
    let before = world.mail.mails().len();
    for changes in [
        &[("sender", "@a:other.example")][..],
        &[("sender", "@a:blocked.example")],
        &[("room_id", "!bad:hs.example")],
        &[("room_name", "The CASINO")],
        &[("address", "casino@example.com")],
        &[("room_name", "The CASINO"), ("address", "taken@example.com")],
    ] {
        invite(&world, changes).await.refused(403, "M_UNAUTHORIZED");
    }
    let refusal = invite(&world, &[("address", "Taken@Example.com")]).await.refused(400, "M_THREEPID_IN_USE");
    assert_eq!(refusal["mxid"], BOB);
    for (changes, errcode) in [
        (&[("medium", "msisdn"), ("address", "447700900001")][..], "M_UNRECOGNIZED"),
        (&[("medium", "pigeon")], "M_UNRECOGNIZED"),
        (&[("address", "a@x,b@y")], "M_INVALID_EMAIL"),
        (&[("sender", "alice")], "M_INVALID_PARAM"),
        (&[("room_id", "")], "M_INVALID_PARAM"),
    ] {
        invite(&world, changes).await.refused(400, errcode);
    }
    assert_eq!(world.mail.mails().len(), before);
    invite(&world, &[]).await.expect(200);
}
