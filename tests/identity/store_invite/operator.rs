//! `identity invites list` and `identity invites revoke`, beside a server that runs.

use harness::mail::{Script, Stage};
use serde_json::{Value, json};

use super::{BOB, EPHEMERAL, NO_LIMITS, ROOM, invitation, invite, is_valid, store, with, world_with};
use harness::world::identity::{Settings, World, databases};

/// Runs `identity invites …`; gives whether it went well and what it said.
async fn invites(world: &World, arguments: &[&str]) -> (bool, String) {
    let output = world.server.run(&[&["invites"], arguments].concat()).await;
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

/// The ids in the list, in its order.
async fn ids(world: &World, arguments: &[&str]) -> Vec<String> {
    let (success, list) = invites(world, &[&["list"], arguments].concat()).await;
    assert!(success && list.starts_with("ID "), "{list}");
    list.lines().skip(1).map(|line| line.split_whitespace().next().expect("an id").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_sees_invitations_and_takes_them_back() {
    for database in databases().await {
        let (world, alice) = world_with(&format!("{NO_LIMITS}{database}")).await;
        assert_eq!(invites(&world, &["list"]).await, (true, "no invitations\n".to_owned()));
        let first = invite(&world, &alice, invitation(BOB)).await;
        let second = invite(&world, &alice, with(BOB, json!({ "room_id": "!other:hs.example" }))).await;
        let third = invite(&world, &alice, invitation("carol@example.com")).await;

        let (_, list) = invites(&world, &["list"]).await;
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ID", "STATE", "CREATED", "ADDRESS", "ROOM", "SENDER"]);
        assert_eq!(lines[1][1], "pending");
        assert_eq!(lines[1][4..], ["b...@exa...", ROOM, "@alice:hs.example"], "{list}");
        for secret in [first.token(), first.public_key(), "bob@example.com"] {
            assert!(!list.contains(secret), "{list}");
        }
        let all = ids(&world, &[]).await;
        assert_eq!(all.len(), 3);
        assert_eq!(ids(&world, &["--address", "BOB@example.com"]).await, all[..2]);
        assert_eq!(ids(&world, &["--room", "!other:hs.example"]).await, all[1..2]);
        assert_eq!(ids(&world, &["--sender", "@alice:hs.example", &all[2], &all[0]]).await, [all[0].as_str(), &all[2]]);

        let (success, said) = invites(&world, &["revoke"]).await;
        assert!(!success && said.contains("no filter"), "{said}");
        for wrong in [&["--sender", "alice"][..], &["--room", "a b"], &["--address", "nowhere"]] {
            assert!(!invites(&world, &[&["revoke"], wrong].concat()).await.0, "{wrong:?}");
        }
        let unknown = (false, "identity: no such invitation: unknown\n".to_owned());
        assert_eq!(invites(&world, &["revoke", "unknown"]).await, unknown);
        assert_eq!(invites(&world, &["revoke", &all[0], "unknown"]).await, unknown, "nothing is revoked");
        assert_eq!(invites(&world, &["revoke", &all[0]]).await, (true, "1 revoked\n".to_owned()));
        assert_eq!(invites(&world, &["revoke", "--address", BOB]).await, (true, "1 revoked\n".to_owned()));

        for (invited, is_good) in [(&first, false), (&second, false), (&third, true)] {
            assert_eq!(is_valid(&world, EPHEMERAL, invited.public_key()).await, is_good);
            let call = world.api.post(&invited.link.sign_path(), Value::Null).query("mxid", "@bob:hs.example");
            let answer = call.send().await;
            if is_good {
                answer.expect(200);
            } else {
                answer.refused(404, "M_UNRECOGNIZED");
            }
        }
        let (_, list) = invites(&world, &["list"]).await;
        assert_eq!((list.matches(" revoked ").count(), list.matches(" pending ").count()), (2, 1), "{list}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_still_waits_is_not_sent_for_what_was_revoked() {
    let settings = Settings { email: "retry_after = \"1h\"", tables: NO_LIMITS, ..Settings::default() };
    let world = World::with(settings).await;
    let alice = world.register(super::ALICE).await;
    world.mail.script(Stage::Recipient, [Script::say("450 4.2.1 later")]);
    store(&world, &alice, invitation(BOB)).await.expect(200);
    assert_eq!(super::refusals::rows(&world.server, "outgoing_mails"), 1);
    assert_eq!(invites(&world, &["revoke", "--sender", super::ALICE]).await, (true, "1 revoked\n".to_owned()));
    assert_eq!(super::refusals::rows(&world.server, "outgoing_mails"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_there_is_nothing_to_see_and_none_is_made() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.toml"), "[server]\ndata_dir = \"data\"\n").unwrap();
    let output = harness::process::run(harness::binary::identity(), folder.path(), &["invites", "list"], &[]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("does not exist; start the server"), "{said}");
    assert!(!folder.path().join("data").exists());
}
