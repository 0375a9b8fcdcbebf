//! `identity rotate-key`: the ids that a new key must not have.
//!
//! Invariant: works without the database, because the server checks the ids again when it loads the keys.

use super::database;
use crate::config::Config;
use crate::config::database::Location;
use crate::store::recorded_keys;

/// The revoked ids and, if the database can be read, those of all keys that have signed.
pub(super) async fn used_ids(config: &Config) -> Vec<String> {
    let mut used = config.keys.revoked.clone();
    if matches!(config.database.location, Location::SqliteMemory) {
        return used;
    }
    if let Ok(store) = database::open(config).await
        && let Ok(recorded) = store.read(async |conn| recorded_keys::list(conn).await).await
    {
        used.extend(recorded.into_iter().map(|key| key.id));
    }
    used
}
