//! `GET /_matrix/identity/versions`, `GET /_matrix/identity/v2` (ping).
//! <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityversions>
//!
//! Invariant: both work without an account and without the database.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use crate::state::State;

/// The last minor version of the specification that this server implements; it implements each since v1.1.
const LATEST_MINOR: u32 = 19;

/// `GET /_matrix/identity/versions`
pub async fn versions(state: Data<State>) -> HttpResponse {
    let legacy = state.config.legacy_v1.versions().iter().map(|&version| version.to_owned());
    let versions: Vec<String> = legacy.chain((1..=LATEST_MINOR).map(|minor| format!("v1.{minor}"))).collect();
    HttpResponse::Ok().json(json!({ "versions": versions }))
}

/// `GET /_matrix/identity/v2`
pub async fn ping() -> HttpResponse {
    HttpResponse::Ok().json(json!({}))
}
