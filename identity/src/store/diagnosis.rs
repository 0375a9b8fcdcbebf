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
            return Ok(Diagnosis { version: "SQLite".to_owned(), is_pooled: None, clock: None });
        }
        Connection::Postgres(conn) => conn,
    };
    // A simple query has no prepared statement, which a pooler may not know.
    const QUERY: &str =
        "select current_setting('server_version'), (extract(epoch from clock_timestamp()) * 1000)::bigint::text";
    let answer = conn.client().simple_query(QUERY).await.map_err(|error| StoreError::Connect(error.to_string()))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let text = |index| row.and_then(|row| row.get(index)).unwrap_or_default().to_owned();
    Ok(Diagnosis {
        version: format!("PostgreSQL {}", text(0)),
        is_pooled: Some(!conn.is_direct()),
        clock: text(1).parse().ok().map(Timestamp::from_millis),
    })
}
