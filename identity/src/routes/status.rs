//! `GET /_matrix/identity/versions`, `GET /_matrix/identity/v2` (ping).
//! <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityversions>
//!
//! Invariant: neither needs an account or the database.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;

use crate::config::legacy_v1::Profile;
use crate::state::State;

/// The last minor version of the specification that is served; every one since v1.1 is.
const LATEST_MINOR: u32 = 19;

/// The versions of the API that v1.1 removed; a server that has only some of it does not speak them.
const LEGACY: [&str; 4] = ["r0.1.0", "r0.2.0", "r0.2.1", "r0.3.0"];

/// `GET /_matrix/identity/versions`
pub async fn versions(state: Data<State>) -> HttpResponse {
    let is_legacy_full = state.config.legacy_v1.profile == Profile::Full;
    let legacy = LEGACY.iter().filter(|_| is_legacy_full).map(|&version| version.to_owned());
    let versions: Vec<String> = legacy.chain((1..=LATEST_MINOR).map(|minor| format!("v1.{minor}"))).collect();
    HttpResponse::Ok().json(json!({ "versions": versions }))
}

/// `GET /_matrix/identity/v2`
pub async fn ping() -> HttpResponse {
    HttpResponse::Ok().json(json!({}))
}
