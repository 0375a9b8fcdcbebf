//! One connection to either database, and the macro that writes a query once and compiles it for both.
//!
//! Invariant: a transaction that did not end never goes back to the pool with its connection.

use diesel::result::Error as DieselError;
use diesel::sqlite::SqliteConnection;
use diesel_async::pooled_connection::deadpool::Object;
use diesel_async::sync_connection_wrapper::{SpawnBlocking, SyncConnectionWrapper};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use futures_util::future::BoxFuture;

use super::StoreError;

/// The SQLite connection that queries are compiled for.
pub(super) type SqliteConn = SyncConnectionWrapper<SqliteConnection, InPlace>;
/// The PostgreSQL connection that queries are compiled for.
pub(super) type PostgresConn = AsyncPgConnection;

/// Runs the statements of SQLite on the thread that asks for them: the store brings each call as a whole to a thread
/// that may block. To send every statement to another thread would cost more than most of them do.
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

/// A connection taken from the pool of whichever database is configured.
#[expect(clippy::large_enum_variant, reason = "one lives for the length of one call; a box would cost each of them")]
pub enum Connection {
    /// SQLite.
    Sqlite(Object<SqliteConn>),
    /// PostgreSQL.
    Postgres(Object<PostgresConn>),
}

impl Connection {
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        match self {
            // Takes the write lock at once: a transaction that starts by reading cannot be upgraded while another
            // one writes, and would be refused instead of waiting.
            Self::Sqlite(conn) => conn.batch_execute("BEGIN IMMEDIATE").await?,
            Self::Postgres(conn) => conn.batch_execute("BEGIN ISOLATION LEVEL SERIALIZABLE").await?,
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, statement: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(conn) => conn.batch_execute(statement).await?,
            Self::Postgres(conn) => conn.batch_execute(statement).await?,
        }
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), StoreError> {
        match self.execute("ROLLBACK").await {
            // SQLite rolls back by itself when the disk is full or cannot be read; the connection is as good as new.
            Err(StoreError::Statement(DieselError::DatabaseError(_, information)))
                if matches!(self, Self::Sqlite(_)) && information.message().contains("no transaction is active") =>
            {
                Ok(())
            }
            result => result,
        }
    }

    /// Takes the connection out of the pool and closes it.
    fn discard(self) {
        match self {
            Self::Sqlite(conn) => drop(Object::take(conn)),
            Self::Postgres(conn) => drop(Object::take(conn)),
        }
    }
}

/// A connection inside a transaction. If it is dropped before the transaction ended, as when the runtime shuts down
/// or a rollback fails, the connection is closed and the database undoes the work.
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

    /// Commits; on success the connection goes back to the pool, on failure the transaction waits to be rolled back.
    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        self.connection()?.execute("COMMIT").await?;
        self.connection = None;
        Ok(())
    }

    /// Undoes the work; gives the connection back for the next try, or closes it if it cannot even do that.
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

/// Writes each query function once; it is compiled for SQLite and for PostgreSQL, and the function that callers see
/// picks the one that fits the connection. In a body, `Conn` is the connection's type.
macro_rules! queries {
    ($($(#[$meta:meta])* pub async fn $name:ident($conn:ident $(, $arg:ident: $type:ty)* $(,)?) -> $result:ty $body:block)*) => {
        mod sqlite {
            #[allow(clippy::wildcard_imports, unused_imports, reason = "the body sees what its file imports")]
            use super::*;
            type Conn = crate::store::connection::SqliteConn;
            $(pub(super) async fn $name($conn: &mut Conn $(, $arg: $type)*) -> $result $body)*
        }
        mod postgres {
            #[allow(clippy::wildcard_imports, unused_imports, reason = "the body sees what its file imports")]
            use super::*;
            type Conn = crate::store::connection::PostgresConn;
            $(pub(super) async fn $name($conn: &mut Conn $(, $arg: $type)*) -> $result $body)*
        }
        $($(#[$meta])*
        pub async fn $name(connection: &mut crate::store::Connection $(, $arg: $type)*) -> $result {
            match connection {
                crate::store::Connection::Sqlite(conn) => sqlite::$name(conn $(, $arg)*).await,
                crate::store::Connection::Postgres(conn) => postgres::$name(conn $(, $arg)*).await,
            }
        })*
    };
}
pub(super) use queries;
