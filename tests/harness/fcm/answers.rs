//! The responses of the fake FCM, and the faults instead of them.
//!
//! Invariant: the order of the checks is Google's: path, project, credentials, form of the message, device.

use serde_json::{Value, json};
use shared::random::Random;

use super::fault::{self, Fault};
use super::federation::{self, EXCHANGE_PATH, IMPERSONATION_PATH, SUBJECT_PATH};
use super::state::{Target, World};
use super::{METADATA_PATH, PROJECT_PATH, Request, TOKEN_PATH, message, token};
use crate::fake::{Reaction, Recorded, Reply, Service};

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        let lost = match self.fault(&request) {
            Some(fault) => match fault.meet(&request).await {
                Ok(lost) => lost,
                Err(reaction) => return reaction,
            },
            None => None,
        };
        let reply = answer(self, &request);
        if reply.status != 200 {
            return Reaction::Reply(reply);
        }
        request.accept();
        lost.map_or(Reaction::Reply(reply), Reaction::from)
    }
}

impl World {
    /// The fault that meets the request.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let faults = &mut self.state().faults;
        let step = match request.path() {
            TOKEN_PATH | METADATA_PATH => Some(Target::Tokens),
            SUBJECT_PATH => Some(Target::Subject),
            EXCHANGE_PATH => Some(Target::Exchange),
            IMPERSONATION_PATH => Some(Target::Impersonation),
            _ => None,
        };
        if let Some(step) = step {
            return faults.next(|target| *target == step);
        }
        if !request.target.ends_with("/messages:send") {
            return None;
        }
        let pushkey = request.pushkey().map(Target::Pushkey);
        faults.next_or_direct(request, |target| *target == Target::Messages || Some(target) == pushkey.as_ref())
    }
}

/// The right response.
fn answer(world: &World, request: &Request) -> Reply {
    let path = request.path();
    let send = path.strip_prefix("/v1/projects/").and_then(|rest| rest.strip_suffix("/messages:send"));
    let fault = match (request.method.as_str(), path, send) {
        ("POST", TOKEN_PATH, _) => issue(world, token::check(&world.clock, &world.token_uri, request)),
        ("GET", METADATA_PATH, _) => {
            issue(world, token::check_metadata(request)).with_header("metadata-flavor", "Google")
        }
        ("GET", PROJECT_PATH, _) if request.header("metadata-flavor") == Some("Google") => {
            Fault::reply(200, "demo-project").with_header("metadata-flavor", "Google")
        }
        ("GET", SUBJECT_PATH, _) => federation::subject(world, request),
        ("POST", EXCHANGE_PATH, _) => federation::exchange(world, request),
        ("POST", IMPERSONATION_PATH, _) => federation::impersonate(world, request),
        ("POST", _, Some(project)) if world.state().projects.contains(project) => send_message(world, project, request),
        _ => Fault::html(404),
    };
    match fault {
        Fault::Reply(reply) => reply,
        other => unreachable!("{other:?} is no answer"),
    }
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
