//! Looks up the users of addresses: by hash, or in clear where the operator allows it.
//!
//! Invariant: both algorithms and the legacy API run the same query, so their results agree.

use std::collections::HashMap;
use std::net::IpAddr;

use serde_json::{Map, Value};
use shared::clock::Timestamp;
use shared::secret::Secret;

use crate::config::rules::Algorithm;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::limits::LimitKey;
use crate::state::State;
use crate::store::associations;

/// The request of a client.
pub struct Lookup<'a> {
    /// The algorithm of the entries, as the client names it.
    pub algorithm: &'a str,
    /// The pepper of the hashes.
    pub pepper: &'a str,
    /// The entries: hashes, or addresses in clear.
    pub addresses: Vec<&'a str>,
}

/// The entries with an association, each exactly as requested, and their users.
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
    state.lookup_quota.charge(LimitKey::Account(account), &lookup.addresses, now).map_err(Error::LimitExceeded)?;

    let entries: Vec<(&str, LookupDigest)> = lookup
        .addresses
        .iter()
        .filter_map(|entry| {
            let digest = match algorithm {
                Algorithm::Sha256 => LookupDigest::decode(entry),
                Algorithm::None => in_clear(entry).map(|threepid| digest(state, &threepid)),
            };
            digest.map(|digest| (*entry, digest))
        })
        .collect();
    let found = find(state, entries.iter().map(|(_, digest)| *digest).collect(), now).await?;
    let mappings: HashMap<&str, String> = entries
        .into_iter()
        .filter_map(|(entry, digest)| found.get(&digest).map(|mxid| (entry, mxid.clone())))
        .collect();
    record_metrics(algorithm, lookup.addresses.len(), mappings.len());
    Ok(mappings)
}

/// The pairs of medium and address with an association, each exactly as requested, and their users. For the legacy API,
/// which has no accounts and no hashes.
///
/// # Errors
/// [`Error::TooManyAddresses`], [`Error::LimitExceeded`].
pub async fn look_up_pairs<'a>(
    state: &State,
    client: IpAddr,
    pairs: &[(&'a str, &'a str)],
) -> Result<Vec<(&'a str, &'a str, String)>, Error> {
    if pairs.len() > state.config.lookup.max_addresses {
        return Err(Error::TooManyAddresses);
    }
    let threepids: Vec<Option<ThreePid>> = pairs.iter().map(|(medium, address)| threepid(medium, address)).collect();
    let now = state.clock.now();
    charge(state, client, threepids.iter().flatten(), now)?;
    let digests: Vec<Option<LookupDigest>> = threepids.iter().map(|t| Some(digest(state, t.as_ref()?))).collect();
    let found = find(state, digests.iter().flatten().copied().collect(), now).await?;
    let users: Vec<(&str, &str, String)> = pairs
        .iter()
        .zip(digests)
        .filter_map(|((medium, address), digest)| Some((*medium, *address, found.get(&digest?)?.clone())))
        .collect();
    record_metrics(Algorithm::None, pairs.len(), users.len());
    Ok(users)
}

/// The association of an address with a new signature, for the legacy API.
///
/// # Errors
/// [`Error::LimitExceeded`].
pub async fn look_up_association(
    state: &State,
    client: IpAddr,
    medium: &str,
    address: &str,
) -> Result<Option<Map<String, Value>>, Error> {
    let now = state.clock.now();
    let found = match threepid(medium, address) {
        Some(threepid) => {
            charge(state, client, [&threepid], now)?;
            state.store.read(async move |conn| associations::find(conn, &threepid).await).await?
        }
        None => None,
    };
    let signed = match found.filter(|association| association.is_valid(now)) {
        Some(association) => {
            let mut signed = association.to_json();
            state.keys.load().sign(&mut signed).map_err(|error| Error::Internal(error.to_string()))?;
            Some(signed)
        }
        None => None,
    };
    record_metrics(Algorithm::None, 1, usize::from(signed.is_some()));
    Ok(signed)
}

/// Charges the addresses, in canonical form, to the quota that also counts the client's invitations.
fn charge<'a>(
    state: &State,
    client: IpAddr,
    threepids: impl IntoIterator<Item = &'a ThreePid>,
    now: Timestamp,
) -> Result<(), Error> {
    let entries: Vec<&str> = threepids.into_iter().map(|threepid| threepid.address().as_str()).collect();
    state.lookup_quota.charge(LimitKey::Client(client), &entries, now).map_err(Error::LimitExceeded)
}

async fn find(
    state: &State,
    digests: Vec<LookupDigest>,
    now: Timestamp,
) -> Result<HashMap<LookupDigest, String>, Error> {
    if digests.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(state.store.read(async move |conn| associations::list_by_digest(conn, &digests, now).await).await?)
}

/// Parses `<address> <medium>`; an invalid entry matches nothing.
fn in_clear(entry: &str) -> Option<ThreePid> {
    let (address, medium) = entry.rsplit_once(' ')?;
    threepid(medium, address)
}

fn threepid(medium: &str, address: &str) -> Option<ThreePid> {
    let medium: Medium = medium.parse().ok()?;
    ThreePid::canonical(medium, address).ok()
}

fn digest(state: &State, threepid: &ThreePid) -> LookupDigest {
    LookupDigest::of(threepid.address().as_str(), threepid.medium(), &state.pepper)
}

fn record_metrics(algorithm: Algorithm, requested: usize, found: usize) {
    metrics::counter!("identity_lookups_total", "algorithm" => algorithm.as_str()).increment(1);
    count("found", found);
    count("not_found", requested.saturating_sub(found));
}

fn count(result: &'static str, number: usize) {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    metrics::counter!("identity_lookup_addresses_total", "result" => result).increment(number);
}
