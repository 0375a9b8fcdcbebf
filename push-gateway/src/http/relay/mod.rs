//! `/wp/…`: push resources (RFC 8030) in front of APNs and FCM, for homeservers that send Web Push (MSC4174).
//!
//! Invariant: without `[relay]` these paths do not exist. A relay that is disabled never answers 404, because homeservers would
//! delete all pushers.

mod push;
mod refusal;
mod seen;
mod subscribe;

use std::time::Duration;

use actix_web::guard::{GuardContext, fn_guard};
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use shared::http::body::Body;
use shared::http::endpoint::not_found;
use shared::http::error::MatrixError;

use self::refusal::Refusal;
use crate::delivery::relay::RelayState;
use crate::delivery::state::State;

/// The time for a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const METHODS: &str = "POST, OPTIONS";

/// `Retry-After` of a relay that is disabled.
const WHILE_DISABLED: Duration = Duration::from_secs(3600);

/// The label of a request without a known app.
const UNKNOWN: &str = "unknown";

/// Registers the paths.
pub(super) fn configure(config: &mut ServiceConfig) {
    config
        // A pattern is matched as a regular expression, which for a token costs as much as its delivery.
        .service(web::scope("/wp").guard(fn_guard(has_relay)).default_service(web::to(resource)))
        .service(web::resource("/wpm/{id}").guard(fn_guard(has_relay)).default_service(web::to(message)));
}

fn has_relay(context: &GuardContext<'_>) -> bool {
    let state = context.app_data::<Data<State>>();
    state.is_some_and(|state| !matches!(state.setup().relay, RelayState::Absent))
}

/// `/wp/{app}` and `/wp/{app}/{token}`
async fn resource(state: Data<State>, request: HttpRequest, method: Method, body: Body) -> HttpResponse {
    let setup = state.setup();
    let relay = match &setup.relay {
        RelayState::Enabled(relay) => relay,
        RelayState::Disabled => return Refusal::Unavailable("The relay is disabled", WHILE_DISABLED).response(),
        RelayState::Absent => return not_found(method).await,
    };
    let Some(path) = request.match_info().unprocessed().strip_prefix('/').map(str::to_owned) else {
        return not_found(method).await;
    };
    let (app_id, token) = match path.split_once('/') {
        None => (path.as_str(), None),
        Some((_, token)) if token.contains('/') => return not_found(method).await,
        Some((app_id, token)) => (app_id, Some(token)),
    };
    match (method, token) {
        (Method::POST, Some(token)) => push::push(&state, &setup, relay, &request, body, app_id, token).await,
        (Method::POST, None) => subscribe::subscribe(&state, &setup, relay, &request, body, app_id).await,
        (Method::OPTIONS, _) => HttpResponse::Ok().insert_header((ALLOW, METHODS)).finish(),
        _ => MatrixError::method_not_allowed(METHODS).error_response(),
    }
}

/// `/wpm/{id}`, the `Location` of a push: messages are not kept.
async fn message() -> HttpResponse {
    Refusal::NotFound("Messages are not kept").response()
}

/// The announced length of the body.
fn content_length(request: &HttpRequest) -> Option<u64> {
    request.headers().get("content-length")?.to_str().ok()?.parse().ok()
}
