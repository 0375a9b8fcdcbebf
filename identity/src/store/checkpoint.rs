//! Moves the content of SQLite's write-ahead log into the database file once the writes pause.
//!
//! Invariant: the file of a quiet server is whole, so a plain copy of it is a backup.

use std::sync::Arc;
use std::time::Duration;

use diesel::sql_types::Integer;
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::StoreError;
use super::connect::{Intent, Pool};
use super::connection::Connection;

/// A pause this long between writes makes a server quiet.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait for a pause.
const LONGEST: Duration = Duration::from_secs(10);

#[derive(diesel::QueryableByName)]
struct Checkpoint {
    /// Whether a reader kept the log in use.
    #[diesel(sql_type = Integer)]
    busy: i32,
}

/// Runs a checkpoint after the writes that `written` reports, until the runtime ends.
pub(super) async fn run(pool: Pool, written: Arc<Notify>) {
    loop {
        written.notified().await;
        let deadline = Instant::now() + LONGEST;
        while Instant::now() < deadline && timeout(PAUSE, written.notified()).await.is_ok() {}
        match checkpoint(&pool).await {
            Ok(true) => {}
            Ok(false) => written.notify_one(),
            Err(error) => tracing::warn!(%error, "checkpoint of the database failed"),
        }
    }
}

/// Returns whether the whole log is in the database file now.
pub(super) async fn checkpoint(pool: &Pool) -> Result<bool, StoreError> {
    let Connection::Sqlite(mut conn) = pool.connect(Intent::Write).await? else { return Ok(true) };
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(async {
            // Writers wait for this connection, so it waits for readers only briefly.
            conn.batch_execute("PRAGMA busy_timeout = 200").await?;
            let done = diesel::sql_query("PRAGMA wal_checkpoint(TRUNCATE)").get_result::<Checkpoint>(&mut *conn).await;
            conn.batch_execute(super::connect::BUSY_TIMEOUT).await?;
            Ok(done?.busy == 0)
        })
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?
}
