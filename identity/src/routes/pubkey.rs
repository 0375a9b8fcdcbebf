//! `GET /_matrix/identity/v2/pubkey/{keyId}`, `GET /_matrix/identity/v2/pubkey/isvalid`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#key-management>
//!
//! Invariant: anyone may ask; homeservers check invites with it.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::input;
use crate::error::Error;
use crate::state::State;

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
