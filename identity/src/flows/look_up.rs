//! Looks up the users of addresses: by hash, or in clear where the operator allows it.
//!
//! Invariant: both algorithms and the legacy API run the same query, so their results agree.

use std::net::IpAddr;

use serde_json::{Map, Value};
use shared::clock::Timestamp;
use shared::secret::Secret;

use crate::config::rules::Algorithm;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::domain::pepper::PhasedPepper;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::limits::LimitKey;
use crate::state::State;
use crate::store::StoreError;
use crate::store::associations;
use crate::store::associations::found;

/// The request of a client.
pub struct Lookup<'a> {
    /// The algorithm of the entries, as the client names it.
    pub algorithm: &'a str,
    /// The pepper of the hashes.
    pub pepper: &'a str,
    /// The entries: hashes, or addresses in clear.
    pub addresses: Vec<&'a str>,
}

/// Calls `found` with each entry that has an association, exactly as requested, and its user. An entry that is repeated
/// may be reported again.
///
/// # Errors
/// [`Error::InvalidParam`] for an algorithm that is not offered, [`Error::TooManyAddresses`],
/// [`Error::InvalidPepper`], [`Error::LimitExceeded`].
pub async fn look_up<'a>(
    state: &State,
    account: &UserId,
    lookup: &Lookup<'a>,
    mut found: impl FnMut(&'a str, &str),
) -> Result<(), Error> {
    let settings = &state.config.lookup;
    let offered = settings.algorithms.as_slice().iter().find(|offered| offered.as_str() == lookup.algorithm);
    let Some(&algorithm) = offered else {
        return Err(Error::InvalidParam("This algorithm is not offered: see hash_details".to_owned()));
    };
    if lookup.addresses.len() > settings.max_addresses {
        return Err(Error::TooManyAddresses);
    }
    let peppers = state.memory.peppers_or_read(&state.store).await?;
    let Some(pepper) = peppers.accepted(lookup.pepper) else {
        let current = Secret::new(peppers.current().pepper.expose().to_owned());
        return Err(Error::InvalidPepper { current });
    };
    let now = state.clock.now();
    let mut entries = Vec::with_capacity(lookup.addresses.len());
    let mut digests = Vec::with_capacity(lookup.addresses.len());
    for entry in &lookup.addresses {
        let digest = match algorithm {
            Algorithm::Sha256 => LookupDigest::decode(entry),
            Algorithm::None => in_clear(entry).map(|threepid| digest(pepper, &threepid)),
        };
        if let Some(digest) = digest {
            entries.push(*entry);
            digests.push(digest);
        }
    }
    state.lookup_quota.charge(&state.store, LimitKey::Account(account), &digests, now).await?;
    let mut number = 0;
    find(state, pepper, digests, now, |position, mxid| {
        number += 1;
        found(entries[position], mxid);
    })
    .await?;
    record_metrics(algorithm, lookup.addresses.len(), number);
    Ok(())
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
    let peppers = state.memory.peppers_or_read(&state.store).await?;
    let pepper = peppers.current();
    let (mut known, mut digests) = (Vec::new(), Vec::new());
    for (pair, threepid) in pairs.iter().zip(&threepids) {
        if let Some(threepid) = threepid {
            known.push(*pair);
            digests.push(digest(pepper, threepid));
        }
    }
    state.lookup_quota.charge(&state.store, LimitKey::Client(client), &digests, now).await?;
    let mut users = Vec::new();
    find(state, pepper, digests, now, |position, mxid| {
        let (medium, address) = known[position];
        users.push((medium, address, mxid.to_owned()));
    })
    .await?;
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
            let peppers = state.memory.peppers_or_read(&state.store).await?;
            let digests = [digest(peppers.current(), &threepid)];
            state.lookup_quota.charge(&state.store, LimitKey::Client(client), &digests, now).await?;
            state.store.read(async move |conn| associations::find(conn, &threepid).await).await?
        }
        None => None,
    };
    let signed = match found.filter(|association| association.is_valid(now)) {
        Some(association) => {
            let mut signed = association.to_json();
            state.keys.sign(&mut signed).map_err(|error| Error::Internal(error.to_string()))?;
            Some(signed)
        }
        None => None,
    };
    record_metrics(Algorithm::None, 1, usize::from(signed.is_some()));
    Ok(signed)
}

/// Calls `found` with the position of each digest under `pepper` that has an association, and its user: from memory if it
/// has all associations, otherwise from the database.
async fn find(
    state: &State,
    pepper: &PhasedPepper,
    digests: Vec<LookupDigest>,
    now: Timestamp,
    mut found: impl FnMut(usize, &str),
) -> Result<(), Error> {
    if digests.is_empty() || state.memory.find_users(pepper, &digests, now, &mut found) {
        return Ok(());
    }
    let slot = pepper.slot;
    let read = state.store.read(async move |conn| {
        let rows = found::list_by_digest(conn, slot, &digests).await?;
        Ok::<_, StoreError>((digests, rows))
    });
    let (digests, rows) = read.await?;
    let users = found::users_at(&rows, now);
    for (position, digest) in digests.iter().enumerate() {
        if let Some(row) = users.get(digest) {
            found(position, &row.mxid);
        }
    }
    Ok(())
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

fn digest(pepper: &PhasedPepper, threepid: &ThreePid) -> LookupDigest {
    LookupDigest::of(threepid.address().as_str(), threepid.medium(), &pepper.pepper)
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
