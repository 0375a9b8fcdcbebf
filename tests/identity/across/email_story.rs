//! One complete run: register, validate, bind, look up, unbind, look up.

use ruma_signatures::PublicKeyMap;
use serde_json::json;

use harness::world::identity::{World, v2};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_proves_an_address_publishes_it_and_is_found() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let alice = world.register("@alice:hs.example").await;
    let association = world.bind(&bob, "@bob:hs.example", "Bob@Example.com").await;
    assert_eq!(association["address"], "bob@example.com");
    assert_eq!(association["mxid"], "@bob:hs.example");
    assert_eq!(world.look_up(&alice, "bob@example.com", "email").await.as_deref(), Some("@bob:hs.example"));

    // Another implementation verifies the signature.
    let signatures = association["signatures"].as_object().unwrap();
    let (name, keys) = signatures.iter().next().unwrap();
    let key_id = keys.as_object().unwrap().keys().next().unwrap();
    let key = world.api.get(&v2(&format!("/pubkey/{key_id}"))).send().await.expect(200);
    let mut public_keys = PublicKeyMap::new();
    let encoded = ruma_common::serde::Base64::parse(key["public_key"].as_str().unwrap()).unwrap();
    public_keys.entry(name.clone()).or_default().insert(key_id.clone(), encoded);
    let object = serde_json::from_value(association.clone()).unwrap();
    ruma_signatures::verify_json(&public_keys, &object).unwrap();

    let session = world.validate(&bob, "bob@example.com").await;
    let unbind = json!({
        "mxid": "@bob:hs.example", "threepid": { "medium": "email", "address": "BOB@example.com" },
        "sid": session.sid, "client_secret": session.client_secret,
    });
    assert_eq!(world.api.post(&v2("/3pid/unbind"), unbind).send().await.expect(200), json!({}));
    assert_eq!(world.look_up(&alice, "bob@example.com", "email").await, None);
}
