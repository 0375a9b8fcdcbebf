//! `GET /_matrix/identity/v2/pubkey/{keyId}`, `GET …/pubkey/isvalid`, `GET …/pubkey/ephemeral/isvalid`, and the same under
//! `/_matrix/identity/api/v1`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#key-management>
//!
//! Invariant: no route here needs an account, because homeservers verify invitations with it.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;

use super::input;
use crate::error::Error;
use crate::flows::check_ephemeral_key::check_ephemeral_key;
use crate::state::State;

/// `GET /pubkey/{keyId}`
pub async fn pubkey(state: Data<State>, key_id: Path<String>) -> Result<HttpResponse, Error> {
    let public_key = state.keys.public_key(&key_id).ok_or(Error::KeyNotFound)?;
    Ok(HttpResponse::Ok().json(json!({ "public_key": public_key })))
}

/// `GET /pubkey/isvalid`: a key of this server. A `public_key` that is not a key is not valid.
pub async fn is_valid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    let valid = state.keys.is_valid(query.string("public_key")?);
    Ok(HttpResponse::Ok().json(json!({ "valid": valid })))
}

/// `GET /pubkey/ephemeral/isvalid`: a key of an invitation.
pub async fn is_ephemeral_valid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    let valid = check_ephemeral_key(&state, query.string("public_key")?).await?;
    Ok(HttpResponse::Ok().json(json!({ "valid": valid })))
}
