//! `push-gateway generate-seal-key`: makes a key for the URLs of push resources.
//!
//! Invariant: it reads and writes no file, and opens no connection.

use shared::random::Random;

use crate::relay::seal::line;

/// A new key with this number, or a random one, as `[relay] seal_keys` takes it. With a number that another key had, the URLs
/// of that key would count as forged and be answered with 404, which ends pushers, and not with 503.
pub(crate) fn generate_seal_key(number: Option<u8>, random: Random) -> String {
    let drawn = || random.bytes::<8>().into_iter().find(|byte| *byte != 0).unwrap_or(1);
    line(number.unwrap_or_else(drawn), &random.bytes())
}
