//! The database, SQLite or PostgreSQL: connection pools, transactions, and one file for each table.
//!
//! Invariant: a read that decides a write happens inside [`Store::write`], which loses no update on either database.
//!
//! Calls run on the main runtime, never on an HTTP worker: a query that is dropped half way (a client disconnects) would
//! leave its connection in an undefined state. SQLite blocks its thread, so there each call runs on a blocking thread.

pub mod accepted_terms;
pub mod accounts;
pub mod associations;
pub mod backup;
pub mod changes;
mod checkpoint;
mod connect;
mod connection;
pub mod diagnosis;
pub mod ephemeral_keys;
mod error;
pub mod future_times;
pub mod invite_blocks;
pub mod invites;
pub mod lookup_days;
pub mod lookup_fingerprints;
pub mod lookup_leases;
mod migrations;
pub mod onbinds;
pub mod outgoing_mails;
pub mod peppers;
mod postgres;
pub mod rate_limits;
pub mod recorded_keys;
mod schema;
pub mod sessions;
pub mod sms_days;
pub mod tables;
#[cfg(test)]
pub(crate) mod testing;
pub mod tokens;
pub mod unfinished_copy;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use shared::clock::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use self::connect::{Intent, Pool};
pub use self::connection::Connection;
use self::connection::Transaction;
pub use self::error::{StoreError, WriteError};
use self::postgres::Ended;
use crate::config::database::{Database, Location};

/// The most rows that one statement of the clean-up deletes: a larger transaction would block writers for too long.
pub const BATCH: i64 = 1_000;

/// The medium and the canonical address of an association.
pub type AddressKey = (String, String);

/// The destinations of a queue that have as many attempts as they may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Servers, in lower case.
    pub destinations: Vec<String>,
    /// Groups of servers of one owner.
    pub groups: Vec<String>,
}

/// The next row of a durable queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueHead<T> {
    /// A row that is due, now leased.
    Due(T),
    /// No row is due before this time.
    Later(Timestamp),
    /// No row waits.
    Empty,
}

/// An asynchronous closure over a connection, with a `Send` future.
///
/// Stable Rust cannot express `AsyncFnOnce(..): Send`; this is diesel-async's workaround.
pub trait Work<T, R>: AsyncFnOnce(T) -> R + FnOnce(T) -> <Self as Work<T, R>>::Fut {
    /// The closure's future.
    type Fut: Future<Output = R>;
}

impl<F, T, R, Fut> Work<T, R> for F
where
    F: AsyncFnOnce(T) -> R + FnOnce(T) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// The database of one process; clones share the pools.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    runtime: Handle,
    /// Notified after each write to an SQLite file.
    written: Arc<Notify>,
}

impl Store {
    /// Connects and migrates the schema; all later calls run on the current runtime. TLS to the database trusts the
    /// system's roots and those in `extra_ca_file`.
    ///
    /// # Errors
    /// [`StoreError`] if the URL is invalid, the database does not respond, a migration fails, or the database is an
    /// unfinished copy.
    pub async fn open(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let store = Self::open_even_unfinished(settings, extra_ca_file).await?;
        if store.read(async |conn| unfinished_copy::exists(conn).await).await? {
            return Err(StoreError::UnfinishedCopy);
        }
        Ok(store)
    }

    /// Opens the target of a copy, which may be an unfinished one. Migrates a new database, and no other one.
    ///
    /// # Errors
    /// As [`Store::open`], and [`StoreError::Pending`].
    pub async fn open_target(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let unmigrated = Database { migrate: false, ..settings.clone() };
        match Self::open_even_unfinished(&unmigrated, extra_ca_file).await {
            Err(StoreError::Pending(first)) if first == migrations::oldest()? => {
                Self::open_even_unfinished(&Database { migrate: true, ..unmigrated }, extra_ca_file).await
            }
            opened => opened,
        }
    }

    async fn open_even_unfinished(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Self, StoreError> {
        let pool = Pool::open(settings, extra_ca_file).await?;
        let written = Arc::new(Notify::new());
        if matches!(settings.location, Location::SqliteFile(_)) {
            // Migrations count as a write.
            written.notify_one();
            tokio::spawn(checkpoint::run(pool.clone(), Arc::clone(&written)));
        }
        Ok(Self { pool, runtime: Handle::current(), written })
    }

    /// Applies the migrations that the database lacks; returns their names.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn migrate(settings: &Database, extra_ca_file: Option<&Path>) -> Result<Vec<String>, StoreError> {
        Ok(Pool::migrated(settings, extra_ca_file, true).await?.1)
    }

    /// Brings the file of an SQLite database up to date with its log, before the process ends.
    pub async fn close(&self) {
        if let Err(error) = checkpoint::checkpoint(&self.pool).await {
            tracing::warn!(%error, "checkpoint of the database failed");
        }
    }

    /// Validates the settings without a connection.
    ///
    /// # Errors
    /// [`StoreError::Url`].
    pub fn check(settings: &Database) -> Result<(), StoreError> {
        connect::check(settings)
    }

    /// Runs `work` on a connection without a transaction. For reads.
    ///
    /// # Errors
    /// Those of `work`, or [`StoreError`] if no connection is available.
    pub async fn read<R, E, F>(&self, work: F) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
        for<'c> F: AsyncFnOnce(&'c mut Connection) -> Result<R, E>
            + Work<&'c mut Connection, Result<R, E>, Fut: Send>
            + Send
            + 'static,
    {
        self.on_runtime(Intent::Read, async move |mut connection| work(&mut connection).await).await
    }

    /// Runs `work` in a transaction that is isolated from all others. Commits if `work` returns `Ok`; rolls back if it
    /// returns any error.
    ///
    /// A write that must persist although the caller reports an error returns `Ok` with that outcome.
    ///
    /// `work` may run several times: it must not send, read the clock or draw random values. It must return every error
    /// of a statement: after one, PostgreSQL commits nothing and reports success.
    ///
    /// # Errors
    /// Those of `work`, [`StoreError::Interrupted`] if it panics, or [`StoreError`] if no connection is available or the
    /// commit fails. Nothing is written in any of these cases.
    pub async fn write<R, E, F>(&self, work: F) -> Result<R, E>
    where
        R: Send + 'static,
        E: WriteError,
        for<'c> F: AsyncFnOnce(&'c mut Connection) -> Result<R, E>
            + Work<&'c mut Connection, Result<R, E>, Fut: Send>
            + Clone
            + Send
            + 'static,
    {
        let written = self.on_runtime(Intent::Write, async move |mut connection| {
            let mut runs = 0;
            loop {
                let mut transaction = Transaction::begin(connection).await?;
                // A panic is caught to await the rollback: dropping the connection would lose an in-memory database.
                let result = AssertUnwindSafe(work.clone()(transaction.connection()?)).catch_unwind().await;
                let result = match result {
                    Ok(Ok(value)) => transaction.commit().await.map(|()| value).map_err(E::from),
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(StoreError::Interrupted.into()),
                };
                let error = match result {
                    Ok(value) => return Ok(value),
                    Err(error) => error,
                };
                let Some(usable) = transaction.roll_back().await else { return Err(error) };
                runs += 1;
                if runs > error.store_error().map_or(0, StoreError::max_retries) {
                    return Err(error);
                }
                connection = usable;
                // Lets the other transaction finish; without a pause both may continue to collide.
                tokio::time::sleep(Duration::from_millis(runs.min(20))).await;
            }
        });
        let result = written.await;
        self.written.notify_one();
        result
    }

    /// Announces to other processes that this one has changed something which they keep in memory. A failure delays that
    /// until they read the changes.
    pub async fn announce_changes(&self) {
        let Pool::Postgres { listener, .. } = &self.pool else { return };
        let Some(statement) = listener.announcement() else { return };
        let announced = self.read(async move |connection| connection.execute(&statement).await).await;
        if let Err(error) = announced {
            tracing::debug!(%error, "announcement of a change failed");
        }
    }

    /// Calls `heard` when it begins to listen, and for each announcement of another process, until it hears no more.
    /// False if announcements do not work here.
    ///
    /// # Errors
    /// [`StoreError::Connect`].
    pub async fn hear_changes(&self, heard: impl Fn()) -> Result<bool, StoreError> {
        let Pool::Postgres { listener, .. } = &self.pool else { return Ok(false) };
        match listener.listen(heard).await {
            Ok(ended) => Ok(matches!(ended, Ended::Lost)),
            Err(failure) => Err(StoreError::Connect(failure.text)),
        }
    }

    /// Checks that the database responds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(async |connection| connection.execute("select 1").await).await
    }

    /// The number of connections in use.
    pub fn connections_in_use(&self) -> usize {
        self.pool.in_use()
    }

    async fn on_runtime<R, E, F>(&self, intent: Intent, work: F) -> Result<R, E>
    where
        R: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: Work<Connection, Result<R, E>, Fut: Send> + Send + 'static,
    {
        let task = match &self.pool {
            Pool::Sqlite { .. } => {
                // Here, because waiting for a connection on a blocking thread would occupy the thread.
                let connection = self.pool.connect(intent).await?;
                let runtime = self.runtime.clone();
                self.runtime.spawn_blocking(move || runtime.block_on(work(connection)))
            }
            Pool::Postgres { .. } => {
                let pool = self.pool.clone();
                self.runtime.spawn(async move { work(pool.connect(intent).await?).await })
            }
        };
        task.await.map_err(|_| StoreError::Interrupted)?
    }
}

#[cfg(test)]
mod tests;
