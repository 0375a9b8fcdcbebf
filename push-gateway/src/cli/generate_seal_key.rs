//! `push-gateway generate-seal-key`: makes a key for the URLs of push resources.
//!
//! Invariant: it reads and writes no file, and opens no connection.

use shared::random::Random;

use crate::relay::seal::line;

/// A new key with this number, as `[relay] seal_keys` takes it.
pub(crate) fn generate_seal_key(number: u8, random: Random) -> String {
    line(number, &random.bytes())
}
