//! `POST /wp/{app}`: makes the URL of a push resource.
//!
//! Invariant: it needs no authentication, because a URL is useless without the homeserver's private key.

use actix_web::http::header::{CONTENT_ENCODING, HeaderValue, LOCATION, ORIGIN};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::http::observe::AlreadyLogged;

use super::refusal::{IDENTITY, Refusal};
use super::{BODY_TIMEOUT, UNKNOWN, content_length};
use crate::delivery::push_resource::{self, NoUrl, Subscription, is_app_id};
use crate::delivery::relay::Relay;
use crate::delivery::state::{Setup, State};
use crate::http::network::{NETWORK, SITE, network};
use crate::relay::body::LARGEST;

/// `POST /wp/{app}`
pub(super) async fn subscribe(
    state: &State,
    setup: &Setup,
    relay: &Relay,
    request: &HttpRequest,
    body: Body,
    app_id: &str,
) -> HttpResponse {
    let app = setup.apps.find(app_id).map_or(UNKNOWN, |app| app.pattern.as_str());
    let result = url(state, setup, relay, request, body, app_id).await;
    let (response, label) = match result {
        Ok(url) => {
            let mut response = HttpResponse::Created();
            response.insert_header((LOCATION, url.as_str()));
            (response.json(json!({ "url": url })), "created")
        }
        Err(refusal) => {
            let label = match refusal {
                Refusal::Limited(_) => "limited",
                Refusal::Unavailable(..) => "unavailable",
                _ => "refused",
            };
            (refusal.response(), label)
        }
    };
    let labels = [("app", app.to_owned()), ("result", label.to_owned())];
    metrics::counter!("push_relay_subscriptions_total", &labels).increment(1);
    let code = response.status().as_u16();
    tracing::info!(app, code, client = %client_address(request), "push resource requested");
    request.extensions_mut().insert(AlreadyLogged);
    response
}

async fn url(
    state: &State,
    setup: &Setup,
    relay: &Relay,
    request: &HttpRequest,
    body: Body,
    app_id: &str,
) -> Result<String, Refusal> {
    if request.headers().contains_key(ORIGIN) {
        return Err(Refusal::Browser);
    }
    let (client, now) = (client_address(request), state.clock.now());
    let _permit = setup.in_flight.enter(state.device_keys.client(&network(client, SITE)))?;
    if !is_app_id(app_id) {
        return Err(Refusal::Subscription(NoUrl::UnknownApp));
    }
    if content_length(request).is_some_and(|length| length > LARGEST as u64) {
        return Err(Refusal::TooLarge);
    }
    let mut codings = request.headers().get_all(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if codings.any(|coding| !coding.trim_ascii().eq_ignore_ascii_case(IDENTITY.as_bytes())) {
        return Err(Refusal::Compressed);
    }
    let network = || state.device_keys.client(&network(client, NETWORK));
    relay.subscribe_per_ip.charge(network, now).map_err(Refusal::Limited)?;
    if setup.apps.find(app_id).is_none_or(|app| !app.has_relay()) {
        return Err(Refusal::Subscription(NoUrl::UnknownApp));
    }
    let received = body.read_within(LARGEST, BODY_TIMEOUT).await;
    let members: Value = serde_json::from_slice(received.bytes()?).map_err(|_| Refusal::NotJson)?;
    let invalid = |error: NoUrl| Refusal::Subscription(error);
    let members = members.as_object().ok_or_else(|| invalid(NoUrl::Token))?;
    let text = |name: &str, error: NoUrl| optional_text(members, name).map_err(|()| invalid(error));
    let subscription = Subscription {
        app_id,
        token: text("token", NoUrl::Token)?.ok_or_else(|| invalid(NoUrl::Token))?,
        vapid: text("vapid", NoUrl::Vapid)?,
        chid: text("chid", NoUrl::Chid)?.unwrap_or_default(),
    };
    push_resource::url(state, relay, &setup.apps, subscription).map_err(invalid)
}

/// A member that is a text; `null` counts as missing.
fn optional_text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, ()> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(()),
    }
}
