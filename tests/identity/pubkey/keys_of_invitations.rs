//! The keys behind an invitation: its own, and the server's when that is changed under way.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::wait::wait_for;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use crate::identity::store_invite::{
    BOB, EPHEMERAL, LONG_TERM, NO_LIMITS, invitation, invite, is_valid, store, world_with,
};
use harness::world::identity::{DEADLINE, Settings, World, v2};

/// What `rotate-key` says of the new key.
fn rotated(world: &World, id: &str) -> String {
    let file = key_file(world);
    format!("{id} is the signing key now, on the first line of {}; send SIGHUP to running servers\n", file.display())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_key_is_recognised_in_every_way_to_write_it() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let (mut with_dash, mut with_underscore) = (false, false);
    for _ in 0..50 {
        let answer = store(&world, &alice, invitation(BOB)).await.expect(200);
        let key = answer["public_keys"][1]["public_key"].as_str().unwrap().to_owned();
        assert!(!key.contains(['+', '/', '=']) && key.len() == 43, "URL-safe, without padding: {key}");
        let standard = key.replace('-', "+").replace('_', "/");
        let escaped: String = byte_serialize(standard.as_bytes()).collect();
        for form in [key.clone(), format!("{key}="), standard.clone(), format!("{standard}="), escaped] {
            let answer = world.api.get(&v2(&format!("{EPHEMERAL}?public_key={form}"))).send().await;
            assert_eq!(answer.expect(200), json!({ "valid": true }), "{form}");
        }
        with_dash |= key.contains('-');
        with_underscore |= key.contains('_');
        if with_dash && with_underscore {
            break;
        }
    }
    assert!(with_dash && with_underscore, "one of fifty keys has each letter");
    for wrong in ["", "x", "%20", "%00", "é", &"A".repeat(43), &"A".repeat(44)] {
        let answer = world.api.get(&v2(&format!("{EPHEMERAL}?public_key={wrong}"))).send().await;
        assert_eq!(answer.expect(200), json!({ "valid": false }), "{wrong}");
    }
    world.api.get(&v2(EPHEMERAL)).send().await.refused(400, "M_MISSING_PARAMS");
    world.api.get(&v2(&format!("{EPHEMERAL}?public_key=a&public_key=b"))).send().await.refused(400, "M_INVALID_PARAM");
}

async fn rotate(world: &World, arguments: &[&str]) -> (bool, String) {
    let output = world.server.run(&[&["rotate-key"], arguments].concat()).await;
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// Has the key file read again; waits until the log of each process says what came of it.
async fn hang_up(world: &World, sign: &str) {
    let before = world.server.logs().matches(sign).count();
    world.server.signal("HUP");
    let expected = before + world.server.replicas();
    wait_for(sign, DEADLINE, async || (world.server.logs().matches(sign).count() >= expected).then_some(())).await;
}

const TAKEN: &str = "the configuration was read again";
const LEFT: &str = "the previous one stays in use";

fn key_file(world: &World) -> std::path::PathBuf {
    world.server.folder().join("data/signing.key")
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

async fn public(world: &World, id: &str) -> Value {
    world.api.get(&v2(&format!("/pubkey/{id}"))).send().await.expect(200)["public_key"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_takes_a_new_key_and_keeps_the_old_one() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let old = public(&world, "ed25519:0").await;
    let before = invite(&world, &alice, invitation(BOB)).await;
    // Something sealed with the old key, to be opened with the new one.
    let session = world.request_token(&alice, "alice@example.com").await;

    assert_eq!(rotate(&world, &[]).await, (true, rotated(&world, "ed25519:1")));
    assert_eq!(mode(&key_file(&world)), 0o600);
    assert_eq!(store(&world, &alice, invitation(BOB)).await.expect(200)["public_key"], old, "not before SIGHUP");
    world.api.get(&v2("/pubkey/ed25519:1")).send().await.refused(404, "M_NOT_FOUND");
    hang_up(&world, TAKEN).await;

    let new = public(&world, "ed25519:1").await;
    assert_ne!(new, old);
    assert_eq!(public(&world, "ed25519:0").await, old);
    for key in [&old, &new] {
        assert!(is_valid(&world, LONG_TERM, key.as_str().unwrap()).await);
    }
    let after = invite(&world, &alice, invitation("carol@example.com")).await;
    assert_eq!((&after.answer["public_key"], &after.answer["public_keys"][0]["public_key"]), (&new, &new));
    for invited in [&before, &after] {
        assert!(is_valid(&world, EPHEMERAL, invited.public_key()).await);
        let signed =
            world.api.post(&invited.link.sign_path(), Value::Null).query("mxid", "@bob:hs.example").send().await;
        let by_us = signed.expect(200)["signatures"].as_object().unwrap().values().next().unwrap().clone();
        assert_eq!(by_us.as_object().unwrap().keys().collect::<Vec<_>>(), ["ed25519:0"], "whatever signs otherwise");
    }
    world.submit(&alice, session.submission()).await.expect(200);
    let proof = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": crate::identity::store_invite::ALICE });
    let association = world.api.post(&v2("/3pid/bind"), proof).bearer(&alice).send().await.expect(200);
    let by_us = association["signatures"].as_object().unwrap().values().next().unwrap();
    assert_eq!(by_us.as_object().unwrap().keys().collect::<Vec<_>>(), ["ed25519:1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_cannot_be_used_changes_nothing_and_none_is_made() {
    let (mut world, alice) = world_with(NO_LIMITS).await;
    let old = public(&world, "ed25519:0").await;
    let file = key_file(&world);
    let good = std::fs::read_to_string(&file).unwrap();
    for broken in [Some(""), Some("ed25519 1 hunter2\n"), None] {
        match broken {
            Some(text) => std::fs::write(&file, text).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        hang_up(&world, LEFT).await;
        assert_eq!(store(&world, &alice, invitation(BOB)).await.expect(200)["public_key"], old);
        assert!(!world.server.logs().contains("hunter2"));
        let (success, said) = rotate(&world, &[]).await;
        assert!(!success && said.contains("[keys] file"), "{said}");
        assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), broken);
    }
    std::fs::write(&file, good).unwrap();
    for (id, said) in [("0", "choose an id that was never used"), ("a b", "expected the characters")] {
        let (success, output) = rotate(&world, &["--id", id]).await;
        assert!(!success && output.contains(said), "{output}");
    }
    assert_eq!(rotate(&world, &["--id", "b_2"]).await.1, rotated(&world, "ed25519:b_2"));
    world.restart().await;
    assert_eq!(public(&world, "ed25519:0").await, old);
    assert_ne!(public(&world, "ed25519:b_2").await, old);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_valid_no_more_and_its_id_is_never_given_again() {
    let tables = "[keys]\nrevoked = [\"ed25519:3\"]\n";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    assert_eq!(rotate(&world, &[]).await.1, rotated(&world, "ed25519:4"));
    hang_up(&world, TAKEN).await;
    let old = public(&world, "ed25519:0").await;
    let config = std::fs::read_to_string(world.server.folder().join("config.toml")).unwrap();
    let mut world = world;
    world.restart_with(&config.replace("ed25519:3", "ed25519:0")).await;
    world.api.get(&v2("/pubkey/ed25519:0")).send().await.refused(404, "M_NOT_FOUND");
    assert!(!is_valid(&world, LONG_TERM, old.as_str().unwrap()).await);
    assert!(is_valid(&world, LONG_TERM, public(&world, "ed25519:4").await.as_str().unwrap()).await);
}
