//! The responses of the fake Push Kit, and the faults instead of them.
//!
//! Invariant: the order of the checks is Huawei's: path, credentials, form of the message.

use serde_json::json;
use shared::random::Random;

use super::message::{self, check_v1, check_v3};
use super::token::{self, check_signed};
use super::{APP, Fault, PROJECT, Request, TOKEN_PATH, Target, World};
use crate::fake::{Reaction, Recorded, Reply, Service};

impl Service for World {
    async fn react(&self, request: Recorded<'_>) -> Reaction {
        match self.fault(&request) {
            Some(Fault::Reply(reply)) => return Reaction::Reply(reply),
            Some(Fault::Silence) => return Reaction::Silence,
            Some(Fault::Close) => return Reaction::Close,
            None => {}
        }
        match answer(self, &request) {
            Ok(reply) => {
                request.accept();
                Reaction::Reply(reply)
            }
            Err(reply) => Reaction::Reply(reply),
        }
    }
}

impl World {
    /// The fault that meets the request.
    fn fault(&self, request: &Request) -> Option<Fault> {
        let faults = &mut self.state().faults;
        if request.path() == TOKEN_PATH {
            return faults.next(|target| *target == Target::Tokens);
        }
        let pushkey = message::pushkey(request).map(Target::Pushkey);
        faults.next(|target| *target == Target::Messages || Some(target) == pushkey.as_ref())
    }
}

/// The right response; that of a refused request as an error.
fn answer(world: &World, request: &Request) -> Result<Reply, Reply> {
    let bearer = request.header("authorization").and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
    let path = request.path();
    if request.method != "POST" {
        return Err(Reply::new(405, ""));
    }
    if path == TOKEN_PATH {
        return issue(world, request);
    }
    let checked = if path == format!("/v3/{PROJECT}/messages:send") {
        let mut state = world.state();
        if state.expired.contains(bearer) {
            return Err(reply(401, "80200005", "token expired"));
        }
        check_signed(&world.clock, bearer).map_err(|code| reply(401, code, "token"))?;
        state.signed.insert(bearer.to_owned());
        check_v3(request)
    } else if path == format!("/v1/{APP}/messages:send") {
        let end = world.state().tokens.get(bearer).copied();
        if end.is_none_or(|end| end <= world.clock.now()) {
            return Err(reply(401, "80200003", "OAuth token expired"));
        }
        check_v1(request)
    } else {
        return Err(Reply::of_type(404, "text/html", "<html><body>404 page not found</body></html>"));
    };
    checked.map_err(|(code, what)| reply(400, code, &what))?;
    Ok(reply(200, "80000000", "Success"))
}

fn issue(world: &World, request: &Request) -> Result<Reply, Reply> {
    token::check_request(request).map_err(|(error, description)| {
        Reply::json(400, json!({ "sub_error": 20_044, "error_description": description, "error": error }))
    })?;
    let token = format!("DAEDAN/{}/{}==", Random.base62(40), Random.base62(40));
    let mut state = world.state();
    let lifetime = state.token_lifetime;
    state.tokens.insert(token.clone(), world.clock.now().plus(lifetime));
    // Huawei escapes each slash.
    let token = token.replace('/', "\\/");
    let body = format!(r#"{{"access_token":"{token}","expires_in":{},"token_type":"Bearer"}}"#, lifetime.as_secs());
    Ok(Reply::of_type(200, "application/json", body))
}

fn reply(status: u16, code: &str, message: &str) -> Reply {
    let request_id = Random.digits(24);
    Reply::json(status, json!({ "code": code, "msg": message, "requestId": request_id }))
}
