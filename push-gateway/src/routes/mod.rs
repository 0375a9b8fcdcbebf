//! `POST /_matrix/push/v1/notify`, and `GET /health`.
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
//!
//! Invariant: a body that is refused is refused as a whole, before anything is sent to any device.

use std::sync::Arc;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::http::endpoint::{endpoint, not_found};
use shared::http::operations::health;

use crate::dispatch::dispatch;
use crate::error::{Error, Owed};
use crate::notification::parse::{Request, parse};
use crate::state::State;

/// The answer if nothing is owed to any device.
#[derive(Serialize)]
struct Answer {
    /// Pushkeys that are dead, in the order of the request, each once, exactly as received.
    rejected: Vec<String>,
}

/// Registers every endpoint.
pub fn configure(config: &mut ServiceConfig) {
    config
        .service(endpoint("/_matrix/push/v1/notify").post(notify))
        .service(endpoint("/_matrix/push/v1/notify/").post(notify))
        .service(endpoint("/health").get(health))
        .default_service(web::to(not_found));
}

/// `POST /_matrix/push/v1/notify`
///
/// # Errors
/// [`Error`]; nothing of it is caused by what room members write.
pub async fn notify(state: Data<State>, request: HttpRequest, body: Body) -> Result<HttpResponse, Error> {
    let bytes = body.bytes()?;
    let _permit = state.in_flight.try_acquire().map_err(|_| Owed::OVERLOADED)?;
    let Request { notification, mut devices } = parse(bytes, state.config.limits.max_devices)?;
    for device in &mut devices {
        let sends_counts = state.apps.find(&device.app_id).is_none_or(|app| app.delivering.send_badge_counts);
        device.counts_disabled |= !sends_counts;
    }
    let rejected = dispatch(&state, Arc::new(notification), devices, client_address(&request)).await?;
    Ok(HttpResponse::Ok().json(Answer { rejected }))
}

#[cfg(test)]
mod tests;
