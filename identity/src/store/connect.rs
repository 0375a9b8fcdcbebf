//! Opens the pool: chooses the database, sets up its connections and applies the compiled-in migrations.
//!
//! Invariant: every SQLite connection waits for a lock instead of failing, and checks foreign keys; no error contains a
//! URL, which may contain a password.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use diesel::ConnectionError;
use diesel::backend::Backend;
use diesel::migration::MigrationSource;
use diesel::sqlite::SqliteConnection;
use diesel_async::pooled_connection::deadpool::{Pool as Deadpool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as BackendError, RecyclingMethod,
};
use diesel_async::{AsyncConnection, AsyncMigrationHarness, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;
use tokio::runtime::Handle;

use super::StoreError;
use super::connection::{Connection, PostgresConn, SqliteConn};
use super::postgres;
use crate::config::database::{Database, Location};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// How long a statement waits for a lock of another process, in milliseconds.
pub(super) const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 30000";
/// How long a request waits for a connection before it is answered with a failure.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(30);
/// What a call does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Read,
    Write,
}

#[derive(Clone)]
pub(super) enum Pool {
    /// Writers share one connection, so that they wait in order and occupy no thread. SQLite itself sleeps and tries again;
    /// that remains for the writers of other processes. Without `readers` the one connection serves reads too.
    Sqlite {
        writer: Deadpool<SqliteConn>,
        readers: Option<Deadpool<SqliteConn>>,
    },
    Postgres(Deadpool<PostgresConn>),
}

/// Validates the settings without a connection.
pub(super) fn check(settings: &Database) -> Result<(), StoreError> {
    match &settings.location {
        Location::SqliteMemory | Location::SqliteFile(_) => Ok(()),
        Location::Postgres(url) => postgres::target(url.expose()).map(drop),
    }
}

impl Pool {
    pub(super) async fn open(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let pool = match &settings.location {
            Location::SqliteMemory => Self::sqlite(":memory:", 1, settings)?,
            Location::SqliteFile(path) => {
                make_private(path)
                    .map_err(|error| StoreError::Connect(format!("cannot create {}: {error}", path.display())))?;
                let path = path.to_str().ok_or_else(|| StoreError::Url("the path is not UTF-8".to_owned()))?;
                Self::sqlite(path, settings.max_connections, settings)?
            }
            Location::Postgres(url) => {
                Self::Postgres(postgres::pool(url.expose(), settings.max_connections, extra_ca_file)?)
            }
        };
        pool.migrate().await?;
        Ok(pool)
    }

    fn sqlite(path: &str, size: usize, settings: &Database) -> Result<Self, StoreError> {
        let pool = |size| sqlite_pool(path, size, settings.synchronous.pragma());
        let readers = if size > 1 { Some(pool(size - 1)?) } else { None };
        Ok(Self::Sqlite { writer: pool(1)?, readers })
    }

    pub(super) async fn connect(&self, intent: Intent) -> Result<Connection, StoreError> {
        let connection = async {
            match (self, intent) {
                (Self::Sqlite { readers: Some(readers), .. }, Intent::Read) => {
                    readers.get().await.map(Connection::Sqlite)
                }
                (Self::Sqlite { writer, .. }, _) => writer.get().await.map(Connection::Sqlite),
                (Self::Postgres(pool), _) => pool.get().await.map(Connection::Postgres),
            }
        };
        match tokio::time::timeout(WAIT_FOR_CONNECTION, connection).await {
            Ok(connection) => connection.map_err(|error| connect_error(&error)),
            Err(_) => Err(all_busy()),
        }
    }

    pub(super) fn in_use(&self) -> usize {
        let statuses = match self {
            Self::Sqlite { writer, readers } => [Some(writer.status()), readers.as_ref().map(Deadpool::status)],
            Self::Postgres(pool) => [Some(pool.status()), None],
        };
        statuses.iter().flatten().map(|status| status.size.saturating_sub(status.available)).sum()
    }

    /// Processes that start together migrate one after the other; all but the first find nothing to do.
    async fn migrate(&self) -> Result<(), StoreError> {
        match self.connect(Intent::Write).await? {
            Connection::Sqlite(mut conn) => {
                let migration = conn.spawn_blocking(|conn| {
                    let whole = |conn: &mut SqliteConnection| migrate(conn, SQLITE_MIGRATIONS);
                    Ok(conn.immediate_transaction(whole))
                });
                migration.await?
            }
            Connection::Postgres(mut conn) => {
                conn.batch_execute("select pg_advisory_lock(7220250)").await?;
                let mut harness = AsyncMigrationHarness::new(conn);
                let migrated = migrate(&mut harness, POSTGRES_MIGRATIONS);
                // The lock is the connection's: one that cannot give it back must not go back to the pool.
                harness.into_inner().batch_execute("select pg_advisory_unlock(7220250)").await?;
                migrated
            }
        }
    }
}

/// Applies the migrations that the database lacks.
fn migrate<DB, H>(harness: &mut H, migrations: EmbeddedMigrations) -> Result<(), StoreError>
where
    DB: Backend,
    H: MigrationHarness<DB>,
    EmbeddedMigrations: MigrationSource<DB>,
{
    let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Migrate(error.to_string());
    let known = MigrationSource::<DB>::migrations(&migrations).map_err(failed)?;
    let known: Vec<String> = known.iter().map(|migration| migration.name().version().to_string()).collect();
    let applied = harness.applied_migrations().map_err(failed)?;
    if let Some(newer) = applied.iter().map(ToString::to_string).find(|version| !known.contains(version)) {
        return Err(StoreError::Newer(newer));
    }
    harness.run_pending_migrations(migrations).map(drop).map_err(failed)
}

fn all_busy() -> StoreError {
    StoreError::Connect(format!(
        "it does not answer, or all connections ([database] max_connections) were busy for {} seconds",
        WAIT_FOR_CONNECTION.as_secs()
    ))
}

fn connect_error(error: &PoolError) -> StoreError {
    StoreError::Connect(match error {
        PoolError::Backend(BackendError::ConnectionError(ConnectionError::BadConnection(text))) => text.clone(),
        PoolError::Backend(BackendError::ConnectionError(ConnectionError::CouldntSetupConfiguration(error))) => {
            error.to_string()
        }
        PoolError::Backend(BackendError::QueryError(error)) => error.to_string(),
        // What is left has no text of its own, or quotes the URL.
        _ => "the connection could not be set up".to_owned(),
    })
}

/// Creates a missing file and folder that only their owner can read: the file contains addresses in clear. SQLite gives
/// the files beside it the same permissions.
fn make_private(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    // An existing file is not opened: closing it would release the locks of this process's connections.
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn sqlite_pool(path: &str, size: usize, synchronous: &'static str) -> Result<Deadpool<SqliteConn>, StoreError> {
    let mut config = ManagerConfig::<SqliteConn>::default();
    // A file does not disconnect as a server does: a check before each use would cost more than the use.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |path| {
        let path = path.to_owned();
        // Opening waits for a lock of another process, so it does not run on the thread of a request.
        let opening = tokio::task::spawn_blocking(move || Handle::current().block_on(open_sqlite(&path, synchronous)));
        async move { opening.await.map_err(|error| ConnectionError::BadConnection(error.to_string()))? }.boxed()
    });
    let manager = AsyncDieselConnectionManager::<SqliteConn>::new_with_config(path, config);
    Deadpool::builder(manager).max_size(size).build().map_err(|error| StoreError::Connect(error.to_string()))
}

async fn open_sqlite(path: &str, synchronous: &'static str) -> Result<SqliteConn, ConnectionError> {
    let named = |text: String| ConnectionError::BadConnection(format!("SQLite, {path}: {text}"));
    let mut conn = match SqliteConn::establish(path).await {
        Ok(conn) => conn,
        Err(ConnectionError::BadConnection(text)) => return Err(named(text)),
        Err(error) => return Err(error),
    };
    // The timeout comes first: switching to WAL takes a lock.
    conn.batch_execute(&format!(
        "{BUSY_TIMEOUT}; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;"
    ))
    .await
    .map_err(|error| named(error.to_string()))?;
    Ok(conn)
}
