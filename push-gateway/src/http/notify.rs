//! `POST /_matrix/push/v1/notify`, and `GET /health`.
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
//!
//! Invariant: a refused body is refused as a whole, before anything is sent to any device.

use std::time::Instant;

use actix_web::guard::fn_guard;
use actix_web::http::Method;
use actix_web::http::header::ORIGIN;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::http::endpoint::{endpoint, not_found};
use shared::http::observe::{AlreadyLogged, milliseconds};
use shared::http::operations::health;

use super::discovery::{discover, is_gateway};
use super::error::Error;
use super::network::{NETWORK, SITE, network};
use super::relay;
use super::vapid::vapid;
use crate::delivery::state::State;
use crate::delivery::{Caller, deliver};
use crate::notification::Device;
use crate::notification::memory::memory;
use crate::notification::parse::{Request, parse_forwarding};
use crate::providers::log_throttle::escaped;
use crate::providers::outcome::Failure;

/// The body of a 200: every event was delivered or never can be.
#[derive(Serialize)]
struct NotifyResponse {
    /// The dead pushkeys in the order of the request, each once, exactly as received.
    rejected: Vec<String>,
}

/// Registers every endpoint.
pub(crate) fn configure(config: &mut ServiceConfig) {
    config
        .service(endpoint("/_matrix/push/v1/notify").guard(fn_guard(is_gateway)).get(discover).post(notify))
        .service(endpoint("/_matrix/push/v1/notify").post(notify))
        .service(endpoint("/_matrix/push/v1/notify/").post(notify))
        .service(endpoint("/_push/v1/vapid").get(vapid))
        .configure(relay::configure)
        .service(endpoint("/health").get(health))
        .default_service(web::to(unknown_path));
}

/// The 404 of every other path. A homeserver with a wrong URL, or a proxy that adds a prefix, ends here: one line a minute.
async fn unknown_path(state: Data<State>, request: HttpRequest, method: Method) -> HttpResponse {
    if state.unknown_path_log.allow(state.clock.now()) {
        let path = without_secrets(request.path());
        tracing::warn!(%path, "request for an unknown path: homeservers post to /_matrix/push/v1/notify");
    }
    not_found(method).await
}

/// A path for a log: a part of it that could be a token or a pushkey is left out.
fn without_secrets(path: &str) -> String {
    /// Longer than the parts of the gateway's paths, shorter than any pushkey.
    const LONGEST: usize = 16;
    let part = |part: &str| if part.len() > LONGEST { "…".to_owned() } else { escaped(part) };
    escaped(&path.split('/').map(part).collect::<Vec<_>>().join("/"))
}

/// `POST /_matrix/push/v1/notify`
///
/// # Errors
/// [`Error`]; what room members write never causes one.
async fn notify(state: Data<State>, request: HttpRequest, body: Body) -> Result<HttpResponse, Error> {
    if request.headers().contains_key(ORIGIN) {
        return Err(Error::Browser);
    }
    // From here to the response the request sees one configuration.
    let setup = state.setup();
    let client = client_address(&request);
    let site = state.device_keys.client(&network(client, SITE));
    let mut permit = setup.in_flight.enter(site)?;
    let (network, now) = (state.device_keys.client(&network(client, NETWORK)), state.clock.now());
    setup.per_ip.charge(|| network, now).map_err(Failure::rate_limited)?;
    let is_forwarded = |device: &Device| setup.apps.find(&device.app_id).is_some_and(|app| app.forwards());
    let max_devices = setup.config.limits.max_devices;
    // The body ends here: a delivery may take as long as a push service does.
    let Request { notification, mut devices } =
        parse_forwarding(body.read().await.bytes()?, max_devices, is_forwarded)?;
    permit.add_devices(devices.len(), memory(&notification, &devices))?;
    setup.devices_per_ip.charge_all(|| network, devices.len(), now).map_err(Failure::rate_limited)?;
    for device in &mut devices {
        let sends_counts = setup.apps.find(&device.app_id).is_none_or(|app| app.own.delivery.send_badge_counts);
        device.counts_disabled |= !sends_counts;
    }
    let began = Instant::now();
    let outcomes = deliver(&state, &setup, notification, devices, Caller { site, peer: site }, permit).await;
    let response = outcomes.merge().map_err(Error::from);
    tracing::info!(
        devices = outcomes.devices(),
        delivered = outcomes.count("delivered"),
        dropped = outcomes.count("dropped"),
        rejected = outcomes.count("rejected"),
        temporary = outcomes.count("temporary"),
        permanent = outcomes.count("permanent"),
        code = response.as_ref().map_or_else(|error| error.status_code().as_u16(), |_| 200),
        ms = milliseconds(began.elapsed()),
        %client,
        "notified"
    );
    request.extensions_mut().insert(AlreadyLogged);
    Ok(HttpResponse::Ok().json(NotifyResponse { rejected: response? }))
}

#[cfg(test)]
mod tests;
