//! Opening a database: created files, error texts, and recovery from lost connections.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::{Integer, Text};
use diesel_async::RunQueryDsl;
use harness::certificates::Authority;
use harness::wait::wait_for;
use shared::random::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use crate::config::database::{Database, Synchronous};
use crate::store::connection::Connection;
use crate::store::testing::{START, stores, user};
use crate::store::{Store, StoreError, accounts, rate_limits};

const DEADLINE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "hunter2";

fn file(path: &Path) -> Database {
    Database::at(&format!("sqlite://{}", path.display()))
}

async fn refusal(settings: &Database) -> String {
    Store::open(settings, None).await.map(drop).unwrap_err().to_string()
}

async fn insert_account(store: &Store, mxid: &str) -> Result<(), StoreError> {
    let mxid = user(mxid);
    store.write(async move |conn| accounts::insert(conn, &mxid, START).await.map(drop)).await
}

async fn account_exists(store: &Store, mxid: &str) -> bool {
    let mxid = user(mxid);
    store.read(async move |conn| accounts::exists(conn, &mxid).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sqlite_file_and_its_folder_are_accessible_to_their_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/data/identity.db");
    let store = Store::open(&file(&path), None).await.unwrap();
    insert_account(&store, "@alice:hs").await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_extension("db-wal")), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_survives_a_restart_and_a_repeated_migration() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec![format!("sqlite://{}", folder.path().join("test.db").display())];
    urls.extend(harness::postgres::database().await);
    for url in urls {
        let settings = Database::at(&url);
        let first = Store::open(&settings, None).await.unwrap();
        insert_account(&first, "@alice:hs").await.unwrap();
        drop(first);
        let second = Store::open(&settings, None).await.unwrap();
        assert!(account_exists(&second, "@alice:hs").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_migrate_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec![format!("sqlite://{}", folder.path().join("test.db").display())];
    urls.extend(harness::postgres::database().await);
    for url in urls {
        let starts = (0..8).map(|_| {
            let settings = Database::at(&url);
            tokio::spawn(async move { Store::open(&settings, None).await })
        });
        for start in starts.collect::<Vec<_>>() {
            let store = start.await.unwrap().unwrap();
            insert_account(&store, "@alice:hs").await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_set_up_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    for (number, synchronous, level) in [(0, Synchronous::Normal, 1), (1, Synchronous::Full, 2)] {
        let settings = Database { synchronous, ..file(&folder.path().join(format!("{number}.db"))) };
        let store = Store::open(&settings, None).await.unwrap();
        let found = store.read(async |conn| {
            let Connection::Sqlite(conn) = conn else { panic!("not SQLite") };
            let journal: String = sql::<Text>("select journal_mode from pragma_journal_mode").get_result(conn).await?;
            let mut numbers = Vec::new();
            for pragma in [
                "select synchronous from pragma_synchronous",
                "select foreign_keys from pragma_foreign_keys",
                "select timeout from pragma_busy_timeout",
            ] {
                numbers.push(sql::<Integer>(pragma).get_result::<i32>(conn).await?);
            }
            Ok::<_, StoreError>((journal, numbers))
        });
        assert_eq!(found.await.unwrap(), ("wal".to_owned(), vec![level, 1, 30_000]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_error_names_an_sqlite_file_that_cannot_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(
        &garbage,
        "this is no database, and it is long enough for a header to be looked for in it".repeat(20),
    )
    .unwrap();
    let error = refusal(&file(&garbage)).await;
    assert!(error.contains("garbage.db") && error.contains("not a database"), "{error}");

    let error = refusal(&file(folder.path())).await;
    assert!(error.contains(&folder.path().display().to_string()), "{error}");

    let error = refusal(&file(&garbage.join("below.db"))).await;
    assert!(error.contains("below.db"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_contains_the_password() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = listener.local_addr().unwrap();
    drop(listener);
    for (url, expected) in [
        (format!("postgres://u:{PASSWORD}@{closed}/x"), "refused"),
        (format!("postgres://u:{PASSWORD}@{closed}/{PASSWORD}"), "refused"),
    ] {
        let error = refusal(&Database::at(&url)).await;
        assert!(error.contains(expected), "{url}: {error}");
        assert!(!error.contains(PASSWORD), "{url}: {error}");
    }
    let Some(url) = harness::postgres::database().await else { return };
    let (scheme, rest) = url.split_once("://").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    let error = refusal(&Database::at(&format!("{scheme}://harness:{PASSWORD}@{place}"))).await;
    assert!(error.contains("password authentication failed") && !error.contains(PASSWORD), "{error}");
    let error = refusal(&Database::at(&format!("{url}_not_there"))).await;
    assert!(error.contains("does not exist"), "{error}");
}

/// A fake PostgreSQL that accepts TLS and reads the first bytes over it; the task returns whether they arrived.
async fn tls_only(authority: &Authority) -> (String, tokio::task::JoinHandle<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u:{PASSWORD}@{}/x", listener.local_addr().unwrap());
    let acceptor = TlsAcceptor::from(authority.issue(&["127.0.0.1"]).server_config(&[]));
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        stream.read_exact(&mut request).await.unwrap();
        stream.write_all(b"S").await.unwrap();
        let Ok(mut stream) = acceptor.accept(stream).await else { return false };
        stream.read_exact(&mut request).await.is_ok()
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_postgresql_trusts_extra_ca_file_and_rejects_an_unknown_authority() {
    let authority = Authority::new("the database's own");
    let (url, seen) = tls_only(&authority).await;
    let error = refusal(&Database::at(&url)).await;
    assert!(error.contains("extra_ca_file") && error.contains("sslmode=disable"), "{error}");
    assert!(!error.contains(PASSWORD), "{error}");
    assert!(!seen.await.unwrap());

    let folder = tempfile::tempdir().unwrap();
    let authority_file = authority.write_pem(folder.path());
    let (url, seen) = tls_only(&authority).await;
    // The fake closes the connection after the handshake.
    assert!(Store::open(&Database::at(&url), Some(&authority_file)).await.is_err());
    assert!(seen.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_postgresql_closes_are_replaced() {
    let Some(url) = harness::postgres::database().await else { return };
    let store = Store::open(&Database::at(&url), None).await.unwrap();
    let other = store.clone();
    // During a transaction …
    let interrupted = store.write(async |conn| {
        accounts::insert(conn, &user("@alice:hs"), START).await?;
        conn.execute("select pg_terminate_backend(pg_backend_pid())").await
    });
    assert!(interrupted.await.is_err());
    assert!(!account_exists(&store, "@alice:hs").await);

    // … and while idle in the pool.
    let killed = other.read(async |conn| {
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity \
             where datname = current_database() and application_name = 'matrix-identity'",
        )
        .await
    });
    assert!(killed.await.is_err());
    wait_for("a connection that works", DEADLINE, async || insert_account(&store, "@bob:hs").await.ok()).await;
    assert!(account_exists(&store, "@bob:hs").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_fails_one_transaction_and_the_store_stays_usable() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Database { max_connections: 1, ..file(&folder.path().join("small.db")) };
    let store = Store::open(&settings, None).await.unwrap();
    insert_account(&store, "@alice:hs").await.unwrap();
    store.read(async |conn| conn.execute("PRAGMA max_page_count = 1").await).await.unwrap();
    let fill = async || {
        let subjects: Vec<[u8; 32]> = (0..2000).map(|_| Random.bytes::<32>()).collect();
        let filled = store.write(async move |conn| {
            for subject in &subjects {
                rate_limits::save(conn, subject, START).await?;
            }
            Ok::<_, StoreError>(())
        });
        filled.await
    };
    let error = fill().await.unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    assert!(account_exists(&store, "@alice:hs").await);
    let left = store.write(async |conn| rate_limits::delete_full(conn, START).await).await.unwrap();
    assert_eq!(left, 0);

    store.read(async |conn| conn.execute("PRAGMA max_page_count = 1000000").await).await.unwrap();
    fill().await.unwrap();
    for batch in [1000, 1000, 0] {
        assert_eq!(store.write(async |conn| rate_limits::delete_full(conn, START).await).await.unwrap(), batch);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_connections_is_bounded_and_reported() {
    for store in stores().await {
        let (release, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        // On SQLite one connection of the four is the writers'.
        let readers = (0..3).map(|_| {
            let (store, release, held) = (store.clone(), release.clone(), held.clone());
            tokio::spawn(async move {
                let held = store.read(async move |_| {
                    held.add_permits(1);
                    Ok::<_, StoreError>(release.acquire().await.is_ok())
                });
                held.await.unwrap()
            })
        });
        let mut holders: Vec<_> = readers.collect();
        holders.push({
            let (store, release, held) = (store.clone(), release.clone(), held.clone());
            tokio::spawn(async move {
                let held = store.write(async move |_| {
                    held.add_permits(1);
                    Ok::<_, StoreError>(release.acquire().await.is_ok())
                });
                held.await.unwrap()
            })
        });
        held.acquire_many(4).await.unwrap().forget();
        assert_eq!(store.connections_in_use(), 4);
        let mut fifth = {
            let store = store.clone();
            tokio::spawn(async move { account_exists(&store, "@alice:hs").await })
        };
        let ended = tokio::time::timeout(Duration::from_millis(200), &mut fifth).await;
        assert!(ended.is_err(), "a fifth connection opened");
        release.add_permits(4);
        for holder in holders {
            assert!(holder.await.unwrap());
        }
        assert!(!fifth.await.unwrap());
        // A connection returns to the pool a moment after its result is there.
        let returned = async {
            while store.connections_in_use() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), returned).await.expect("every connection returns");
    }
}
