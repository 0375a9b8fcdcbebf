//! PostgreSQL behind a pooler: named statements, the lease of migrations, time limits.

use std::time::Duration;

use diesel::dsl::sql;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;
use tokio_postgres::{Client, NoTls};

use crate::config::database::{Database, PreparedStatements};
use crate::store::connection::Connection;
use crate::store::postgres::Connector;
use crate::store::testing::{START, user};
use crate::store::{Store, StoreError, accounts, migrations};

async fn raw(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The named statements of a connection that has run one query twice.
async fn named_statements(store: &Store) -> i64 {
    let counted = store.read(async |conn| {
        for _ in 0..2 {
            accounts::exists(conn, &user("@alice:hs")).await?;
        }
        let Connection::Postgres(conn) = conn else { panic!("not PostgreSQL") };
        Ok::<_, StoreError>(sql::<BigInt>("select count(*) from pg_prepared_statements").get_result(conn).await?)
    });
    counted.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_named_only_on_a_connection_to_the_server_itself() {
    let Some(direct) = harness::postgres::database().await else { return };
    let Some(pooled) = harness::pgbouncer::database().await else { return };
    for (url, prepared_statements, are_named) in [
        (&direct, PreparedStatements::Auto, true),
        (&direct, PreparedStatements::Named, true),
        (&direct, PreparedStatements::Unnamed, false),
        (&pooled, PreparedStatements::Auto, false),
        (&pooled, PreparedStatements::Unnamed, false),
    ] {
        let store = Store::open(&Database { prepared_statements, ..Database::at(url) }, None).await.unwrap();
        assert_eq!(named_statements(&store).await > 0, are_named, "{prepared_statements:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_behind_a_pooler_start_together_and_again() {
    let Some(url) = harness::pgbouncer::database().await else { return };
    for _ in 0..3 {
        let starts = (0..4).map(|_| {
            let settings = Database::at(&url);
            tokio::spawn(async move { Store::open(&settings, None).await })
        });
        let mut stores = Vec::new();
        for start in starts.collect::<Vec<_>>() {
            stores.push(start.await.unwrap().unwrap());
        }
        let writes = stores.iter().enumerate().map(|(number, store)| {
            let (store, mxid) = (store.clone(), user(&format!("@user{number}:hs")));
            tokio::spawn(async move {
                for _ in 0..20 {
                    let mxid = mxid.clone();
                    store.write(async move |conn| accounts::insert(conn, &mxid, START).await.map(drop)).await.unwrap();
                }
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_the_lease_of_another_process_and_takes_an_expired_one() {
    for url in [harness::postgres::database().await, harness::pgbouncer::database().await].into_iter().flatten() {
        let connector = Connector::new(&url, &Database::at(&url), None).unwrap().for_migrations();
        let migrate = async |limit| {
            let conn = connector.connect().await.unwrap();
            migrations::migrate_postgres(conn, limit).await
        };
        let mut other = raw(&url).await;
        other
            .batch_execute(
                "create table migration_lease (id integer not null primary key, holder text not null,
                    expires_at timestamptz not null);
                 insert into migration_lease values (1, 'other', now() + interval '1 hour')",
            )
            .await
            .unwrap();
        let error = migrate(Duration::from_millis(600)).await.unwrap_err().to_string();
        assert!(error.contains("migration_lease"), "{error}");

        // Its holder has exceeded its time, but still runs a migration.
        other.batch_execute("update migration_lease set expires_at = now() - interval '1 second'").await.unwrap();
        let migration = other.transaction().await.unwrap();
        migration.batch_execute("update migration_lease set holder = holder").await.unwrap();
        assert!(migrate(Duration::from_millis(600)).await.is_err());
        migration.rollback().await.unwrap();

        let applied = migrate(Duration::from_secs(10)).await.unwrap();
        assert!(applied.len() > 5 && applied[0] == "2026-11-22-000000_first", "{applied:?}");
        assert!(migrate(Duration::from_secs(10)).await.unwrap().is_empty());
        let left = other.simple_query("select 1 from migration_lease").await.unwrap();
        assert!(!left.iter().any(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_does_not_migrate_waits_for_one_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Database::at(&format!("sqlite://{}", folder.path().join("test.db").display()));
    let mut all = vec![sqlite];
    all.extend(harness::postgres::database().await.map(|url| Database::at(&url)));
    for settings in all {
        let waiting = Database { migrate: false, ..settings.clone() };
        let error = Store::open(&waiting, None).await.map(drop).unwrap_err().to_string();
        assert!(error.contains("[database] migrate") && error.contains("2026-11-22-000000_first"), "{error}");

        let opened = if matches!(settings.location, crate::config::database::Location::Postgres(_)) {
            let patient = Database { start_timeout: Duration::from_secs(30), ..waiting };
            let opened = tokio::spawn(async move { Store::open(&patient, None).await });
            assert!(!Store::migrate(&settings, None).await.unwrap().is_empty());
            opened.await.unwrap()
        } else {
            assert!(!Store::migrate(&settings, None).await.unwrap().is_empty());
            Store::open(&waiting, None).await
        };
        assert!(opened.is_ok());
        assert!(Store::migrate(&settings, None).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_use_their_own_url() {
    let (Some(url), Some(other)) = (harness::postgres::database().await, harness::postgres::database().await) else {
        return;
    };
    let settings = Database { migrate_url: Some(shared::secret::Secret::new(other.clone())), ..Database::at(&url) };
    assert!(!Store::migrate(&settings, None).await.unwrap().is_empty());
    assert!(raw(&other).await.batch_execute("select 1 from associations").await.is_ok());
    assert!(raw(&url).await.batch_execute("select 1 from associations").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_exceeds_its_time_is_an_outage_and_is_stopped() {
    let servers = [(harness::postgres::database().await, true), (harness::pgbouncer::database().await, false)];
    for (url, is_direct) in servers {
        let Some(url) = url else { continue };
        let statement_timeout = Duration::from_millis(700);
        let settings = Database { statement_timeout, max_connections: 1, ..Database::at(&url) };
        let store = Store::open(&settings, None).await.unwrap();
        let error = store.read(async |conn| conn.execute("select pg_sleep(600)").await).await.unwrap_err();
        assert!(error.is_outage() && error.to_string().contains("statement_timeout"), "{error}");
        // A pooler is not asked to stop it.
        if !is_direct {
            continue;
        }
        // The only connection of the pool is replaced.
        let store = &store;
        harness::wait::wait_for("the end of the statement", Duration::from_secs(20), async || {
            let counted = store.read(async |conn| {
                let Connection::Postgres(conn) = conn else { panic!("not PostgreSQL") };
                let running = sql::<BigInt>(
                    "(select count(*) from pg_stat_activity where query = 'select pg_sleep(600)' and state = 'active' \
                     and datname = current_database())",
                );
                Ok::<_, StoreError>(diesel::select(running).get_result::<i64>(conn).await?)
            });
            (counted.await.unwrap() == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_leaves_no_state_in_its_session() {
    let Some(url) = harness::postgres::database().await else { return };
    let settings = Database { prepared_statements: PreparedStatements::Unnamed, ..Database::at(&url) };
    let store = Store::open(&settings, None).await.unwrap();
    store.write(async |conn| accounts::insert(conn, &user("@alice:hs"), START).await.map(drop)).await.unwrap();
    let state = store.read(async |conn| {
        let Connection::Postgres(conn) = conn else { panic!("not PostgreSQL") };
        let session = sql::<Text>(
            "select coalesce(string_agg(what, ', '), '') from (
                select name as what from pg_settings where source = 'session'
                union all select name from pg_prepared_statements
                union all select locktype from pg_locks where locktype = 'advisory'
                union all select nspname from pg_class join pg_namespace on pg_namespace.oid = relnamespace
                    where relpersistence = 't') state",
        );
        Ok::<_, StoreError>(session.get_result::<String>(conn).await?)
    });
    assert_eq!(state.await.unwrap(), "");
}
