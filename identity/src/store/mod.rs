//! What the server remembers: a pool of connections to SQLite or PostgreSQL, and one file for each table.
//!
//! Invariant: a read that decides a write happens inside [`Store::write`], which loses no update on either database.
//!
//! Calls run on the main runtime, never on an HTTP worker: a query that is dropped half way (a client hangs up) would
//! otherwise leave its connection in an undefined state. SQLite blocks the thread that asks it, so there a call has a
//! thread of its own from its beginning to its end.

pub mod accepted_terms;
pub mod accounts;
pub mod associations;
mod connect;
mod connection;
pub mod ephemeral_keys;
pub mod invites;
pub mod onbinds;
pub mod outgoing_mails;
pub mod peppers;
pub mod rate_limits;
mod schema;
pub mod sessions;
pub mod sms_days;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
mod turns;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use futures_util::FutureExt;
use tokio::runtime::Handle;

use self::connect::Pool;
pub use self::connection::Connection;
use self::connection::Transaction;
use self::turns::Intent;
use crate::config::database::Database;

/// How often a transaction is run again when the database says that it collided with another one.
const MAX_COLLISIONS: u64 = 50;
/// How often it is run again for an error that may, but need not, come from a collision.
const MAX_DOUBTS: u64 = 3;

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
        let Self::Statement(DieselError::DatabaseError(kind, information)) = self else { return 0 };
        match kind {
            DatabaseErrorKind::SerializationFailure => MAX_COLLISIONS,
            // SQLite has waited for the lock as long as it is worth waiting.
            DatabaseErrorKind::Unknown if information.message().contains("database is locked") => 0,
            DatabaseErrorKind::Unknown if information.message().contains("deadlock detected") => MAX_COLLISIONS,
            // diesel knows no kind for a deadlock, and a server tells of it in its own language.
            DatabaseErrorKind::Unknown => MAX_DOUBTS,
            // Two serialisable transactions that insert the same key collide on the key before they collide as
            // transactions; the second run sees the row. One that collides with itself never gets better.
            DatabaseErrorKind::UniqueViolation => MAX_DOUBTS,
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
    /// Connects, brings the schema up to date and keeps the calling runtime for all later calls. TLS to the database
    /// trusts the system's roots and those in `extra_ca_file`.
    ///
    /// # Errors
    /// [`StoreError`] if the address is wrong, nothing answers or a migration fails.
    pub async fn open(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let pool = Pool::open(settings, extra_ca_file).await?;
        Ok(Self { pool, runtime: Handle::current() })
    }

    /// Whether the settings can be understood; nothing is connected.
    ///
    /// # Errors
    /// [`StoreError::Url`].
    pub fn check(settings: &Database) -> Result<(), StoreError> {
        connect::check(settings)
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
        self.on_runtime(Intent::Read, async move {
            let mut connection = pool.connect().await?;
            work(&mut connection).await
        })
        .await
    }

    /// Runs `work` in a transaction that no other one can interleave with, and commits if it returns `Ok`.
    ///
    /// `work` may run several times: there must be no sending, no clock and no dice in it. It must pass on every
    /// error of a statement: PostgreSQL commits nothing after one, and does not say so.
    ///
    /// # Errors
    /// Whatever `work` returns, [`StoreError::Interrupted`] if it panics (nothing is written in either case), or
    /// [`StoreError::Connect`].
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
        self.on_runtime(Intent::Write, async move {
            let mut connection = pool.connect().await?;
            let mut runs = 0;
            loop {
                let mut transaction = Transaction::begin(connection).await?;
                // The panic is caught so that the rollback can be waited for. An SQLite database in memory is gone
                // with its one connection.
                let result = AssertUnwindSafe(work.clone()(transaction.connection()?)).catch_unwind().await;
                let result = match result {
                    Ok(Ok(value)) => transaction.commit().await.map(|()| value),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(StoreError::Interrupted),
                };
                let error = match result {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let Some(usable) = transaction.roll_back().await else { return Err(error) };
                runs += 1;
                if runs > error.worth_running_again() {
                    return Err(error);
                }
                connection = usable;
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
        intent: Intent,
        work: impl Future<Output = Result<R, StoreError>> + Send + 'static,
    ) -> Result<R, StoreError> {
        let task = match self.pool.turn(intent).await? {
            None => self.runtime.spawn(work),
            Some(turn) => {
                let runtime = self.runtime.clone();
                self.runtime.spawn_blocking(move || {
                    let result = runtime.block_on(work);
                    drop(turn);
                    result
                })
            }
        };
        task.await.map_err(|_| StoreError::Interrupted)?
    }
}

#[cfg(test)]
mod tests;
