//! The first steps of every story about addresses: registration and the terms of service.
//!
//! Invariant: no step here concerns an address.

use serde_json::{Value, json};

use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

pub(super) const V2_ACCOUNT: &str = "/_matrix/identity/v2/account";

pub(super) fn v2(path: &str) -> String {
    format!("/_matrix/identity/v2{path}")
}

/// Registers `user` with an OpenID token of the homeserver; returns the access token.
pub(super) async fn register(stage: &Stage, narrator: &mut Narrator, user: &str) -> Result<String, Failure> {
    let requests_before = stage.homeserver.requests().len();
    let body = stage.homeserver.open_id_token(user);
    let answer = narrator.ask(stage.api.post(&v2("/account/register"), body), 200).await?;
    let asked = stage.homeserver.requests().len() > requests_before;
    narrator.check("the homeserver received the request, over TLS", asked)?;
    text(&answer, "token")
}

/// Accepts the policy at `url` for `user`.
pub(super) async fn accept_terms(
    stage: &Stage,
    narrator: &mut Narrator,
    user: &str,
    token: &str,
    url: &str,
) -> Result<(), Failure> {
    narrator.ask(stage.api.post(&v2("/terms"), json!({ "user_accepts": [url] })).bearer(token), 200).await?;
    let account = narrator.ask(stage.api.get(V2_ACCOUNT).bearer(token), 200).await?;
    narrator.check(&format!("the account is that of {user}"), account["user_id"] == user)
}

/// The text `key` of a response.
pub(super) fn text(object: &Value, key: &str) -> Result<String, Failure> {
    let text = object[key].as_str();
    text.map(str::to_owned).ok_or_else(|| Failure(format!("the response has no text \"{key}\"")))
}
