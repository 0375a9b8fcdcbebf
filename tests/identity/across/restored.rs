//! A database that meets another key file, of one process or of a further one, or another version; and a plain copy of
//! its file.
//!
//! Invariant: the server refuses what would damage data, with an action for the operator, and never answers with a 500.

use std::path::Path;
use std::time::Duration;

use harness::binary;
use harness::process::{NotStarted, Server, new_folder};
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
        world.restart_with(&format!("{config}\n[keys]\nrevoked = [\"ed25519:0\"]\n")).await;
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

/// Starts a process with this key file, if any, on the database of the world.
async fn start_beside(world: &World, key_file: Option<&str>) -> Result<Server, NotStarted> {
    let folder = new_folder();
    std::fs::create_dir(folder.path().join("data")).expect("an empty folder");
    if let Some(lines) = key_file {
        std::fs::write(folder.path().join("data/signing.key"), lines).expect("an empty folder");
    }
    let config = std::fs::read_to_string(world.server.folder().join("config.toml"));
    let config = config.expect("the settings of a running server");
    Server::try_start_in(folder, binary::identity(), &config, &[]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_process_with_other_keys_is_refused_or_says_what_changed() {
    let Some(url) = harness::database::postgresql().await else { return };
    let world = world(&format!("[database]\nurl = \"{url}\"\n")).await;
    let first = std::fs::read_to_string(world.server.folder().join("data/signing.key")).unwrap();
    let other = |id: &str| format!("ed25519 {id} {OTHER_SEED}\n");
    let starts = async |keys: &str, signer: &str, notice: Option<&str>| {
        let server = start_beside(&world, Some(keys)).await.unwrap();
        server.wait_for_log(&format!(" with ed25519:{signer}"), DEADLINE).await;
        match notice {
            Some(notice) => server.wait_for_log(notice, DEADLINE).await,
            None => assert!(!server.logs().contains("other process"), "{}", server.logs()),
        }
    };
    let is_refused = async |keys: Option<&str>, problem: &str| {
        let output = start_beside(&world, keys).await.unwrap_err().output;
        assert!(output.contains("[keys] file: ") && output.contains(problem), "{keys:?}: {output}");
    };

    // Before there is any data, the keys of the last process count.
    let replaced = "these keys replace the key ed25519:0 of another file";
    starts(&other("0"), "0", Some(replaced)).await;
    starts(&first, "0", Some(replaced)).await;

    world.register("@bob:hs.example").await;
    starts(&first, "0", None).await;
    is_refused(None, "the key ed25519:0, which has signed until now, is missing").await;
    is_refused(Some(&other("0")), "the key ed25519:0 is not the one").await;
    is_refused(Some(&other("1")), "the key ed25519:0, which has signed until now, is missing").await;

    // A rotation: from now on each process needs the new key, and may sign with either.
    starts(&format!("{}{first}", other("1")), "1", None).await;
    is_refused(Some(&first), "the key ed25519:1, which has signed until now, is missing").await;
    let older = "the key ed25519:0, which is older, signs instead of ed25519:1";
    starts(&format!("{first}{}", other("1")), "0", Some(older)).await;
}
