//! `GET /_matrix/push/v1/notify`: by which a UnifiedPush app finds that this host is a Matrix gateway (UnifiedPush, *Gateway*).
//!
//! Invariant: the endpoint exists only while an app delivers to URLs; otherwise the app must use another gateway.

use actix_web::HttpResponse;
use actix_web::guard::GuardContext;
use actix_web::web::Data;
use serde::Serialize;

use crate::delivery::state::State;

/// The body of a 200.
#[derive(Serialize)]
struct DiscoveryResponse {
    unifiedpush: Gateway,
}

#[derive(Serialize)]
struct Gateway {
    gateway: &'static str,
}

/// Whether an app delivers to URLs.
pub(super) fn is_gateway(context: &GuardContext<'_>) -> bool {
    let state = context.app_data::<Data<State>>();
    state.is_some_and(|state| state.setup().apps.iter().any(|app| app.routes_urls()))
}

/// `GET /_matrix/push/v1/notify`
pub(super) async fn discover() -> HttpResponse {
    HttpResponse::Ok().json(DiscoveryResponse { unifiedpush: Gateway { gateway: "matrix" } })
}
