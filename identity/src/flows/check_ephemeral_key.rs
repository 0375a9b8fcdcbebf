//! Checks the public key of an invitation, for a homeserver that verifies a join.
//!
//! Invariant: the key of a delivered invitation stays valid.

use crate::error::Error;
use crate::signing_keys::decode_queried_key;
use crate::state::State;
use crate::store::ephemeral_keys;

/// Whether `public_key` is a valid key of an invitation. Text that is not a key is not valid.
///
/// # Errors
/// Those of the store.
pub async fn check_ephemeral_key(state: &State, public_key: &str) -> Result<bool, Error> {
    let Some(key) = decode_queried_key(public_key) else { return Ok(false) };
    let now = state.clock.now();
    Ok(state.store.read(async move |conn| ephemeral_keys::is_valid(conn, &key, now).await).await?)
}
