//! The failures of the store, and which of them a retry may cure.
//!
//! Invariant: a missing row is no failure.

use std::time::{Duration, Instant};

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use parking_lot::Mutex;

/// Retries of a transaction that the database reports as a collision with another one.
const MAX_RETRIES: u64 = 50;
/// Retries after an error that a collision may, but need not, cause.
const MAX_UNCERTAIN_RETRIES: u64 = 3;

/// At most one log line for outages in this time: each request and each queue meets them.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// When an outage was last logged. An error becomes a response without the state of the server.
static OUTAGE_LOGGED: Mutex<Option<Instant>> = Mutex::new(None);

/// A failure of the database. Never means "not found".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The `[database] url` is invalid.
    #[error("[database] url: {0}")]
    Url(String),
    /// No connection is available.
    #[error("cannot connect to the database: {0}")]
    Connect(String),
    /// A newer version has migrated the database.
    #[error(
        "the database has migration {0}, which this version does not know: a newer version of identity has migrated it; \
         start that version, or restore a backup from before"
    )]
    Newer(String),
    /// The database lacks a migration, and this process does not apply it.
    #[error(
        "[database] migrate: the database lacks the migration {0}; run `identity migrate` of this version, or remove the key"
    )]
    Pending(String),
    /// A copy of another database into this one has not ended.
    #[error(
        "the database is an unfinished copy of another one; run the same `identity copy-database` again to complete it"
    )]
    UnfinishedCopy,
    /// A migration failed.
    #[error("cannot migrate the database: {0}")]
    Migrate(String),
    /// A statement failed.
    #[error("the database rejected a statement: {0}")]
    Statement(#[from] DieselError),
    /// A stored value that this version cannot parse.
    #[error("the database contains an invalid value: {0}")]
    Corrupt(&'static str),
    /// The task panicked, or the runtime is shutting down.
    #[error("the database call was interrupted")]
    Interrupted,
}

impl StoreError {
    /// Logs that something failed because of this: an outage once a minute, any other failure each time.
    pub fn log(&self, failed: &'static str) {
        if !self.is_outage() {
            tracing::error!(error = %self, failed, "the database failed");
            return;
        }
        let mut logged = OUTAGE_LOGGED.lock();
        if logged.is_none_or(|at| at.elapsed() >= LOG_INTERVAL) {
            *logged = Some(Instant::now());
            tracing::warn!(error = %self, failed, "the database is not available");
        }
    }

    /// Whether the database cannot work at present, and a later attempt may succeed.
    pub fn is_outage(&self) -> bool {
        use DatabaseErrorKind::{ClosedConnection, ReadOnlyTransaction, SerializationFailure, UnableToSendCommand};
        match self {
            Self::Connect(_) => true,
            // After a failover the former primary is read-only.
            Self::Statement(DieselError::DatabaseError(kind, _)) => {
                // A collision is left if every retry collides, or if the connection ends before the retry.
                let is_collision = matches!(kind, SerializationFailure);
                is_collision || matches!(kind, ClosedConnection | UnableToSendCommand | ReadOnlyTransaction)
            }
            _ => false,
        }
    }

    /// How many times the transaction may be retried after this error.
    pub(super) fn max_retries(&self) -> u64 {
        let Self::Statement(DieselError::DatabaseError(kind, information)) = self else { return 0 };
        match kind {
            DatabaseErrorKind::SerializationFailure => MAX_RETRIES,
            // SQLite has waited for the lock until its time-out.
            DatabaseErrorKind::Unknown if information.message().contains("database is locked") => 0,
            DatabaseErrorKind::Unknown => MAX_UNCERTAIN_RETRIES,
            // Two serializable transactions that insert the same key fail on the key first; the retry finds the row. A
            // transaction that inserts a key twice fails each time.
            DatabaseErrorKind::UniqueViolation => MAX_UNCERTAIN_RETRIES,
            _ => 0,
        }
    }
}

/// An error of the work in a transaction: a failure of the store, or the caller's reason to roll back.
pub trait WriteError: From<StoreError> + Send + 'static {
    /// The store's failure; [`super::Store::write`] retries the work after a collision.
    fn store_error(&self) -> Option<&StoreError>;
}

impl WriteError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}
