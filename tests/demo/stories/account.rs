//! What every story about addresses begins with: accounts, and the terms of service.
//!
//! Invariant: nothing here is told of addresses.

use serde_json::{Value, json};

use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

pub(super) const V2_ACCOUNT: &str = "/_matrix/identity/v2/account";

pub(super) fn v2(path: &str) -> String {
    format!("/_matrix/identity/v2{path}")
}

/// Gives the access token of `user`, whose homeserver vouches for them.
pub(super) async fn register(stage: &Stage, narrator: &mut Narrator, user: &str) -> Result<String, Failure> {
    let asked_before = stage.homeserver.requests().len();
    let body = stage.homeserver.open_id_token(user);
    let answer = narrator.ask(stage.api.post(&v2("/account/register"), body), 200).await?;
    let asked = stage.homeserver.requests().len() > asked_before;
    narrator.check("the homeserver was asked, over TLS", asked)?;
    text(&answer, "token")
}

/// Has `user` accept the policy at `url`.
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

/// The text `key` of an answer.
pub(super) fn text(object: &Value, key: &str) -> Result<String, Failure> {
    let text = object[key].as_str();
    text.map(str::to_owned).ok_or_else(|| Failure(format!("there is no text \"{key}\" in the answer")))
}
