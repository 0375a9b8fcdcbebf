//! What the fake Google answers if nothing is wrong with it.
//!
//! Invariant: the order of the checks is Google's: path, project, credentials, form of the message, device.

use serde_json::{Value, json};
use shared::random::Random;

use super::fault::{self, Fault, Reply};
use super::world::{Target, World};
use super::{METADATA_PATH, Request, TOKEN_PATH, message, token};

/// Keeps the request; gives its number, and the fault that meets it.
pub(super) fn fault(world: &World, request: &Request) -> (usize, Option<Fault>) {
    let mut targets = Vec::new();
    if is_token_path(request) {
        targets.push(Target::Tokens);
    } else if request.target.ends_with("/messages:send") {
        targets.push(Target::Messages);
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        targets.extend(body.as_ref().and_then(message::pushkey).map(|pushkey| Target::Pushkey(pushkey.to_owned())));
    }
    let mut state = world.state();
    state.requests.push(request.clone());
    (state.requests.len() - 1, state.next_fault(&targets, request))
}

/// The right answer.
pub(super) fn answer(world: &World, request: &Request) -> Reply {
    let path = request.target.split('?').next().unwrap_or_default();
    let send = path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    let fault = match (request.method.as_str(), path, send) {
        ("POST", TOKEN_PATH, _) => issue(world, token::check(&world.clock, &world.authority_of_tokens, request)),
        ("GET", METADATA_PATH, _) => issue(world, token::check_metadata(request)),
        ("POST", _, Some(project)) if world.state().projects.contains(project) => send_message(world, project, request),
        _ => Fault::html(404),
    };
    match fault {
        Fault::Reply(reply) => reply,
        other => unreachable!("{other:?} is no answer"),
    }
}

fn is_token_path(request: &Request) -> bool {
    matches!(request.target.split('?').next(), Some(TOKEN_PATH | METADATA_PATH))
}

fn issue(world: &World, checked: Result<(), (&'static str, String)>) -> Fault {
    if let Err((error, description)) = checked {
        return Fault::json(400, json!({"error": error, "error_description": description}));
    }
    let token = format!("ya29.c.{}", Random.base62(120));
    let mut state = world.state();
    let lifetime = state.token_lifetime;
    state.tokens.insert(token.clone(), world.clock.now().plus(lifetime));
    Fault::json(200, json!({"access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer"}))
}

fn send_message(world: &World, project: &str, request: &Request) -> Fault {
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let end = token.and_then(|token| world.state().tokens.get(token).copied());
    if end.is_none_or(|end| end <= world.clock.now()) {
        return Fault::unauthenticated()
            .with_header("www-authenticate", "Bearer realm=\"https://accounts.google.com/\"");
    }
    let is_json = request.header("content-type").is_some_and(|value| value.starts_with("application/json"));
    let Some(body) = serde_json::from_slice::<Value>(&request.body).ok().filter(|_| is_json) else {
        return Fault::json(400, fault::error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.", &[]));
    };
    if let Err((field, text)) = message::check(&body) {
        return Fault::json(400, fault::invalid_argument(&field, &text));
    }
    let is_gone = message::pushkey(&body).is_some_and(|pushkey| world.state().unregistered.contains(pushkey));
    if is_gone {
        return Fault::unregistered();
    }
    Fault::json(
        200,
        json!({"name": format!("projects/{project}/messages/0:{}%{}", Random.digits(16), Random.digits(16))}),
    )
}
