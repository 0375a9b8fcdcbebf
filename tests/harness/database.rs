//! The PostgreSQL database of a test, on the engine of the run.
//!
//! Invariant: without `GATEHOUSE_DATABASE` there is no pooler.

use crate::options::{self, Engine};
use crate::{pgbouncer, postgres};

/// A new, empty PostgreSQL database, behind pgbouncer with `GATEHOUSE_DATABASE=pgbouncer` or `replicas`.
///
/// `None` without the program on this machine; the test is then listed as skipped.
///
/// # Panics
/// Without the program if `CI=true`, or if it does not start.
pub async fn postgresql() -> Option<String> {
    match options::engine() {
        Engine::Pgbouncer | Engine::Replicas => pgbouncer::database().await,
        Engine::Sqlite | Engine::Postgres => postgres::database().await,
    }
}
