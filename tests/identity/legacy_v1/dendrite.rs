//! The whole way as Dendrite goes it: v1 alone, forms and queries, no account anywhere.
//!
//! Invariant: what Dendrite checks is checked here as it does it, with signatures that are not made by our code.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use harness::api::Answer;
use ruma_common::serde::Base64;
use ruma_signatures::PublicKeyMap;
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{FULL, bind, form, look_up, look_up_all, request_token, v1, validated};
use crate::identity::onbind::{ALICE, BOB, EMAIL, ONBIND, Scene};
use harness::world::identity::{World, databases};

const ROOM: &str = "!tea:hs.example";
const NAME: &str = "id.example.org";

/// Checks an association as Dendrite does: seven members, times, and each signature of the server by the key that it asks
/// for.
async fn verify(world: &World, association: &Value) {
    let members: Vec<_> = association.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, ["address", "medium", "mxid", "not_after", "not_before", "signatures", "ts"]);
    let now = Clock::system().now().as_millis();
    let time = |name: &str| association[name].as_i64().expect("an integer");
    assert!(time("not_before") <= now && now < time("not_after"), "{association}");
    assert_eq!(association["signatures"].as_object().map(serde_json::Map::len), Some(1), "{association}");
    let signatures: BTreeMap<String, String> =
        serde_json::from_value(association["signatures"][NAME].clone()).expect("signatures under our name");
    assert!(!signatures.is_empty());
    for key_id in signatures.keys() {
        let answer = world.api.get(&v1(&format!("/pubkey/{key_id}"))).send().await.expect(200);
        let public_key = answer["public_key"].as_str().expect("a key");
        let key = STANDARD_NO_PAD.decode(public_key).expect("base64");
        let mut keys = PublicKeyMap::new();
        keys.entry(NAME.to_owned()).or_default().insert(key_id.clone(), Base64::new(key));
        let object = serde_json::from_value(association.clone()).expect("canonical JSON");
        ruma_signatures::verify_json(&keys, &object).expect("a good signature");
        let is_valid = world.api.get(&v1("/pubkey/isvalid")).query("public_key", public_key);
        assert_eq!(is_valid.send().await.expect(200), json!({ "valid": true }));
    }
}

async fn store_invite(world: &World) -> Answer {
    let fields = [
        ("medium", "email"),
        ("address", EMAIL),
        ("room_id", ROOM),
        ("room_alias", ""),
        ("room_avatar_url", ""),
        ("room_join_rules", "invite"),
        ("room_name", "Tea"),
        ("sender", ALICE),
        ("sender_display_name", "Alice"),
        ("sender_avatar_url", ""),
    ];
    form(world, "/store-invite", &fields).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_looked_up_invited_validated_bound_and_found() {
    for database in databases().await {
        let scene = Scene::start(&format!("{FULL}{database}")).await;
        let world = &scene.world;
        assert_eq!(look_up(world, "email", EMAIL).await.expect(200), json!({}));

        let stored = store_invite(world).await.expect(200);
        let long_term = world.api.get(&v1("/pubkey/ed25519:0")).send().await.expect(200)["public_key"].clone();
        let base = "http://id.example.org/_matrix/identity/v2/pubkey";
        let keys = stored["public_keys"].as_array().unwrap();
        assert_eq!((&stored["public_key"], &keys[0]["public_key"], keys.len()), (&long_term, &long_term, 2));
        assert_eq!(keys[0]["key_validity_url"], format!("{base}/isvalid"));
        assert_eq!(keys[1]["key_validity_url"], format!("{base}/ephemeral/isvalid"));
        assert_eq!((stored["display_name"].as_str(), stored.as_object().unwrap().len()), (Some("b...@exa..."), 4));
        world.homeserver.invite_by_address(ROOM, ALICE, &stored);

        let session = request_token(world, EMAIL).await;
        validated(world, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
        bind(world, &session, BOB).await.refused(400, "M_SESSION_NOT_VALIDATED");
        assert_eq!(world.api.get(&session.confirmed_link()).send().await.code(), 200);
        let shown = validated(world, &session).await.expect(200);
        assert_eq!((&shown["medium"], &shown["address"]), (&json!("email"), &json!(EMAIL)));
        assert!(shown["validated_at"].is_i64() && shown.as_object().unwrap().len() == 3, "{shown}");

        let association = bind(world, &session, BOB).await.expect(200);
        verify(world, &association).await;
        let join = scene.wait_for_join(stored["token"].as_str().unwrap(), BOB).await;
        assert_eq!((join.room_id.as_str(), join.sender.as_str()), (ROOM, ALICE));
        assert_eq!(world.homeserver.requests_to(ONBIND).len(), 1);

        let found = look_up(world, "email", EMAIL).await.expect(200);
        verify(world, &found).await;
        assert_eq!(found, association, "a signature of the same by the same key is the same");
        let pairs = json!([["email", EMAIL], ["email", "unbound@example.com"]]);
        let expected = json!({ "threepids": [["email", EMAIL, BOB]] });
        assert_eq!(look_up_all(world, pairs).await.expect(200), expected);
        assert_eq!(world.look_up(&scene.tokens[ALICE], EMAIL, "email").await.as_deref(), Some(BOB));
        let refusal = store_invite(world).await.refused(400, "M_THREEPID_IN_USE");
        assert_eq!(refusal["mxid"], BOB);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_is_signed_by_the_key_of_the_day() {
    let mut scene = Scene::start(FULL).await;
    let session = super::validate(&scene.world, EMAIL).await;
    let association = bind(&scene.world, &session, BOB).await.expect(200);
    let rotated = scene.world.server.run(&["rotate-key", "--id", "next"]).await;
    assert!(rotated.status.success(), "{rotated:?}");
    scene.restart().await;
    let found = look_up(&scene.world, "email", EMAIL).await.expect(200);
    verify(&scene.world, &found).await;
    assert!(found["signatures"][NAME]["ed25519:next"].is_string(), "{found}");
    // The old signature stays valid: the server still publishes its key.
    verify(&scene.world, &association).await;
    assert!(association["signatures"][NAME]["ed25519:0"].is_string(), "{association}");
}
