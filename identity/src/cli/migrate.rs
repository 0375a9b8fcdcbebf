//! `identity migrate`: brings the schema of the database up to date, as a step of its own before `serve`.
//!
//! Invariant: a second run changes nothing.

use shared::telemetry;

use crate::config::Config;
use crate::store::{Store, StoreError};

/// Migrates the database; returns the lines to print.
///
/// # Errors
/// [`StoreError`] if the database is not reachable, a newer version has migrated it or a migration fails.
pub(super) async fn migrate(config: &Config) -> Result<Vec<String>, StoreError> {
    let _log = telemetry::log(config.log, &["identity", "shared"]);
    let applied = Store::migrate(&config.database, config.outbound.extra_ca_file.as_deref()).await?;
    Ok(match applied.len() {
        0 => vec!["the database is up to date".to_owned()],
        1 => vec![format!("applied {}", applied.join(""))],
        number => vec![format!("applied {number} migrations: {}", applied.join(", "))],
    })
}
