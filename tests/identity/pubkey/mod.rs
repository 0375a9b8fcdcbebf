//! `GET pubkey/{keyId}` and `GET pubkey/isvalid`: the keys by which homeservers check what this server signed.
//!
//! Invariant: the public keys are computed here from the seeds in the key file, by the tests' own code.

mod keys_of_invitations;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use harness::homeserver::Key;
use harness::process::new_folder;
use serde_json::json;
use url::form_urlencoded::byte_serialize;

use harness::world::identity::{Settings, World, v2};

/// A seed whose public key has all the letters that the alphabets of base64 differ in.
fn telling_seed() -> [u8; 32] {
    let seeds = (0..=u8::MAX).map(|n| [n; 32]);
    let telling = |seed: &[u8; 32]| ["+", "/"].iter().all(|c| Key::from_seed("ed25519:0", *seed).public().contains(c));
    seeds.into_iter().find(telling).expect("one of 256 public keys has both letters")
}

/// A world whose server signs with the first of three keys; the second is retired, the third revoked.
async fn start() -> (World, [Key; 3]) {
    let seeds = [("ed25519:0", telling_seed()), ("ed25519:a_1", [200; 32]), ("ed25519:Bad", [201; 32])];
    let line = |(id, seed): &(&str, [u8; 32])| format!("{} {}\n", id.replace(':', " "), STANDARD_NO_PAD.encode(seed));
    let folder = new_folder();
    let file = folder.path().join("keys");
    std::fs::write(&file, seeds.iter().map(line).collect::<String>()).expect("a file in an own folder");
    let tables = format!("[keys]\nfile = {file:?}\nrevoked = [\"ed25519:Bad\"]");
    let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    (world, seeds.map(|(id, seed)| Key::from_seed(id, seed)))
}

#[tokio::test(flavor = "multi_thread")]
async fn current_and_retired_keys_are_served_by_their_id_and_others_are_not() {
    let (world, [current, retired, _]) = start().await;
    for (id, key) in [
        ("ed25519:0", &current),
        ("ed25519%3A0", &current),
        ("ed25519%3a0", &current),
        ("%65d25519:0", &current),
        ("ed25519:a_1", &retired),
        ("ed25519%3Aa_1", &retired),
    ] {
        let answer = world.api.get(&v2(&format!("/pubkey/{id}"))).send().await;
        assert_eq!(answer.expect(200), json!({ "public_key": key.public() }), "{id}");
    }
    for id in [
        "ed25519:Bad",
        "ed25519:1",
        "ed25519:",
        "0",
        "ed25519",
        "ED25519:0",
        "ed25519:a_1%20",
        "ed25519%253A0",
        "%00",
        "%ff",
    ] {
        world.api.get(&v2(&format!("/pubkey/{id}"))).send().await.refused(404, "M_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_valid_in_every_way_to_write_it_until_it_is_revoked() {
    let (world, [current, retired, revoked]) = start().await;
    let bytes = |key: &Key| STANDARD_NO_PAD.decode(key.public()).unwrap();
    let mut asked = Vec::new();
    for (key, is_valid) in [(&current, true), (&retired, true), (&revoked, false), (&Key::new("ed25519:0"), false)] {
        let bytes = bytes(key);
        for form in [STANDARD_NO_PAD, STANDARD, URL_SAFE_NO_PAD, URL_SAFE].map(|engine| engine.encode(&bytes)) {
            // Percent-encoded, and as careless clients put it: then a plus comes to mean a space.
            asked.push((byte_serialize(form.as_bytes()).collect::<String>(), is_valid));
            asked.push((form, is_valid));
        }
    }
    assert!(asked.iter().any(|(form, is_valid)| *is_valid && form.contains('+') && form.contains('/')));
    let public = current.public();
    for wrong in [
        "",
        "%20",
        "x",
        "%00",
        "ed25519:0",
        "%F0%9F%A6%80",
        &public[1..],
        &format!("{public}A"),
        &format!("{public}==="),
    ] {
        asked.push((wrong.to_owned(), false));
    }
    for (form, is_valid) in asked {
        let answer = world.api.get(&v2(&format!("/pubkey/isvalid?public_key={form}"))).send().await;
        assert_eq!(answer.expect(200), json!({ "valid": is_valid }), "{form}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_without_a_key_or_with_two_is_refused() {
    let (world, [current, ..]) = start().await;
    for query in ["", "?", "?key=x", "?publickey=x"] {
        world.api.get(&v2(&format!("/pubkey/isvalid{query}"))).send().await.refused(400, "M_MISSING_PARAMS");
    }
    let key: String = byte_serialize(current.public().as_bytes()).collect();
    for query in [format!("?public_key={key}&public_key={key}"), "?public_key=%ff".to_owned()] {
        world.api.get(&v2(&format!("/pubkey/isvalid{query}"))).send().await.refused(400, "M_INVALID_PARAM");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn associations_are_signed_by_the_first_key_alone() {
    let (world, [current, ..]) = start().await;
    let bob = world.register("@bob:hs.example").await;
    let association = world.bind(&bob, "@bob:hs.example", "bob@example.com").await;
    let signatures = association["signatures"].as_object().unwrap();
    assert_eq!(signatures.len(), 1);
    let by_us = signatures.values().next().unwrap();
    assert_eq!(*by_us, json!({ "ed25519:0": current.signature(&association) }));
}
