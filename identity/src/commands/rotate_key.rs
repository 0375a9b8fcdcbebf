//! `identity rotate-key`: a new key signs from now on.
//!
//! Invariant: a server that runs signs with the old key until SIGHUP; at no moment is there a key that it does not know
//! and others are shown.

use shared::random::Random;

use super::CommandError;
use crate::config::Config;
use crate::signing_keys;

/// Puts a new key on the first line of the key file; gives its id. `version` is the part of it after `ed25519:`.
///
/// # Errors
/// [`CommandError::Rotation`]; nothing has changed then.
pub fn rotate_key(config: &Config, version: Option<&str>) -> Result<String, CommandError> {
    // `Config::load` has filled it in.
    let path = config.keys.file.clone().unwrap_or_default();
    Ok(signing_keys::rotate(&path, version, config.keys.revoked.as_slice(), Random)?)
}
