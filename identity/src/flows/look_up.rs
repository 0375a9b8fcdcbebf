//! Whose addresses these are: a lookup by hash, or in clear where the operator allows it.
//!
//! Invariant: both algorithms ask the same question of the same rows, so they cannot disagree.

use std::collections::HashMap;

use shared::secret::Secret;

use crate::config::rules::Algorithm;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::state::State;
use crate::store::associations;

/// What a client asks.
pub struct Lookup<'a> {
    /// How the entries are written, as the client names it.
    pub algorithm: &'a str,
    /// The pepper they were hashed with.
    pub pepper: &'a str,
    /// The entries.
    pub addresses: Vec<&'a str>,
}

/// The entries that belong to somebody, each exactly as it was asked, with their users.
///
/// # Errors
/// [`Error::InvalidParam`] for an algorithm that is not offered, [`Error::TooManyAddresses`],
/// [`Error::InvalidPepper`], [`Error::LimitExceeded`].
pub async fn look_up<'a>(
    state: &State,
    account: &UserId,
    lookup: &Lookup<'a>,
) -> Result<HashMap<&'a str, String>, Error> {
    let settings = &state.config.lookup;
    let offered = settings.algorithms.as_slice().iter().find(|offered| offered.as_str() == lookup.algorithm);
    let Some(&algorithm) = offered else {
        return Err(Error::InvalidParam("This algorithm is not offered: see hash_details".to_owned()));
    };
    if lookup.addresses.len() > settings.max_addresses {
        return Err(Error::TooManyAddresses);
    }
    if !state.pepper.is(lookup.pepper) {
        let current = Secret::new(state.pepper.expose().to_owned());
        return Err(Error::InvalidPepper { current });
    }
    let now = state.clock.now();
    state.lookup_quota.charge(account, &lookup.addresses, now).map_err(Error::LimitExceeded)?;

    let entries: Vec<(&str, LookupDigest)> = lookup
        .addresses
        .iter()
        .filter_map(|entry| {
            let digest = match algorithm {
                Algorithm::Sha256 => LookupDigest::decode(entry),
                Algorithm::None => in_clear(entry)
                    .map(|threepid| LookupDigest::of(threepid.address().as_str(), threepid.medium(), &state.pepper)),
            };
            digest.map(|digest| (*entry, digest))
        })
        .collect();
    let digests: Vec<LookupDigest> = entries.iter().map(|(_, digest)| *digest).collect();
    let found = if digests.is_empty() {
        HashMap::new()
    } else {
        state.store.read(async move |conn| associations::list_by_digest(conn, &digests, now).await).await?
    };
    let mappings: HashMap<&str, String> = entries
        .into_iter()
        .filter_map(|(entry, digest)| found.get(&digest).map(|mxid| (entry, mxid.clone())))
        .collect();
    metrics::counter!("identity_lookups_total", "algorithm" => algorithm.as_str()).increment(1);
    count("found", mappings.len());
    count("not_found", lookup.addresses.len().saturating_sub(mappings.len()));
    Ok(mappings)
}

/// `<address> <medium>`; what is neither matches nothing.
fn in_clear(entry: &str) -> Option<ThreePid> {
    let (address, medium) = entry.rsplit_once(' ')?;
    let medium: Medium = medium.parse().ok()?;
    ThreePid::canonical(medium, address).ok()
}

fn count(result: &'static str, number: usize) {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    metrics::counter!("identity_lookup_addresses_total", "result" => result).increment(number);
}
