//! Migrations of a database that an earlier version wrote.

use diesel::connection::SimpleConnection;
use diesel::{Connection as _, SqliteConnection};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use crate::config::database::Database;
use crate::store::testing::{email, execute};
use crate::store::{Store, StoreError, associations};

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The last migration of the schema before `association_changes` was dropped.
const BEFORE_DROP: &str = "20261128000000";

/// One address that is still bound and one that its user has unbound.
const ROWS: &str = "
    insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest)
        values ('email', 'bound@x.org', 'Bound@x.org', '@alice:hs', 1, 1, 9, 'd');
    insert into association_changes (medium, address, mxid, ts, not_before, not_after)
        values ('email', 'bound@x.org', '@alice:hs', 1, 1, 9);
    insert into association_changes (medium, address, mxid, ts, not_before, not_after)
        values ('email', 'unbound@x.org', '@bob:hs', 1, 1, 9);
    insert into association_changes (medium, address, ts) values ('email', 'unbound@x.org', 2);";

/// Applies migrations up to `BEFORE_DROP`; `next` applies one and returns its version.
fn migrate_until_drop(mut next: impl FnMut() -> String) {
    while next() != BEFORE_DROP {}
}

async fn open(url: String) -> Store {
    Store::open(&Database::at(&url), None).await.unwrap()
}

async fn assert_only_the_bound_address_is_left(store: &Store) {
    let find = async |typed: &str| {
        let threepid = email(typed);
        store.read(async move |conn| associations::find(conn, &threepid).await).await.unwrap()
    };
    assert_eq!(find("bound@x.org").await.unwrap().mxid.as_str(), "@alice:hs");
    assert!(find("unbound@x.org").await.is_none());
    let table = store.read(async |conn| conn.execute("select 1 from association_changes").await).await;
    assert!(table.unwrap_err().to_string().contains("association_changes"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_sqlite_file_contains_no_former_address() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let contains = |text: &str| {
        let bytes = std::fs::read(&path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    {
        let mut conn = SqliteConnection::establish(path.to_str().unwrap()).unwrap();
        migrate_until_drop(|| conn.run_next_migration(SQLITE).unwrap().to_string());
        conn.batch_execute(ROWS).unwrap();
    }
    assert!(contains("unbound@x.org"));

    let store = open(format!("sqlite://{}", path.display())).await;
    assert_only_the_bound_address_is_left(&store).await;
    store.read(async |conn| conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await).await.unwrap();
    assert!(!contains("unbound@x.org"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_postgresql_database_contains_no_former_address() {
    let Some(url) = harness::postgres::database().await else { return };
    let conn = AsyncPgConnection::establish(&url).await.unwrap();
    let mut migrations = AsyncMigrationHarness::new(conn);
    migrate_until_drop(|| migrations.run_next_migration(POSTGRES).unwrap().to_string());
    migrations.into_inner().batch_execute(ROWS).await.unwrap();

    assert_only_the_bound_address_is_left(&open(url).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_a_newer_version_has_migrated_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mut urls = vec![format!("sqlite://{}", folder.path().join("test.db").display())];
    urls.extend(harness::postgres::database().await);
    for url in urls {
        let store = open(url.clone()).await;
        execute(&store, "insert into __diesel_schema_migrations (version) values ('99990101000000')").await;
        let opened = Store::open(&Database::at(&url), None).await;
        let Err(StoreError::Newer(version)) = opened else { panic!("it was opened") };
        assert_eq!(version, "99990101000000");
    }
}
