//! A connection to either database, and the macro that compiles each query for both.
//!
//! Invariant: a connection with an open transaction never returns to its pool.

use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use diesel_async::SimpleAsyncConnection;
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use futures_util::future::BoxFuture;

use super::StoreError;
use super::postgres::PostgresConnection;

/// The SQLite connection of the queries.
pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection, InPlace>;
/// The PostgreSQL connection of the queries.
pub(super) type PostgresConn = PostgresConnection;

/// Runs SQLite statements on the calling thread: the store runs each call as a whole on a blocking thread. A thread change
/// for every statement would cost more than most statements.
pub struct InPlace;

impl SpawnBlocking for InPlace {
    fn spawn_blocking<'a, R: Send + 'static>(
        &mut self,
        task: impl FnOnce() -> R + Send + 'static,
    ) -> BoxFuture<'a, Result<R, Box<dyn std::error::Error + Send + Sync>>> {
        Box::pin(async { Ok(task()) })
    }

    fn get_runtime() -> Self {
        Self
    }
}

/// A connection from the pool of the configured database.
#[expect(clippy::large_enum_variant, reason = "it lives for one call; a box would cost an allocation for each")]
pub enum Connection {
    /// SQLite.
    Sqlite(Object<SqliteConn>),
    /// PostgreSQL.
    Postgres(Object<PostgresConn>),
}

impl Connection {
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            // Acquires the write lock first. A transaction that starts with a read fails instead of waiting if another
            // one writes meanwhile.
            Self::Sqlite(conn) => conn.batch_execute("BEGIN IMMEDIATE").await?,
            Self::Postgres(conn) => conn.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await?,
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, statement: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => conn.batch_execute(statement).await?,
            Self::Postgres(conn) => conn.batch_execute(statement).await?,
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        match self.execute("ROLLBACK").await {
            // SQLite rolls back by itself after a disk error; the connection stays usable.
            Err(StoreError::Statement(DieselError::DatabaseError(_, information)))
                if matches!(self, Self::Sqlite(_)) && information.message().contains("no transaction is active") =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Removes the connection from the pool and closes it.
    fn discard(self) {
        match self {
            Self::Sqlite(conn) => drop(Object::take(conn)),
            Self::Postgres(conn) => drop(Object::take(conn)),
        }
    }
}

/// A connection in a transaction. A drop before the end of the transaction, as at a shutdown of the runtime or after a
/// failed rollback, closes the connection, and the database rolls back.
pub(super) struct Transaction {
    connection: Option<Connection>,
}

impl Transaction {
    pub(super) async fn begin(mut connection: Connection) -> Result<Self, StoreError> {
        connection.begin().await?;
        Ok(Self { connection: Some(connection) })
    }

    pub(super) fn connection(&mut self) -> Result<&mut Connection, StoreError> {
        self.connection.as_mut().ok_or(StoreError::Interrupted)
    }

    /// Commits and returns the connection to the pool. After an error the caller must roll back.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.connection()?.execute("COMMIT").await?;
        self.connection = None;
        Ok(())
    }

    /// Rolls back and returns the connection for a retry, or closes it if the rollback fails.
    pub(super) async fn roll_back(mut self) -> Option<Connection> {
        self.connection.as_mut()?.roll_back().await.ok()?;
        self.connection.take()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            connection.discard();
        }
    }
}

/// Compiles each query function for SQLite and for PostgreSQL, and generates a function that dispatches on the
/// connection. In a body, `Conn` is the connection's type.
///
/// A read by a key ends with `get_result`, not with `first`: that binds a limit, and whenever a limit is bound, the bundled
/// SQLite prepares the cached statement again.
macro_rules! queries {
    ($($(#[$meta:meta])* $vis:vis async fn $name:ident($conn:ident $(, $arg:ident: $type:ty)* $(,)?) -> $result:ty $body:block)*) => {
        mod sqlite {
            #[allow(clippy::wildcard_imports, unused_imports, reason = "a body uses the imports of its file")]
            use super::*;
            type Conn = crate::store::connection::SqliteConn;
            $(pub(super) async fn $name($conn: &mut Conn $(, $arg: $type)*) -> $result $body)*
        }
        mod postgres {
            #[allow(clippy::wildcard_imports, unused_imports, reason = "a body uses the imports of its file")]
            use super::*;
            type Conn = crate::store::connection::PostgresConn;
            $(pub(super) async fn $name($conn: &mut Conn $(, $arg: $type)*) -> $result $body)*
        }
        $($(#[$meta])*
        $vis async fn $name(connection: &mut crate::store::Connection $(, $arg: $type)*) -> $result {
            match connection {
                crate::store::Connection::Sqlite(conn) => sqlite::$name(conn $(, $arg)*).await,
                crate::store::Connection::Postgres(conn) => postgres::$name(conn $(, $arg)*).await,
            }
        })*
    };
}
pub(super) use queries;
