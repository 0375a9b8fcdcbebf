//! Opening the pool: which database, how its connections are set up, and the migrations that are compiled in.
//!
//! Invariant: every SQLite connection waits for a lock instead of failing, and checks foreign keys.

use std::time::Duration;

use diesel::ConnectionError;
use diesel::sqlite::SqliteConnection;
use diesel_async::pooled_connection::deadpool::{Pool as Deadpool, PoolError};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncMigrationHarness, AsyncPgConnection, SimpleAsyncConnection};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use futures_util::FutureExt;
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::StoreError;
use super::connection::{Connection, PostgresConn, SqliteConn};
use crate::config::database::{Database, Location};

const SQLITE_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/sqlite");
const POSTGRES_MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations/postgres");

/// How long a request waits for a free connection before it is answered with a failure.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) enum Pool {
    Sqlite(Deadpool<SqliteConn>),
    Postgres(Deadpool<PostgresConn>),
}

impl Pool {
    pub(super) async fn open(settings: &Database) -> Result<Self, StoreError> {
        let pool = match settings.location().map_err(StoreError::Url)? {
            Location::SqliteMemory => Self::Sqlite(sqlite_pool(":memory:", 1, settings.synchronous.pragma())?),
            Location::SqliteFile(path) => {
                if let Some(folder) = path.parent() {
                    std::fs::create_dir_all(folder)
                        .map_err(|error| StoreError::Connect(format!("{}: {error}", folder.display())))?;
                }
                let path = path.to_str().ok_or_else(|| StoreError::Url("the path is not UTF-8".to_owned()))?;
                Self::Sqlite(sqlite_pool(path, settings.max_connections, settings.synchronous.pragma())?)
            }
            Location::Postgres(url) => Self::Postgres(postgres_pool(&url, settings.max_connections)?),
        };
        pool.migrate().await?;
        Ok(pool)
    }

    pub(super) async fn connect(&self) -> Result<Connection, StoreError> {
        let connection = async {
            match self {
                Self::Sqlite(pool) => pool.get().await.map(Connection::Sqlite),
                Self::Postgres(pool) => pool.get().await.map(Connection::Postgres),
            }
        };
        match tokio::time::timeout(WAIT_FOR_CONNECTION, connection).await {
            Ok(connection) => connection.map_err(|error| connect_error(&error)),
            Err(_) => Err(StoreError::Connect("all connections are busy".to_owned())),
        }
    }

    pub(super) fn in_use(&self) -> usize {
        let status = match self {
            Self::Sqlite(pool) => pool.status(),
            Self::Postgres(pool) => pool.status(),
        };
        status.size.saturating_sub(status.available)
    }

    async fn migrate(&self) -> Result<(), StoreError> {
        let failed = |error: Box<dyn std::error::Error + Send + Sync>| StoreError::Migrate(error.to_string());
        match self.connect().await? {
            Connection::Sqlite(conn) => {
                AsyncMigrationHarness::new(conn).run_pending_migrations(SQLITE_MIGRATIONS).map_err(failed)?;
            }
            Connection::Postgres(mut conn) => {
                // Processes that start together migrate one after the other; the lock ends with the connection.
                conn.batch_execute("select pg_advisory_lock(7220250)").await?;
                let mut harness = AsyncMigrationHarness::new(conn);
                harness.run_pending_migrations(POSTGRES_MIGRATIONS).map_err(failed)?;
                harness.into_inner().batch_execute("select pg_advisory_unlock(7220250)").await?;
            }
        }
        Ok(())
    }
}

fn connect_error(error: &PoolError) -> StoreError {
    // A backend's text may quote the URL with its password; PostgreSQL's own messages do not.
    StoreError::Connect(match error {
        PoolError::Backend(diesel_async::pooled_connection::PoolError::ConnectionError(
            ConnectionError::BadConnection(message),
        )) => message.clone(),
        _ => "the connection could not be set up".to_owned(),
    })
}

fn sqlite_pool(path: &str, size: usize, synchronous: &'static str) -> Result<Deadpool<SqliteConn>, StoreError> {
    let mut config = ManagerConfig::<SqliteConn>::default();
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(move |path| {
        async move {
            let mut conn = SyncConnectionWrapper::<SqliteConnection>::establish(path).await?;
            // The time-out comes first: switching to WAL takes a lock.
            conn.batch_execute(&format!(
                "PRAGMA busy_timeout = 30000; PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA foreign_keys = ON;"
            ))
            .await
            .map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(conn)
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::<SqliteConn>::new_with_config(path, config);
    Deadpool::builder(manager).max_size(size).build().map_err(|error| StoreError::Connect(error.to_string()))
}

fn postgres_pool(url: &str, size: usize) -> Result<Deadpool<PostgresConn>, StoreError> {
    let mut config = ManagerConfig::<PostgresConn>::default();
    // One that the server has closed is told from a good one without asking the server before every call.
    config.recycling_method = RecyclingMethod::Fast;
    config.custom_setup = Box::new(|url| {
        async move {
            let tls = ClientConfig::with_platform_verifier()
                .map_err(|error| ConnectionError::BadConnection(error.to_string()))?;
            let (client, connection) = tokio_postgres::connect(url, MakeRustlsConnect::new(tls))
                .await
                .map_err(|error| ConnectionError::BadConnection(describe(&error)))?;
            AsyncPgConnection::try_from_client_and_connection(client, connection).await
        }
        .boxed()
    });
    let manager = AsyncDieselConnectionManager::<PostgresConn>::new_with_config(url, config);
    Deadpool::builder(manager).max_size(size).build().map_err(|error| StoreError::Connect(error.to_string()))
}

/// The error with its causes: tokio-postgres keeps the telling part ("connection refused") in the source.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
