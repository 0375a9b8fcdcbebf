//! The compiled-in migrations, applied by one process at a time.
//!
//! On PostgreSQL the process holds a lease: a row, because locks of a session are lost behind a pooler and not every engine
//! with PostgreSQL's protocol has advisory locks. Each migration renews the lease in its own transaction, and so locks its
//! row: a lease that expires during a long migration is taken only after that migration.
//!
//! Invariant: a migration that another process has applied is never applied again, and a database that a newer version has
//! migrated is refused.

use std::error::Error as StdError;
use std::time::Duration;

use diesel::RunQueryDsl as _;
use diesel::backend::Backend;
use diesel::connection::Connection as _;
use diesel::migration::{Migration, MigrationSource, MigrationVersion};
use diesel::pg::Pg;
use diesel::sql_types::Text;
use diesel::sqlite::{Sqlite, SqliteConnection};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use shared::random::Random;
use tokio::time::Instant;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};

use super::StoreError;
use super::connection::SqliteConn;
use super::postgres::PostgresConnection;

const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// The longest wait for another process that migrates.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Between two looks at what another process does.
const POLL: Duration = Duration::from_millis(250);
/// Between two log lines of a wait.
const LOG_EVERY: Duration = Duration::from_secs(10);

const CREATE_LEASE: &str = "create table if not exists migration_lease \
    (id integer not null primary key, holder text not null, expires_at timestamptz not null)";
/// Whether another process holds the lease. Reads without waiting for a migration.
const IS_HELD: &str = "select 1 from migration_lease where id = 1 and expires_at > now()";
const TAKE: &str = "insert into migration_lease (id, holder, expires_at) values (1, $1, now() + interval '30 seconds') \
    on conflict (id) do update set holder = excluded.holder, expires_at = excluded.expires_at \
    where migration_lease.expires_at <= now()";
const RENEW: &str =
    "update migration_lease set expires_at = now() + interval '30 seconds' where id = 1 and holder = $1";
const RELEASE: &str = "delete from migration_lease where id = 1 and holder = $1";

type AnyError = Box<dyn StdError + Send + Sync>;

/// Applies the migrations that the SQLite database lacks; returns their names.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Migrate`].
pub(super) async fn migrate_sqlite(conn: &mut SqliteConn) -> Result<Vec<String>, StoreError> {
    let whole = |conn: &mut SqliteConnection| {
        let applied = MigrationHarness::<Sqlite>::applied_migrations(conn).map_err(failed)?;
        let pending = pending::<Sqlite>(&SQLITE, &versions(&applied))?;
        pending.iter().try_for_each(|migration| conn.run_migration(migration).map(drop)).map_err(failed)?;
        Ok(names(&pending))
    };
    conn.spawn_blocking(move |conn| Ok(conn.immediate_transaction(whole))).await?
}

/// Checks that the SQLite database lacks no migration.
///
/// # Errors
/// [`StoreError::Pending`], [`StoreError::Newer`].
pub(super) async fn check_sqlite(conn: &mut SqliteConn) -> Result<(), StoreError> {
    let applied = conn.spawn_blocking(|conn| Ok(MigrationHarness::<Sqlite>::applied_migrations(conn))).await?;
    let applied = versions(&applied.map_err(failed)?);
    first_pending::<Sqlite>(&SQLITE, &applied)?.map_or(Ok(()), |first| Err(StoreError::Pending(first)))
}

/// Applies the migrations that the PostgreSQL database lacks; returns their names. Waits at most `limit` for another process
/// that migrates.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Migrate`].
pub(super) async fn migrate_postgres(conn: PostgresConnection, limit: Duration) -> Result<Vec<String>, StoreError> {
    let deadline = Instant::now() + limit;
    let holder = Random.base62(16);
    let mut logged = Instant::now();
    let mut has_table = false;
    loop {
        // Usually nothing is pending: a start then only reads.
        if first_pending::<Pg>(&POSTGRES, &applied(conn.client()).await?)?.is_none() {
            return Ok(Vec::new());
        }
        if !has_table {
            // Processes that create it at the same time collide, and one of them succeeds.
            let created = conn.client().batch_execute(CREATE_LEASE).await;
            has_table = unless_collided(created)?.is_some();
        } else if take_lease(conn.client(), &holder).await? {
            break;
        } else if Instant::now() >= deadline {
            return Err(StoreError::Migrate(format!(
                "another process has held the lease in the table migration_lease for {} seconds; see its log",
                limit.as_secs()
            )));
        }
        if logged.elapsed() >= LOG_EVERY {
            logged = Instant::now();
            tracing::info!("waiting for another process that migrates the database");
        }
        tokio::time::sleep(POLL).await;
    }
    let run_as = holder.clone();
    let run = tokio::task::spawn_blocking(move || {
        let mut conn = AsyncConnectionWrapper::<PostgresConnection>::from(conn);
        let result = run_pending(&mut conn, &run_as).map_err(failed);
        (conn.into_inner(), result)
    });
    let (conn, result) = run.await.map_err(|_| StoreError::Interrupted)?;
    // A lease that is not released expires.
    if let Err(error) = conn.client().execute_typed(RELEASE, &[(&holder, Type::TEXT)]).await {
        tracing::warn!(%error, "release of the lease in the table migration_lease failed; it expires by itself");
    }
    result
}

/// The name of the first migration, which only a new database lacks.
///
/// # Errors
/// [`StoreError::Migrate`].
pub(super) fn oldest() -> Result<String, StoreError> {
    Ok(first_pending::<Sqlite>(&SQLITE, &[])?.unwrap_or_default())
}

/// Waits at most `limit` until the PostgreSQL database lacks no migration.
///
/// # Errors
/// [`StoreError::Pending`], [`StoreError::Newer`], [`StoreError::Migrate`].
pub(super) async fn await_postgres(client: &Client, limit: Duration) -> Result<(), StoreError> {
    let deadline = Instant::now() + limit;
    let mut logged = None;
    loop {
        let Some(first) = first_pending::<Pg>(&POSTGRES, &applied(client).await?)? else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(StoreError::Pending(first));
        }
        if logged.is_none_or(|logged: Instant| logged.elapsed() >= LOG_EVERY) {
            logged = Some(Instant::now());
            tracing::info!(migration = first, "waiting for the migration of the database: [database] migrate is false");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The versions that the database has.
async fn applied(client: &Client) -> Result<Vec<String>, StoreError> {
    match client.query_typed("select version from __diesel_schema_migrations", &[]).await {
        Ok(rows) => rows.iter().map(|row| row.try_get(0).map_err(unreadable)).collect(),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        Err(error) => Err(unreadable(error)),
    }
}

async fn take_lease(client: &Client, holder: &str) -> Result<bool, StoreError> {
    if !client.query_typed(IS_HELD, &[]).await.map_err(unreadable)?.is_empty() {
        return Ok(false);
    }
    // The row is locked while its holder runs a migration. A statement that waited for it without a limit could take the
    // lease for a process that has gone.
    client.batch_execute("begin; set local lock_timeout = '250ms'").await.map_err(unreadable)?;
    let holder = holder.to_owned();
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&holder, Type::TEXT)];
    let taken = client.execute_typed(TAKE, &parameters).await;
    let ended = client.batch_execute(if taken.is_ok() { "commit" } else { "rollback" }).await;
    let taken = unless_collided(taken)?.is_some_and(|rows| rows > 0);
    Ok(unless_collided(ended)?.is_some() && taken)
}

fn run_pending(conn: &mut AsyncConnectionWrapper<PostgresConnection>, holder: &str) -> Result<Vec<String>, AnyError> {
    let applied = MigrationHarness::<Pg>::applied_migrations(conn)?;
    let pending = pending::<Pg>(&POSTGRES, &versions(&applied))?;
    for migration in &pending {
        conn.transaction::<_, AnyError, _>(|conn| {
            if diesel::sql_query(RENEW).bind::<Text, _>(holder).execute(conn)? == 0 {
                return Err("another process has taken the lease in the table migration_lease".into());
            }
            conn.run_migration(migration)?;
            Ok(())
        })?;
        tracing::info!(migration = %migration.name(), "migration applied");
    }
    Ok(names(&pending))
}

/// The migrations that are not among `applied`, oldest first.
fn pending<DB: Backend>(
    migrations: &EmbeddedMigrations,
    applied: &[String],
) -> Result<Vec<Box<dyn Migration<DB>>>, StoreError> {
    let version = |migration: &dyn Migration<DB>| migration.name().version().to_string();
    let mut known = MigrationSource::<DB>::migrations(migrations).map_err(failed)?;
    known.sort_by_key(|migration| version(migration.as_ref()));
    let is_known = |applied: &String| known.iter().any(|migration| version(migration.as_ref()) == *applied);
    if let Some(newer) = applied.iter().find(|applied| !is_known(applied)) {
        return Err(StoreError::Newer(newer.clone()));
    }
    known.retain(|migration| !applied.contains(&version(migration.as_ref())));
    Ok(known)
}

fn first_pending<DB: Backend>(
    migrations: &EmbeddedMigrations,
    applied: &[String],
) -> Result<Option<String>, StoreError> {
    Ok(pending::<DB>(migrations, applied)?.first().map(|migration| migration.name().to_string()))
}

fn versions(migrations: &[MigrationVersion<'_>]) -> Vec<String> {
    migrations.iter().map(ToString::to_string).collect()
}

fn names<DB: Backend>(migrations: &[Box<dyn Migration<DB>>]) -> Vec<String> {
    migrations.iter().map(|migration| migration.name().to_string()).collect()
}

/// `None` after a collision with another process.
fn unless_collided<T>(result: Result<T, tokio_postgres::Error>) -> Result<Option<T>, StoreError> {
    let collisions = [
        SqlState::UNIQUE_VIOLATION,
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code().is_some_and(|code| collisions.contains(code)) => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn unreadable(error: tokio_postgres::Error) -> StoreError {
    StoreError::Migrate(error.as_db_error().map_or_else(|| error.to_string(), |details| details.message().to_owned()))
}

fn failed(error: AnyError) -> StoreError {
    match error.downcast::<StoreError>() {
        Ok(error) => *error,
        Err(error) => StoreError::Migrate(error.to_string()),
    }
}
