//! Opens the pool: chooses the database, sets up its connections and applies the compiled-in migrations.
//!
//! Invariant: every SQLite connection waits for a lock instead of failing, and checks foreign keys; no error contains a
//! URL, which may contain a password.

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use diesel::ConnectionError;
use diesel_async::pooled_connection::deadpool::{Pool as Deadpool, PoolError};
use diesel_async::pooled_connection::{
    AsyncDieselConnectionManager, ManagerConfig, PoolError as BackendError, RecyclingMethod,
};
use diesel_async::{AsyncConnection, SimpleAsyncConnection};
use futures_util::FutureExt;
use shared::random::Random;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::connection::{Connection, PostgresConn, SqliteConn};
use super::postgres::{self, Connector, Listener};
use super::{StoreError, migrations};
use crate::config::database::{Database, Location};

/// How long a statement waits for a lock of another process, in milliseconds.
pub(super) const BUSY_TIMEOUT: &str = "PRAGMA busy_timeout = 30000";
/// The names of SQLite's tables, without SQLite's own and that of the migrations.
pub(super) const SQLITE_TABLES: &str = "select name from sqlite_master where type = 'table' \
    and name not like 'sqlite\\_%' escape '\\' and name not like '\\_\\_%' escape '\\' order by name";

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
        /// The longest wait for a connection.
        wait: Duration,
    },
    Postgres {
        connections: Deadpool<PostgresConn>,
        /// The longest wait for a connection.
        wait: Duration,
        listener: Arc<Listener>,
    },
}

/// Validates the settings without a connection.
pub(super) fn check(settings: &Database) -> Result<(), StoreError> {
    match &settings.location {
        Location::SqliteMemory | Location::SqliteFile(_) => Ok(()),
        Location::Postgres(url) => {
            postgres::target(url.expose())?;
            settings.migrate_url.as_ref().map_or(Ok(()), |url| postgres::target(url.expose()).map(drop))
        }
    }
}

impl Pool {
    pub(super) async fn open(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let (pool, applied) = Self::migrated(settings, extra_ca_file, settings.migrate).await?;
        // One in memory is always new.
        if !applied.is_empty() && !matches!(settings.location, Location::SqliteMemory) {
            tracing::info!(migrations = applied.len(), "database migrated");
        }
        Ok(pool)
    }

    /// The pool, and the names of the migrations that were applied. Without `migrate` the database must lack none.
    pub(super) async fn migrated(
        settings: &Database,
        extra_ca_file: Option<&Path>,
        migrate: bool,
    ) -> Result<(Self, Vec<String>), StoreError> {
        let pool = match &settings.location {
            Location::SqliteMemory => Self::sqlite(":memory:", 1, settings)?,
            Location::SqliteFile(path) => {
                make_private(path)
                    .map_err(|error| StoreError::Connect(format!("cannot create {}: {error}", path.display())))?;
                let path = path.to_str().ok_or_else(|| StoreError::Url("the path is not UTF-8".to_owned()))?;
                Self::sqlite(path, settings.max_connections, settings)?
            }
            Location::Postgres(url) => {
                let connector = Connector::new(url.expose(), settings, extra_ca_file)?;
                let migrating = match &settings.migrate_url {
                    Some(url) if migrate => Connector::new(url.expose(), settings, extra_ca_file)?,
                    _ => connector.clone(),
                };
                let conn = reach(&migrating.for_migrations(), settings.start_timeout).await?;
                let applied = if migrate {
                    migrations::migrate_postgres(conn, migrations::LONGEST_WAIT).await?
                } else {
                    migrations::await_postgres(conn.client(), settings.start_timeout).await?;
                    Vec::new()
                };
                let listener = Arc::new(Listener::new(connector.clone(), Random.base62(16)));
                let connections = connector.pool(settings.max_connections)?;
                return Ok((Self::Postgres { connections, wait: settings.pool_timeout, listener }, applied));
            }
        };
        let Connection::Sqlite(mut conn) = pool.connect(Intent::Write).await? else { return Ok((pool, Vec::new())) };
        let applied = if migrate {
            migrations::migrate_sqlite(&mut conn).await?
        } else {
            migrations::check_sqlite(&mut conn).await?;
            Vec::new()
        };
        drop(conn);
        Ok((pool, applied))
    }

    fn sqlite(path: &str, size: usize, settings: &Database) -> Result<Self, StoreError> {
        let pool = |size| sqlite_pool(path, size, settings.synchronous.pragma());
        let readers = if size > 1 { Some(pool(size - 1)?) } else { None };
        Ok(Self::Sqlite { writer: pool(1)?, readers, wait: settings.pool_timeout })
    }

    pub(super) async fn connect(&self, intent: Intent) -> Result<Connection, StoreError> {
        let connection = async {
            match (self, intent) {
                (Self::Sqlite { readers: Some(readers), .. }, Intent::Read) => {
                    readers.get().await.map(Connection::Sqlite)
                }
                (Self::Sqlite { writer, .. }, _) => writer.get().await.map(Connection::Sqlite),
                (Self::Postgres { connections, .. }, _) => connections.get().await.map(Connection::Postgres),
            }
        };
        let (Self::Sqlite { wait, .. } | Self::Postgres { wait, .. }) = self;
        match tokio::time::timeout(*wait, connection).await {
            Ok(connection) => connection.map_err(|error| connect_error(&error)),
            Err(_) => Err(all_busy(*wait)),
        }
    }

    pub(super) fn in_use(&self) -> usize {
        let statuses = match self {
            Self::Sqlite { writer, readers, .. } => [Some(writer.status()), readers.as_ref().map(Deadpool::status)],
            Self::Postgres { connections, .. } => [Some(connections.status()), None],
        };
        statuses.iter().flatten().map(|status| status.size.saturating_sub(status.available)).sum()
    }
}

/// Opens the first connection; waits at most `limit` for a server that is not reachable yet.
async fn reach(connector: &Connector, limit: Duration) -> Result<PostgresConn, StoreError> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(250);
    loop {
        let failure = match connector.connect().await {
            Ok(conn) => return Ok(conn),
            Err(failure) => failure,
        };
        if !failure.is_transient || Instant::now() + pause > deadline {
            return Err(StoreError::Connect(failure.text));
        }
        tracing::warn!(
            servers = connector.servers(),
            error = failure.text,
            "the database is not reachable yet; the start is retried"
        );
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn all_busy(wait: Duration) -> StoreError {
    StoreError::Connect(format!(
        "it does not answer, or all connections ([database] max_connections) were busy for {wait:?} ([database] \
         pool_timeout)"
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
