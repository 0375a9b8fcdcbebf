//! Authenticates the homeserver that signed a request with `Authorization: X-Matrix` for one of its users.
//!
//! Invariant: a homeserver signs for its own users alone, and its keys are fetched only after that is certain.
//!
//! A request has neither a time nor a nonce, and equal requests have equal signatures. So a copy of a header removes the same
//! pair of user and address again, also after a new bind. It cannot be refused: a second unbind by the homeserver has the
//! same bytes.

use std::net::IpAddr;

use serde_json::Value;

use crate::domain::mxid::UserId;
use crate::domain::x_matrix::{Malformed, SignedRequest, XMatrix};
use crate::error::Error;
use crate::limits::{self, RateLimitDecision};
use crate::state::State;

/// A request with `X-Matrix` headers.
pub struct XMatrixRequest<'a> {
    /// At least one header. A homeserver sends one for each of its keys.
    pub headers: &'a [Result<XMatrix, Malformed>],
    /// Path and query.
    pub target: &'a str,
    /// The body.
    pub content: &'a Value,
    /// The body's `mxid`, as written.
    pub mxid: &'a str,
    /// The address of the client.
    pub client: IpAddr,
}

/// Proof that the homeserver of a user signed the request. Only [`authenticate_homeserver`] creates it.
pub struct HomeserverSignature {
    mxid: String,
}

impl HomeserverSignature {
    /// Whether the homeserver signed for this user.
    pub fn is_for(&self, mxid: &UserId) -> bool {
        self.mxid == mxid.as_str()
    }
}

/// Verifies that the homeserver of the request's `mxid` signed the request for this server. One valid header suffices.
///
/// # Errors
/// [`Error::WrongDestination`]; [`Error::NotSigned`]; [`Error::LimitExceeded`] if the client caused too many requests to
/// homeservers; [`Error::Keys`] if the homeserver's keys are not available.
pub async fn authenticate_homeserver(
    state: &State,
    request: &XMatrixRequest<'_>,
) -> Result<HomeserverSignature, Error> {
    let ours = &state.identity.destinations;
    let not_signed = |reason| Error::NotSigned { reason, expected: ours.foremost().to_owned() };

    let parsed: Vec<&XMatrix> = request.headers.iter().filter_map(|header| header.as_ref().ok()).collect();
    if parsed.is_empty() {
        return Err(not_signed("The X-Matrix header is malformed"));
    }
    let for_us: Vec<&XMatrix> = parsed.into_iter().filter(|header| header.is_for(ours)).collect();
    if for_us.is_empty() {
        return Err(Error::WrongDestination { expected: ours.foremost().to_owned() });
    }
    let mut candidates: Vec<&XMatrix> = for_us.into_iter().filter(|header| header.speaks_for(request.mxid)).collect();
    // All candidates have the same origin: the server name in mxid.
    let Some(server) = candidates.first().map(|header| header.server()) else {
        return Err(not_signed("The mxid is not a user of the origin"));
    };
    if !state.config.registration.access().permits(server.as_str()) {
        return Err(not_signed("Homeservers of this name may not use this server"));
    }
    let signed = SignedRequest::post(request.target, request.content)
        .map_err(|_| not_signed("The body has a number that cannot be signed"))?;

    candidates.retain(|header| header.key_id().starts_with("ed25519:"));
    if candidates.is_empty() {
        return Err(not_signed("The key is not an ed25519 key"));
    }
    let key_ids: Vec<&str> = candidates.iter().map(|header| header.key_id()).collect();
    if !state.server_keys.is_known(server, &key_ids).await {
        let now = state.clock.now();
        let charged = limits::charge_homeserver_request(&state.store, &state.config.limits, request.client, now);
        if let RateLimitDecision::Limited { retry_after } = charged.await? {
            return Err(Error::LimitExceeded(retry_after));
        }
    }
    let keyring = state.server_keys.find(server, &key_ids).await?;
    let known = || candidates.iter().filter_map(|header| Some((header, keyring.find(header.key_id())?)));
    if known().any(|(header, key)| header.is_signed(&signed, ours, key)) {
        return Ok(HomeserverSignature { mxid: request.mxid.to_owned() });
    }
    match known().next() {
        Some(_) => Err(not_signed("The signature does not fit the request")),
        None => Err(not_signed("The origin has no such key")),
    }
}
