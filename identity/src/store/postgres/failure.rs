//! What a failure of PostgreSQL means.
//!
//! Invariant: no text contains a value of a row, which PostgreSQL's details quote.

use std::error::Error as _;
use std::io;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// The failure of a statement, as diesel's error. A lost connection and a server that cannot work at present are
/// [`DatabaseErrorKind::ClosedConnection`].
pub(super) fn of_statement(error: &Error) -> DieselError {
    use DatabaseErrorKind as Kind;
    let Some(details) = error.as_db_error() else {
        // A connection that a pooler cuts may end within a message.
        let is_cut = error.is_closed() || has_io_cause(error) || error.to_string().contains("unexpected message");
        let kind = if is_cut { Kind::ClosedConnection } else { Kind::Unknown };
        return DieselError::DatabaseError(kind, Box::new(with_causes(error)));
    };
    let code = details.code();
    let kind = match *code {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => Kind::SerializationFailure,
        SqlState::UNIQUE_VIOLATION => Kind::UniqueViolation,
        SqlState::FOREIGN_KEY_VIOLATION => Kind::ForeignKeyViolation,
        SqlState::RESTRICT_VIOLATION => Kind::RestrictViolation,
        SqlState::EXCLUSION_VIOLATION => Kind::ExclusionViolation,
        SqlState::NOT_NULL_VIOLATION => Kind::NotNullViolation,
        SqlState::CHECK_VIOLATION => Kind::CheckViolation,
        SqlState::READ_ONLY_SQL_TRANSACTION => Kind::ReadOnlyTransaction,
        _ if is_outage(code) => Kind::ClosedConnection,
        _ => Kind::Unknown,
    };
    DieselError::DatabaseError(kind, Box::new(format!("{} (SQLSTATE {})", details.message(), code.code())))
}

/// Whether a later attempt to connect may succeed: the server is not reachable, starts, stops or has no free connection.
/// A wrong password, a missing database or a failed TLS handshake is permanent.
pub(super) fn is_transient(error: &Error) -> bool {
    match error.code() {
        Some(code) => is_outage(code),
        None => error.is_closed() || has_io_cause(error) || error.to_string().contains("timeout"),
    }
}

/// Connection failures (08), of which pgbouncer's are; too many connections (53300); the server stops, starts or cancels
/// (57). A transaction in another state than ours (25P) was lost with its connection, behind a pooler.
fn is_outage(code: &SqlState) -> bool {
    ["08", "57", "533", "25P"].iter().any(|class| code.code().starts_with(class))
}

/// Whether the network failed. An error of TLS is also one of I/O, and permanent.
fn has_io_cause(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() != io::ErrorKind::InvalidData) && !error.to_string().contains("TLS")
}

/// The error with its causes: tokio-postgres keeps the important part ("connection refused") in the source.
pub(super) fn with_causes(error: &Error) -> String {
    let mut text = format!("PostgreSQL, {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    if text.contains("TLS handshake") || text.contains("server does not support TLS") {
        text.push_str(
            " (TLS is required, because the server is not on this machine or the URL has sslmode=require; for a certificate of \
             your own authority set [outbound] extra_ca_file; without TLS, on this machine or a network that you trust, write \
             sslmode=disable into the URL)",
        );
    }
    text
}
