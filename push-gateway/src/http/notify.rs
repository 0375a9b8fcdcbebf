//! `POST /_matrix/push/v1/notify`, and `GET /health`.
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
//!
//! Invariant: a body that is refused is refused as a whole, before anything is sent to any device.

use std::sync::Arc;

use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde::Serialize;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::http::endpoint::{endpoint, not_found};
use shared::http::observe::Told;
use shared::http::operations::health;

use crate::delivery::state::State;
use crate::delivery::{admit, dispatch};
use crate::http::error::{Error, Owed};
use crate::notification::parse::{Request, parse};

/// The answer if nothing is owed to any device.
#[derive(Serialize)]
struct Answer {
    /// Pushkeys that are dead, in the order of the request, each once, exactly as received.
    rejected: Vec<String>,
}

/// Registers every endpoint.
pub(crate) fn configure(config: &mut ServiceConfig) {
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
pub(crate) async fn notify(state: Data<State>, request: HttpRequest, body: Body) -> Result<HttpResponse, Error> {
    let bytes = body.bytes()?;
    // From here to the answer the request sees one configuration, whatever is read again meanwhile.
    let setup = state.setup();
    let client = client_address(&request);
    let place = setup.in_flight.clone().try_acquire_owned().map_err(|_| Owed::OVERLOADED)?;
    admit(&state, &setup, client)?;
    let Request { notification, mut devices } = parse(bytes, setup.config.limits.max_devices)?;
    for device in &mut devices {
        let sends_counts = setup.apps.find(&device.app_id).is_none_or(|app| app.delivering.send_badge_counts);
        device.counts_disabled |= !sends_counts;
    }
    let answer = dispatch(&state, setup.clone(), Arc::new(notification), devices, client, place).await;
    request.extensions_mut().insert(Told);
    Ok(HttpResponse::Ok().json(Answer { rejected: answer? }))
}

#[cfg(test)]
mod tests;
