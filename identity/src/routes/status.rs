//! `GET /_matrix/identity/versions`, `GET /_matrix/identity/v2` (ping).
//! <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityversions>
//!
//! Invariant: neither needs an account or the database.

use actix_web::HttpResponse;
use serde_json::{Value, json};

/// The last minor version of the specification that is served; every one since v1.1 is.
const LATEST_MINOR: u32 = 19;

/// `GET /_matrix/identity/versions`
pub async fn versions() -> HttpResponse {
    let versions: Vec<Value> = (1..=LATEST_MINOR).map(|minor| json!(format!("v1.{minor}"))).collect();
    HttpResponse::Ok().json(json!({ "versions": versions }))
}

/// `GET /_matrix/identity/v2`
pub async fn ping() -> HttpResponse {
    HttpResponse::Ok().json(json!({}))
}
