//! What the server remembers: a pool of connections to SQLite or PostgreSQL, and one file for each table.
//!
//! Invariant: a read that decides a write happens inside [`Store::write`], which loses no update on either database.
//!
//! Calls run on the main runtime, never on an HTTP worker: a query that is dropped half way (a client hangs up) would
//! otherwise leave its connection, and on a single-threaded worker the whole process, in an undefined state.

pub mod accepted_terms;
pub mod accounts;
pub mod associations;
mod connect;
mod connection;
pub mod outgoing_mails;
pub mod peppers;
pub mod rate_limits;
mod schema;
pub mod sessions;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;

use std::future::Future;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio::runtime::Handle;

use self::connect::Pool;
pub use self::connection::Connection;
use self::connection::Transaction;
use crate::config::database::Database;

/// How often a transaction is tried again when the database says that it collided with another one.
const MAX_COLLISIONS: u64 = 50;

/// Why the database did not do what was asked. Never means "not found".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The `[database] url` names no database that we know.
    #[error("[database] url: {0}")]
    Url(String),
    /// No connection can be had.
    #[error("cannot connect to the database: {0}")]
    Connect(String),
    /// The schema could not be brought up to date.
    #[error("cannot migrate the database: {0}")]
    Migrate(String),
    /// A statement failed.
    #[error("the database refused a statement: {0}")]
    Statement(#[from] DieselError),
    /// A stored value is not what this version writes there.
    #[error("the database holds a value that cannot be read: {0}")]
    Corrupt(&'static str),
    /// The task that did the work ended before its time.
    #[error("the database call was interrupted")]
    Interrupted,
}

impl StoreError {
    /// How many times the same transaction may be run again because it only collided with another one.
    fn worth_running_again(&self) -> u64 {
        match self {
            Self::Statement(DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _)) => MAX_COLLISIONS,
            Self::Statement(DieselError::DatabaseError(DatabaseErrorKind::Unknown, information))
                if information.message().contains("deadlock detected")
                    || information.message().contains("database is locked") =>
            {
                MAX_COLLISIONS
            }
            // Two serialisable transactions that insert the same key collide on the key before they collide as
            // transactions; the second run sees the row. One that collides with itself never gets better.
            Self::Statement(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => 3,
            _ => 0,
        }
    }
}

/// An asynchronous closure over a connection whose future may move between threads.
///
/// Stable Rust cannot yet say `AsyncFnOnce(..): Send`; this is diesel-async's way of saying it.
pub trait Work<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as Work<T, R>>::Fut {
    /// The future that the closure makes.
    type Fut: Future<Output = R>;
}

impl<F, T, R, Fut> Work<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// The database of one process; clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    runtime: Handle,
}

impl Store {
    /// Connects, brings the schema up to date and keeps the calling runtime for all later calls.
    ///
    /// # Errors
    /// [`StoreError`] if the address is wrong, nothing answers or a migration fails.
    pub async fn open(settings: &Database) -> Result<Self, StoreError> {
        let pool = Pool::open(settings).await?;
        Ok(Self { pool, runtime: Handle::current() })
    }

    /// Runs `work` on a connection without a transaction: for single statements that only read, or that guard
    /// themselves.
    ///
    /// # Errors
    /// Whatever `work` returns, or [`StoreError::Connect`].
    pub async fn read<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        for<'c> F: AsyncFnOnce(&'c mut Connection) -> Result<R, StoreError>
            + Work<&'c mut Connection, Result<R, StoreError>, Fut: Send>
            + Send
            + 'static,
    {
        let pool = self.pool.clone();
        self.on_runtime(async move {
            let mut connection = pool.connect().await?;
            work(&mut connection).await
        })
        .await
    }

    /// Runs `work` in a transaction that no other one can interleave with, and commits if it returns `Ok`.
    ///
    /// `work` may run several times: there must be no sending, no clock and no dice in it.
    ///
    /// # Errors
    /// Whatever `work` returns (nothing is then written), or [`StoreError::Connect`].
    pub async fn write<R, F>(&self, work: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        for<'c> F: AsyncFnOnce(&'c mut Connection) -> Result<R, StoreError>
            + Work<&'c mut Connection, Result<R, StoreError>, Fut: Send>
            + Clone
            + Send
            + 'static,
    {
        let pool = self.pool.clone();
        self.on_runtime(async move {
            let mut connection = pool.connect().await?;
            let mut runs = 0;
            loop {
                let mut transaction = Transaction::begin(connection).await?;
                let result = match work.clone()(transaction.connection()?).await {
                    Ok(value) => transaction.commit().await.map(|()| value),
                    Err(error) => Err(error),
                };
                let error = match result {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                runs += 1;
                if runs > error.worth_running_again() {
                    return Err(error);
                }
                connection = transaction.roll_back().await?;
                // Lets the other transaction finish; without it the two may go on colliding.
                tokio::time::sleep(Duration::from_millis(runs.min(20))).await;
            }
        })
        .await
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// [`StoreError`] if it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(async |connection| connection.execute("select 1").await).await
    }

    /// How many connections are in use now.
    pub fn connections_in_use(&self) -> usize {
        self.pool.in_use()
    }

    async fn on_runtime<R: Send + 'static>(
        &self,
        work: impl Future<Output = Result<R, StoreError>> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.runtime.spawn(work).await.map_err(|_| StoreError::Interrupted)?
    }
}
