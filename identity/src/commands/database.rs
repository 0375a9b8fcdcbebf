//! The way of a command to the database of the server with its settings.
//!
//! Invariant: no command makes a database; that is the server's to do.

use crate::config::Config;
use crate::config::database::Location;
use crate::store::{Store, StoreError};

/// The database that these settings name.
///
/// # Errors
/// [`StoreError::Connect`] if there is none.
pub(super) async fn open(config: &Config) -> Result<Store, StoreError> {
    if let Ok(Location::SqliteFile(path)) = config.database.location()
        && !path.exists()
    {
        let path = path.display();
        return Err(StoreError::Connect(format!("there is no {path}; has the server run with these settings?")));
    }
    Store::open(&config.database, config.outbound.extra_ca_file.as_deref()).await
}
