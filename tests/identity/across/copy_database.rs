//! `identity copy-database`: copies between SQLite and PostgreSQL in every direction, interrupted ones, and refusals.
//!
//! The rows of every table are compared by the command itself, and in its own tests; here a server must run on the copy.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use harness::api::Api;
use harness::process::run;
use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, SQLITE, Settings, World, hash, v2};
use harness::{binary, database};
use rusqlite::Connection;
use serde_json::json;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::identity::onbind::{ONBIND, tokens_in};

const BOB: &str = "@bob:hs.example";
const FILLERS: i64 = 60_000;
/// Associations that make a copy last a while.
const FILL: &str = "insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest)
    with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 60000)
    select 'email', 'filler' || n || '@x.org', 'x', '@filler:hs', 1, 1, 2, randomblob(32) from numbers";
/// Rows that no request of the test leaves behind.
const MORE: &str = "
    insert into sms_days (day, calling_code, messages) values (1, '44', 7);
    insert into accepted_terms (mxid, url, accepted_at) values ('@bob:hs.example', 'https://x.org/terms', 1);
    insert into outgoing_mails (id, sealed_mail, attempts, next_attempt_at, expires_at, backoff)
        values ('m', x'00ff', 1, 9000000000000, 9000000000001, 1);
    insert into onbinds (id, medium, address, mxid, server, ts, not_before, not_after, created_at, attempts,
        next_attempt_at, dead_at, last_failure, server_group)
        values ('o', 'email', 'dead@x.org', '@bob:hs.example', 'hs.example', 1, 1, 2, 9000000000000, 3, 4, 9000000000000,
        '\u{e4}\u{1f600}''\\', 'hs.example');";

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn sqlite(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

fn table(url: &str) -> String {
    format!("[database]\nurl = \"{url}\"\n")
}

/// Runs the command in the folder of a server that has stopped.
async fn copy(folder: &Path, from: &str, to: &str) -> (Option<i32>, String) {
    said(&run(binary::identity(), folder, &["copy-database", "--from", from, "--to", to], &[]).await)
}

/// The first value of the first row; `None` without a row or a table.
async fn value(url: &str, query: &str) -> Option<String> {
    if let Some(path) = url.strip_prefix("sqlite://") {
        // SQLite would create the file.
        let connection = Path::new(path).exists().then(|| Connection::open(path).expect("an SQLite file"))?;
        return connection.query_row(query, [], |row| row.get::<_, i64>(0)).ok().map(|value| value.to_string());
    }
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("the database takes connections");
    let connection = tokio::spawn(connection);
    let rows = client.simple_query(query).await.unwrap_or_default();
    drop(client);
    connection.await.expect("the driver ends").expect("a good end");
    let row = rows.iter().find_map(|row| if let SimpleQueryMessage::Row(row) = row { Some(row) } else { None });
    row.and_then(|row| row.get(0)).map(str::to_owned)
}

/// Starts the command and kills it when it has copied a part of the associations.
async fn kill_in_the_middle(folder: &Path, from: &str, to: &str) {
    let copied = async || {
        let query = "select copied from unfinished_copy where table_name = 'associations'";
        value(to, query).await.map_or(0, |copied| copied.parse::<i64>().expect("a number"))
    };
    tokio::select! {
        ended = copy(folder, from, to) => panic!("it was to be killed: {ended:?}"),
        () = wait_for("a part of the copy", DEADLINE, async || (copied().await > 0).then_some(())) => {}
    }
    let copied = copied().await;
    assert!((1..FILLERS).contains(&copied), "{copied}");
}

struct Scene {
    world: World,
    /// Its database.
    url: String,
    /// The `[database]` table of its configuration.
    table: String,
    /// An access token.
    bob: String,
}

impl Scene {
    async fn new() -> Self {
        let tables = format!("{SQLITE}[lookup]\nindex = \"memory\"\n[limits]\nenabled = false\n");
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let url = sqlite(&world.server.folder().join("data/identity.db"));
        let bob = world.register(BOB).await;
        world.bind(&bob, BOB, "bob@example.com").await;
        Self { world, url, bob, table: SQLITE.to_owned() }
    }

    async fn stopped_and_filled() -> Self {
        let mut scene = Self::new().await;
        assert!(scene.world.server.terminate(DEADLINE).await.success());
        scene.sql(FILL);
        scene
    }

    fn sql(&self, statements: &str) {
        let done = Connection::open(self.world.server.folder().join("data/identity.db"))
            .and_then(|connection| connection.execute_batch(statements));
        done.expect("the statements are right");
    }

    /// Stops the server, and starts it on the copy.
    async fn move_to(&mut self, url: &str) {
        let config = std::fs::read_to_string(self.world.server.folder().join("config.toml")).expect("a file");
        assert!(config.contains(&self.table));
        self.world.server.restart_with(&config.replace(&self.table, &table(url))).await;
        self.world.api = Api::new(&self.world.server.url());
        (self.url, self.table) = (url.to_owned(), table(url));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_runs_on_a_copy_in_every_direction() {
    let mut scene = Scene::new().await;
    let body = json!({ "medium": "email", "address": "carol@example.com", "room_id": "!r:hs.example", "sender": BOB });
    let invite = scene.world.api.post(&v2("/store-invite"), body).bearer(&scene.bob).send().await.expect(200);
    let sessions = [scene.world.validate(&scene.bob, "one@example.com").await];
    let copies = tempfile::tempdir().unwrap();
    let mut bound = vec!["bob@example.com".to_owned()];
    let file = |name: &str| sqlite(&copies.path().join(name));
    let mut targets = vec![file("a"), file("b")];
    if let (Some(first), Some(second)) = (database::postgresql().await, database::postgresql().await) {
        targets = vec![first, second, file("a"), file("b")];
    }
    for (number, target) in targets.iter().enumerate() {
        assert!(scene.world.server.terminate(DEADLINE).await.success());
        if number == 0 {
            scene.sql(MORE);
        }
        let folder = scene.world.server.folder();
        std::fs::write(folder.join("from"), format!("{}\n", scene.url)).unwrap();
        let environment = [("IDENTITY_COPY_TO".to_owned(), target.clone())];
        let arguments = ["copy-database", "--from-file", "from"];
        let (code, text) = said(&run(binary::identity(), folder, &arguments, &environment).await);
        assert!(code == Some(0) && text.contains("the copy is complete: "), "{text}");
        assert!(!text.contains("://"), "{text}");
        for table in [
            // A server deletes the row of the first copy.
            if number == 0 { "outgoing_mails" } else { "accounts" },
            if number == 0 { "sms_days" } else { "accounts" },
            "accepted_terms",
            "accounts",
            "associations",
            "change_heads",
            "changes",
            "ephemeral_keys",
            "invites",
            "onbinds",
            "peppers",
            "recorded_keys",
            "sessions",
            "tokens",
        ] {
            let line = text.lines().find(|line| line.starts_with(&format!("{table}: checked "))).unwrap_or_default();
            assert!(!line.is_empty(), "{table} is empty or missing:\n{text}");
        }
        scene.move_to(target).await;
        for address in &bound {
            assert_eq!(scene.world.look_up(&scene.bob, address, "email").await.as_deref(), Some(BOB), "{address}");
        }
        let address = format!("new{number}@example.com");
        scene.world.bind(&scene.bob, BOB, &address).await;
        bound.push(address.clone());
        if target.starts_with("postgres") {
            // The processes on the copy follow each other's changes.
            let (_server, api) = scene.world.twin().await;
            let found = async |address: &str| {
                let pepper = scene.world.pepper(&scene.bob).await;
                let hash = hash(address, "email", &pepper);
                let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
                let answer = api.post(&v2("/lookup"), body).bearer(&scene.bob).send().await.expect(200);
                (answer["mappings"][&hash] == BOB).then_some(())
            };
            wait_for("the associations on the twin", DEADLINE, async || found(&address).await).await;
            scene.world.bind(&scene.bob, BOB, "twin@example.com").await;
            wait_for("the new one on the twin", DEADLINE, async || found("twin@example.com").await).await;
        }
    }
    for session in &sessions {
        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": BOB });
        scene.world.api.post(&v2("/3pid/bind"), body).bearer(&scene.bob).send().await.expect(200);
    }
    let carol = scene.world.register("@carol:hs.example").await;
    scene.world.bind(&carol, "@carol:hs.example", "carol@example.com").await;
    let homeserver = &scene.world.homeserver;
    let token = invite["token"].as_str().unwrap();
    wait_for("the invitation at the homeserver", DEADLINE, async || {
        let requests = homeserver.requests_to(ONBIND);
        requests.iter().any(|request| tokens_in(&request.json()).iter().any(|sent| sent == token)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_copy_starts_no_server_and_is_completed_by_the_next_run() {
    let mut scene = Scene::stopped_and_filled().await;
    let copies = tempfile::tempdir().unwrap();
    let targets: Vec<_> = database::postgresql().await.into_iter().chain([sqlite(&copies.path().join("a"))]).collect();
    // An existing file that others may read.
    let file = copies.path().join("a");
    std::fs::write(&file, "").unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let mut from = scene.url.clone();
    let folder = scene.world.server.folder().to_owned();
    for target in &targets {
        kill_in_the_middle(&folder, &from, target).await;
        let environment = [("IDENTITY__DATABASE__URL".to_owned(), target.clone())];
        let serve = run(binary::identity(), &folder, &["serve"], &environment);
        let (code, text) = said(&tokio::time::timeout(DEADLINE, serve).await.expect("it starts, but should refuse"));
        assert!(code == Some(1) && text.contains("unfinished copy"), "{text}");
        if target.starts_with("sqlite") {
            assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let (code, text) = said(&run(binary::identity(), &folder, &["backup", "backup.db"], &environment).await);
            assert!(code == Some(1) && text.contains("backup.db: the database is an unfinished copy"), "{text}");
            assert!(!folder.join("backup.db").exists());
        }
        let (code, text) = copy(&folder, target, &sqlite(&copies.path().join("c"))).await;
        assert!(code == Some(1) && text.contains("--from: the database is an unfinished copy"), "{text}");

        let (code, text) = copy(&folder, &from, target).await;
        assert!(code == Some(0) && text.contains("the copy is complete"), "{text}");
        let count = value(target, "select count(*) from associations").await;
        assert_eq!(count, Some((FILLERS + 1).to_string()));
        let (code, text) = copy(&folder, &from, target).await;
        assert!(code == Some(1) && text.contains("has rows; name an empty database"), "{text}");
        from = target.clone();
    }
    scene.move_to(&from).await;
    assert_eq!(scene.world.look_up(&scene.bob, "bob@example.com", "email").await.as_deref(), Some(BOB));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_is_found_at_once_or_at_the_end() {
    let scene = Scene::stopped_and_filled().await;
    let copies = tempfile::tempdir().unwrap();
    let folder = scene.world.server.folder().to_owned();
    // The first changes no number of rows, and a row that is copied already.
    for (name, change, problem) in [
        (
            "a",
            "update associations set mxid = '@other:hs' where address = 'bob@example.com'",
            "the table associations changed",
        ),
        ("b", "insert into accounts (mxid, created_at) values ('@late:hs', 1)", "unfinished copy of another database"),
    ] {
        let target = sqlite(&copies.path().join(name));
        kill_in_the_middle(&folder, &scene.url, &target).await;
        scene.sql(change);
        let (code, text) = copy(&folder, &scene.url, &target).await;
        assert!(code == Some(1) && text.contains(problem) && text.contains("stop all servers"), "{text}");
        let marks = value(&target, "select count(*) from unfinished_copy").await;
        assert!(marks.is_some(), "no server starts on it");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_databases_are_refused_with_an_action_and_without_a_password() {
    let mut scene = Scene::new().await;
    let other = World::with(Settings { tables: SQLITE, ..Settings::default() }).await;
    other.register("@other:hs.example").await;
    assert!(scene.world.server.terminate(DEADLINE).await.success());
    let copies = tempfile::tempdir().unwrap();
    let file = |name: &str| sqlite(&copies.path().join(name));
    let folder = scene.world.server.folder().to_owned();
    let used = sqlite(&other.server.folder().join("data/identity.db"));
    let (url, unreachable) = (&scene.url, "postgres://u:hunter2@127.0.0.1:1/x");
    let older = copies.path().join("older");
    std::fs::copy(url.strip_prefix("sqlite://").unwrap(), &older).unwrap();
    let last = "delete from __diesel_schema_migrations where version =
        (select max(version) from __diesel_schema_migrations)";
    Connection::open(&older).unwrap().execute_batch(last).unwrap();
    let newer = copies.path().join("newer");
    std::fs::copy(url.strip_prefix("sqlite://").unwrap(), &newer).unwrap();
    let add = "insert into __diesel_schema_migrations (version) values ('99990101000000')";
    Connection::open(&newer).unwrap().execute_batch(add).unwrap();
    let (older, newer) = (sqlite(&older), sqlite(&newer));

    for (from, to, problem) in [
        (url, &used, "--to: the table accounts has rows; name an empty database"),
        (url, url, "has rows"),
        (&older, &file("a"), "--from: the database lacks the migration"),
        (&older, &file("a"), "run `identity migrate`"),
        (&newer, &file("a"), "a newer version of identity has migrated it"),
        (url, &older, "--to: the database has an older schema"),
        (url, &newer, "--to: the database has migration 99990101000000"),
        (&file("missing"), &file("a"), "--from: "),
        (url, &"sqlite::memory:".to_owned(), "--to: a database in memory"),
        (url, &"mysql://u:hunter2@h/d".to_owned(), "--to: expected sqlite:///path"),
        (url, &"postgres://u:hunter2@h:port/d".to_owned(), "--to: "),
        (url, &unreachable.to_owned(), "--to: cannot connect to the database"),
        (&unreachable.to_owned(), &file("a"), "--from: cannot connect to the database"),
    ] {
        let (code, text) = copy(&folder, from, to).await;
        assert!(code == Some(1) && text.contains(problem) && !text.contains("hunter2"), "{text}");
    }
    assert!(!copies.path().join("missing").exists() && !copies.path().join("a").exists());
    std::fs::write(folder.join("url"), "postgres://u:hunter2@h:port/d").unwrap();
    for arguments in [
        &["copy-database", "--from-file", "url", "--to-file", "url"][..],
        &["copy-database", "--from", unreachable, "--from-file", "url", "--to-file", "url"],
        &["copy-database", "--from-file", "none", "--to-file", "url"],
        &["copy-database", "--from", unreachable],
    ] {
        let (code, text) = said(&run(binary::identity(), &folder, arguments, &[]).await);
        assert!(code != Some(0) && !text.contains("hunter2"), "{text}");
    }
    let count = "select count(*) from accounts";
    assert_eq!(value(&used, count).await.as_deref(), Some("1"), "the refused target is as it was");
}
