//! The right responses, by method and path.
//!
//! Invariant: the fake rejects what a real homeserver rejects, with the same status and errcode.

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use shared::clock::Clock;
use url::form_urlencoded;

use super::{Request, State, World, rooms};
use crate::fake::Reply;

pub(super) async fn answer(world: &World, request: &Request) -> Reply {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let (status, body) = match (request.method.as_str(), path) {
        ("GET", "/_matrix/federation/v1/openid/userinfo") => userinfo(&world.state(), query),
        ("GET", "/_matrix/key/v2/server") => (StatusCode::OK, keys(&world.name, &world.state())),
        (method, rooms::ONBIND) if world.state().rooms.takes_onbind_by(method) => rooms::onbind(world, request).await,
        ("PUT", path) if path.starts_with(rooms::EXCHANGE) => rooms::exchange(world, request).await,
        ("GET", "/_matrix/federation/v1/version") => {
            (StatusCode::OK, json!({"server": {"name": "a fake homeserver", "version": "1"}}))
        }
        _ => (StatusCode::NOT_FOUND, json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"})),
    };
    Reply::json(status.as_u16(), body)
}

/// Server-server API, `GET /_matrix/federation/v1/openid/userinfo`.
fn userinfo(state: &State, query: &str) -> (StatusCode, Value) {
    let token = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "access_token");
    let Some((_, token)) = token else {
        return (StatusCode::UNAUTHORIZED, json!({"errcode": "M_MISSING_TOKEN", "error": "Access token missing"}));
    };
    match state.open_id_tokens.get(token.as_ref()) {
        Some(user_id) => (StatusCode::OK, json!({"sub": user_id})),
        None => {
            let error = json!({"errcode": "M_UNKNOWN_TOKEN", "error": "Access token unknown or expired"});
            (StatusCode::UNAUTHORIZED, error)
        }
    }
}

/// Server-server API, `GET /_matrix/key/v2/server`: signed by the current key.
pub(super) fn keys(name: &str, state: &State) -> Value {
    let now = Clock::system().now();
    let (current, old) = state.keys.split_first().expect("a homeserver has a key");
    let old: Map<_, _> = old
        .iter()
        .map(|key| (key.id().to_owned(), json!({"key": key.public(), "expired_ts": now.as_millis()})))
        .collect();
    let mut document = json!({
        "server_name": name,
        "verify_keys": {current.id(): {"key": current.public()}},
        "old_verify_keys": old,
        "valid_until_ts": now.plus(state.key_lifetime).as_millis(),
    });
    current.sign(name, &mut document);
    document
}
