//! How a command opens the server's database.
//!
//! Invariant: no command creates or migrates a database; only `serve` and `migrate` do. None waits for one that is not
//! reachable.

use std::time::Duration;

use crate::config::Config;
use crate::config::database::{Database, Location};
use crate::store::{Store, StoreError};

/// Opens the configured database.
///
/// # Errors
/// [`StoreError::Connect`] if it does not exist.
pub(super) async fn open(config: &Config) -> Result<Store, StoreError> {
    if let Location::SqliteFile(path) = &config.database.location
        && !path.exists()
    {
        let path = path.display();
        return Err(StoreError::Connect(format!(
            "{path} does not exist; start the server once with this configuration"
        )));
    }
    let settings = Database { migrate: false, start_timeout: Duration::ZERO, ..config.database.clone() };
    Store::open(&settings, config.outbound.extra_ca_file.as_deref()).await
}
