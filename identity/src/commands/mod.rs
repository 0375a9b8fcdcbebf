//! What an operator does from the command line beside a server that runs: each a call of the library that ends by itself.
//!
//! Invariant: none of them listens or sends anything; what they change, a running server finds in the database or reads
//! again when it is told to (SIGHUP).

pub mod invites;
pub mod rotate_key;

use crate::config::Config;
use crate::config::database::Location;
use crate::signing_keys::RotationError;
use crate::store::{Store, StoreError};

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is nothing yet.
    #[error("there is no database at {0}: has the server been started with these settings?")]
    NoDatabase(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key file.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// What was asked makes no sense.
    #[error("{0}")]
    Usage(&'static str),
}

/// The database of the server with these settings.
async fn open_store(config: &Config) -> Result<Store, CommandError> {
    // To make an empty one would only hide that it is the wrong place.
    if let Ok(Location::SqliteFile(path)) = config.database.location()
        && !path.exists()
    {
        return Err(CommandError::NoDatabase(path.display().to_string()));
    }
    Ok(Store::open(&config.database, config.federation.extra_ca_file.as_deref()).await?)
}
