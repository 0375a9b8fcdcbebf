//! `identity backup`: a copy of the SQLite file of a running server, and a server that starts on it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::{join, join_all};
use harness::api::Api;
use harness::process::{new_folder, run};
use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, SQLITE, Settings, World};
use harness::{binary, options};
use rusqlite::Connection;

/// Rows beside those of the requests, so that a backup takes a moment.
const ROWS: &str = "insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest)
    with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 50000)
    select 'email', 'filler' || n || '@x.org', 'x', '@filler:hs', 1, 1, 2, randomblob(32) from numbers";

fn said(output: &Output) -> (Option<i32>, String) {
    let text = [output.stdout.clone(), output.stderr.clone()].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// The names of the files in `folder` that begin with `copy`.
fn copies(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder exists");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("copy")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_binds_has_all_that_was_answered_before_it_and_a_server_runs_on_it() {
    let tables = format!("{SQLITE}[limits]\nenabled = false\n");
    let mut world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    let folder = world.server.folder().to_owned();
    Connection::open(folder.join("data/identity.db")).unwrap().execute_batch(ROWS).unwrap();
    let bob = world.register("@bob:hs.example").await;

    let answered = Mutex::new(Vec::<(String, String)>::new());
    let is_over = AtomicBool::new(false);
    let writer = async |writer: usize| {
        let user = format!("@writer{writer}:hs.example");
        let token = world.register(&user).await;
        let mut number = 0;
        while !is_over.load(Ordering::Relaxed) {
            let address = format!("address{number}.of{writer}@example.com");
            world.bind(&token, &user, &address).await;
            answered.lock().unwrap().push((address, user.clone()));
            number += 1;
        }
    };
    let rounds = options::scale(2, 20);
    let backups = async {
        let mut before = Vec::new();
        for round in 0..rounds {
            let so_far = answered.lock().unwrap().len();
            wait_for("further binds", DEADLINE, async || (answered.lock().unwrap().len() > so_far + 8).then_some(()))
                .await;
            before = answered.lock().unwrap().clone();
            let name = format!("copy{round}.db");
            let (code, text) = said(&world.server.run(&["backup", &name]).await);
            assert_eq!(code, Some(0), "{text}");
            assert!(text.contains("signing.key") && text.contains("complete and checked"), "{text}");
            let rows = text.lines().find_map(|line| line.strip_prefix("associations ")).expect("the associations");
            assert!(rows.trim().parse::<usize>().unwrap() >= 50_000 + before.len(), "{text}");
        }
        is_over.store(true, Ordering::Relaxed);
        before
    };
    let (before, _) = join(backups, join_all((0..4).map(writer))).await;

    let name = format!("copy{}.db", rounds - 1);
    let copy = folder.join(&name);
    assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(copies(&folder).len(), rounds, "no other file is left: {:?}", copies(&folder));
    let content = std::fs::read(&copy).unwrap();
    let (code, text) = said(&world.server.run(&["backup", &name]).await);
    assert!(code == Some(1) && text.contains("exists; name a new file"), "{text}");
    assert!(std::fs::read(&copy).unwrap() == content, "the existing file is not touched");

    let config = std::fs::read_to_string(folder.join("config.toml")).unwrap();
    let restored = SQLITE.replace("data/identity.db", &name);
    world.server.restart_with(&config.replace(SQLITE, &restored)).await;
    world.api = Api::new(&world.server.url());
    for (address, user) in before {
        assert_eq!(world.look_up(&bob, &address, "email").await.as_ref(), Some(&user), "{address}");
    }
    world.bind(&bob, "@bob:hs.example", "new@example.com").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_stopped_leaves_no_file() {
    let world = World::with(Settings { tables: SQLITE, ..Settings::default() }).await;
    let folder = world.server.folder().to_owned();
    let rows = ROWS.replace("50000", "1000000");
    Connection::open(folder.join("data/identity.db")).unwrap().execute_batch(&rows).unwrap();
    for signal in ["TERM", "INT"] {
        let mut command = Command::new(binary::identity());
        command.args(["backup", "copy.db", "--config", "config.toml"]).current_dir(&folder);
        let mut backup = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the backup to begin", DEADLINE, async || {
            copies(&folder).iter().any(|name| name.ends_with(".partial")).then_some(())
        })
        .await;
        let id = backup.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        assert_eq!(backup.wait().unwrap().code(), Some(1));
        assert_eq!(copies(&folder), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_a_file_to_copy_is_refused_and_creates_none() {
    for (database, problem) in [
        (SQLITE, "data/identity.db does not exist"),
        ("[database]\nurl = \"sqlite::memory:\"\n", "in memory"),
        ("[database]\nurl = \"postgres://u:hunter2@127.0.0.1:1/x\"\n", "pg_dump"),
    ] {
        let folder = new_folder();
        let config = Settings { tables: database, ..Settings::default() }.toml("", "");
        std::fs::write(folder.path().join("config.toml"), config).unwrap();
        let (code, text) = said(&run(binary::identity(), folder.path(), &["backup", "copy.db"], &[]).await);
        assert!(code == Some(1) && text.contains(problem) && !text.contains("hunter2"), "{text}");
        assert_eq!(copies(folder.path()), Vec::<String>::new());
    }
}
