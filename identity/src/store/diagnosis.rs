//! What the database says of itself, for `doctor`.
//!
//! Invariant: reads no table.

use shared::clock::Timestamp;
use tokio_postgres::SimpleQueryMessage;

use super::{Connection, StoreError};

/// A server and the connection to it.
pub struct Diagnosis {
    /// The name and the version of the database.
    pub version: String,
    /// Whether a pooler such as pgbouncer lies between; `None` for SQLite.
    pub is_pooled: Option<bool>,
    /// Whether the server refuses to write, as a standby does.
    pub is_read_only: bool,
    /// The clock of the server; `None` for SQLite.
    pub clock: Option<Timestamp>,
}

/// Asks the server.
///
/// # Errors
/// [`StoreError`]
pub async fn diagnose(conn: &mut Connection) -> Result<Diagnosis, StoreError> {
    let conn = match conn {
        Connection::Sqlite(_) => {
            let version = "SQLite".to_owned();
            return Ok(Diagnosis { version, is_pooled: None, is_read_only: false, clock: None });
        }
        Connection::Postgres(conn) => conn,
    };
    // A simple query has no prepared statement, which a pooler may not know.
    const QUERY: &str = "select current_setting('server_version'), \
                         (extract(epoch from clock_timestamp()) * 1000)::bigint::text, \
                         pg_is_in_recovery() or current_setting('default_transaction_read_only') = 'on'";
    let answer = conn.client().simple_query(QUERY).await.map_err(|error| StoreError::Connect(error.to_string()))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |index| row.and_then(|row| row.get(index)).unwrap_or_default().to_owned();
    Ok(Diagnosis {
        version: format!("PostgreSQL {}", text(0)),
        is_pooled: Some(!conn.leads_to_server().await),
        is_read_only: text(2) == "t",
        clock: text(1).parse().ok().map(Timestamp::from_millis),
    })
}
