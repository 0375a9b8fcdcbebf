//! A database that meets another key file or another version, and a plain copy of its file.
//!
//! Invariant: the server refuses what would damage data, with an action for the operator, and never answers with a 500.

use std::path::Path;
use std::time::Duration;

use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, SQLITE, Settings, World, databases};
use rusqlite::Connection;
use serde_json::json;

const EMAIL: &str = "bob@example.com";
const OTHER_SEED: &str = "tQOpPxbsuKiwNk/2d/9BtdQVWOmwYlqiFLiB+h1Er30";

async fn world(database: &str) -> World {
    World::with(Settings { tables: database, ..Settings::default() }).await
}

/// Runs `serve` in the folder of a killed server; it must end by itself.
async fn refusal(world: &World) -> String {
    let run = tokio::time::timeout(Duration::from_secs(60), world.server.run(&["serve"]));
    let output = run.await.expect("it starts, but should refuse");
    assert!(!output.status.success());
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_is_lost_or_of_another_server_is_refused_until_the_operator_gives_the_key_up() {
    for database in databases().await {
        let mut world = world(&database).await;
        let bob = world.register("@bob:hs.example").await;
        let old = world.request_token(&bob, EMAIL).await;
        world.server.kill();

        let file = world.server.folder().join("data/signing.key");
        let good = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let said = refusal(&world).await;
        assert!(said.contains("[keys] file: ") && said.contains("ed25519:0"), "{said}");
        assert!(!file.exists(), "no key is created");
        for (other, problem) in [("ed25519 0 ", "is not the one"), ("ed25519 1 ", "is missing")] {
            std::fs::write(&file, format!("{other}{OTHER_SEED}\n")).unwrap();
            let said = refusal(&world).await;
            assert!(said.contains("[keys] file: ") && said.contains(problem) && !said.contains(OTHER_SEED), "{said}");
        }
        std::fs::write(&file, good).unwrap();
        world.restart().await;
        world
            .submit(&bob, json!({ "sid": old.sid, "client_secret": old.client_secret, "token": "x" }))
            .await
            .expect(400);

        // The key is lost for good.
        world.server.kill();
        std::fs::remove_file(&file).unwrap();
        let config = std::fs::read_to_string(world.server.folder().join("config.toml")).unwrap();
        world.server.restart_with(&format!("{config}\n[keys]\nrevoked = [\"ed25519:0\"]\n")).await;
        world.api = harness::api::Api::new(&world.server.url());
        assert!(std::fs::read_to_string(&file).unwrap().starts_with("ed25519 1 "), "the id is a new one");
        world.submit(&bob, old.submission()).await.refused(400, "M_SESSION_EXPIRED");
        let again = json!({ "client_secret": old.client_secret, "email": EMAIL, "send_attempt": 2 });
        let new = world.ask(&bob, again).await.expect(200);
        assert_ne!(new["sid"], json!(old.sid), "a new session replaces the one that cannot be read");
        let session = world.validate(&bob, "other@example.com").await;
        world.validated(&bob, &session).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_version_is_refused() {
    let mut world = world(SQLITE).await;
    world.server.kill();
    let connection = Connection::open(world.server.folder().join("data/identity.db")).unwrap();
    let newer = "insert into __diesel_schema_migrations (version) values ('99990101000000')";
    connection.execute(newer, []).unwrap();
    drop(connection);
    let said = refusal(&world).await;
    assert!(said.contains("99990101000000") && said.contains("a newer version"), "{said}");
}

/// The number of accounts in a copy of the database file alone.
fn accounts(database: &Path, copy: &Path) -> Option<i64> {
    std::fs::copy(database, copy).expect("a copy");
    let connection = Connection::open(copy).expect("SQLite opens any file");
    connection.query_row("select count(*) from accounts", [], |row| row.get(0)).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_copy_of_a_quiet_servers_file_is_whole() {
    let mut world = world(SQLITE).await;
    let copies = tempfile::tempdir().unwrap();
    let database = world.server.folder().join("data/identity.db");
    let copy = |number: usize| accounts(&database, &copies.path().join(number.to_string()));
    for number in 1..=3 {
        world.register(&format!("@user{number}:hs.example")).await;
        let mut attempt = 0;
        wait_for("a whole copy", DEADLINE, async || {
            attempt += 1;
            (copy(number * 10_000 + attempt) == Some(i64::try_from(number).unwrap())).then_some(())
        })
        .await;
    }
    world.register("@last:hs.example").await;
    assert!(world.server.terminate(DEADLINE).await.success());
    assert_eq!(copy(1), Some(4), "a stopped server has written everything");
}
