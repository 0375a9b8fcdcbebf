//! Which homeserver is asking: a request signed with `Authorization: X-Matrix` in the name of a user.
//!
//! Invariant: a homeserver speaks for its own users alone, and nobody is asked for keys before that is certain; the
//! signature covers the body, so a replay can only do again what was done.

use std::net::IpAddr;

use serde_json::Value;

use crate::domain::x_matrix::{Malformed, SignedRequest, XMatrix};
use crate::error::Error;
use crate::limits::{self, Verdict};
use crate::state::State;

/// A request as it came, with the `X-Matrix` headers in it. A homeserver sends one for each of its keys.
pub struct Request<'a> {
    /// The headers: at least one, or there would be nothing to look at.
    pub headers: &'a [Result<XMatrix, Malformed>],
    /// Path and query.
    pub target: &'a str,
    /// The body.
    pub content: &'a Value,
    /// Who sends it.
    pub client: IpAddr,
}

/// Finds that the homeserver of `mxid` has signed `request` for us. One good header is enough.
///
/// # Errors
/// [`Error::WrongDestination`], [`Error::NotSigned`]; [`Error::LimitExceeded`] if the client has had too many homeservers
/// asked; [`Error::Keys`] if the homeserver's keys cannot be had.
pub async fn authenticate_homeserver(state: &State, request: &Request<'_>, mxid: &str) -> Result<(), Error> {
    let ours = &state.identity.destinations;
    let refuse = |reason| Error::NotSigned { reason, expected: ours.foremost().to_owned() };

    let readable: Vec<&XMatrix> = request.headers.iter().filter_map(|header| header.as_ref().ok()).collect();
    if readable.is_empty() {
        return Err(refuse("The X-Matrix header is malformed"));
    }
    let for_us: Vec<&XMatrix> = readable.into_iter().filter(|header| header.is_for(ours)).collect();
    if for_us.is_empty() {
        return Err(Error::WrongDestination { expected: ours.foremost().to_owned() });
    }
    // They are all of one homeserver then.
    let mut candidates: Vec<&XMatrix> = for_us.into_iter().filter(|header| header.speaks_for(mxid)).collect();
    let Some(server) = candidates.first().map(|header| header.server()) else {
        return Err(refuse("The mxid is not a user of the origin"));
    };
    if !state.config.registration.access().permits(server.as_str()) {
        return Err(refuse("Homeservers of this name may not use this server"));
    }
    let signed = SignedRequest::post(request.target, request.content)
        .map_err(|_| refuse("The body has a number that cannot be signed"))?;

    candidates.retain(|header| header.key_id().starts_with("ed25519:"));
    if candidates.is_empty() {
        return Err(refuse("The key is not an ed25519 key"));
    }
    let wanted: Vec<&str> = candidates.iter().map(|header| header.key_id()).collect();
    if !state.server_keys.is_known(server, &wanted).await {
        let now = state.clock.now();
        let charged = limits::charge_for_question(&state.store, &state.config.limits, request.client, now);
        if let Verdict::Refused { retry_after } = charged.await? {
            return Err(Error::LimitExceeded(retry_after));
        }
    }
    let keyring = state.server_keys.find(server, &wanted).await?;
    let known = || candidates.iter().filter_map(|header| Some((header, keyring.find(header.key_id())?)));
    if known().any(|(header, key)| header.is_signed(&signed, ours, key)) {
        return Ok(());
    }
    match known().next() {
        Some(_) => Err(refuse("The signature does not fit the request")),
        None => Err(refuse("The origin has no such key")),
    }
}
