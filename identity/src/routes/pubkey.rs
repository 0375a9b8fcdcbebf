//! `GET /_matrix/identity/v2/pubkey/{keyId}`, `GET …/pubkey/isvalid`, `GET …/pubkey/ephemeral/isvalid`, and the same under
//! `/_matrix/identity/api/v1`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#key-management>
//!
//! Invariant: anyone may ask; homeservers check invites with it.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::input;
use crate::error::Error;
use crate::signing_keys::decode_queried_key;
use crate::state::State;
use crate::store::ephemeral_keys;

/// `GET /pubkey/{keyId}`
///
/// # Errors
/// [`Error::KeyNotFound`].
pub async fn pubkey(state: Data<State>, key_id: Path<String>) -> Result<HttpResponse, Error> {
    let public_key = state.keys.read().public_key(&key_id).ok_or(Error::KeyNotFound)?;
    Ok(HttpResponse::Ok().json(json!({ "public_key": public_key })))
}

/// `GET /pubkey/isvalid`
///
/// # Errors
/// A missing `public_key`; one that is none is merely not valid.
pub async fn is_valid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    let valid = state.keys.read().is_valid(query.string("public_key")?);
    Ok(HttpResponse::Ok().json(json!({ "valid": valid })))
}

/// `GET /pubkey/ephemeral/isvalid`: a key of an invitation, also when it has long been accepted.
///
/// # Errors
/// As for [`is_valid`], and those of the store.
pub async fn is_ephemeral_valid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    let (public_key, now) = (decode_queried_key(query.string("public_key")?), state.clock.now());
    let valid = match public_key {
        Some(key) => state.store.read(async move |conn| ephemeral_keys::is_valid(conn, &key, now).await).await?,
        None => false,
    };
    Ok(HttpResponse::Ok().json(json!({ "valid": valid })))
}
