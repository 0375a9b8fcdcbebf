//! Bob validates an e-mail address and binds it; Alice finds him by it; he unbinds it.
//!
//! Invariant: signatures are checked by ruma and hashes are computed here, without the server's code.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ruma_signatures::PublicKeyMap;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shared::random::Random;

use super::account::{V2_ACCOUNT, accept_terms, register, text, v2};
use crate::narrator::{Failure, Narrator};
use crate::stage::Stage;

const BOB: &str = "@bob:hs.example";
const ALICE: &str = "@alice:hs.example";

/// Bob types his address with a capital; the server signs and hashes the canonical form.
const TYPED: &str = "Bob@Example.org";
const ADDRESS: &str = "bob@example.org";

/// The account that the later stories use.
pub(crate) struct Account {
    /// Its user.
    pub(crate) user: &'static str,
    /// Its access token.
    pub(crate) access_token: String,
    /// The URL of the policy that every account must accept.
    pub(crate) terms: String,
}

/// Runs the story.
///
/// # Errors
/// [`Failure`] for the first check that fails.
pub(crate) async fn run(stage: &Stage, narrator: &mut Narrator) -> Result<Account, Failure> {
    narrator.step("Which versions does the server support?", "Clients ask for them first, without an account.");
    let answer = narrator.ask(stage.api.get("/_matrix/identity/versions"), 200).await?;
    narrator.check("it supports v1.1 of the specification and later", holds(&answer["versions"], "v1.1"))?;

    narrator.step(
        "Bob registers",
        "His homeserver gave his client an OpenID token. The identity server asks that homeserver for its user.",
    );
    let bob = register(stage, narrator, BOB).await?;
    narrator.step("Alice registers", "In the same way.");
    let alice = register(stage, narrator, ALICE).await?;

    narrator.step(
        "The terms of service",
        "There is a privacy policy. Until Bob accepts it the server answers M_TERMS_NOT_SIGNED.",
    );
    narrator.refused(stage.api.get(V2_ACCOUNT).bearer(&bob), 403, "M_TERMS_NOT_SIGNED").await?;
    let terms = narrator.ask(stage.api.get(&v2("/terms")), 200).await?;
    let url = text(&terms["policies"]["privacy"]["en"], "url")?;
    narrator.say("Bob and Alice accept it by its URL.");
    for (user, token) in [(BOB, &bob), (ALICE, &alice)] {
        accept_terms(stage, narrator, user, token, &url).await?;
    }

    let session = validate(stage, narrator, &bob).await?;
    bind(stage, narrator, &bob, &session).await?;
    find(stage, narrator, &alice).await?;
    unbind(stage, narrator, &bob, &alice).await?;

    narrator.step("Bob logs out", "His access token is revoked.");
    narrator.ask(stage.api.post(&v2("/account/logout"), json!({})).bearer(&bob), 200).await?;
    narrator.refused(stage.api.get(V2_ACCOUNT).bearer(&bob), 401, "M_UNAUTHORIZED").await?;
    Ok(Account { user: ALICE, access_token: alice, terms: url })
}

/// A validation session: its ID, and the secret of Bob's client.
struct Session {
    sid: String,
    client_secret: String,
}

async fn validate(stage: &Stage, narrator: &mut Narrator, bob: &str) -> Result<Session, Failure> {
    narrator.step("Bob requests a token for an address", "The server sends a mail with a link to it.");
    let session = request_token(stage, narrator, bob).await?;
    narrator.step("Before he opens the link", "The session is not validated yet.");
    let query =
        |call: harness::api::Call| call.query("sid", &session.sid).query("client_secret", &session.client_secret);
    let validated = || query(stage.api.get(&v2("/3pid/getValidated3pid"))).bearer(bob);
    narrator.refused(validated(), 400, "M_SESSION_NOT_VALIDATED").await?;

    follow_link(stage, narrator, 1).await?;

    narrator.step("The address is validated", "The session now proves that the address is his.");
    let answer = narrator.ask(validated(), 200).await?;
    narrator.check(&format!("the validated address is {ADDRESS}"), answer["address"] == ADDRESS)?;
    Ok(session)
}

async fn request_token(stage: &Stage, narrator: &mut Narrator, bob: &str) -> Result<Session, Failure> {
    let client_secret = Random.base62(16);
    let body = json!({ "client_secret": client_secret, "email": TYPED, "send_attempt": 1 });
    let call = stage.api.post(&v2("/validate/email/requestToken"), body).bearer(bob);
    let answer = narrator.ask(call, 200).await?;
    Ok(Session { sid: text(&answer, "sid")?, client_secret })
}

/// Shows the `n`th mail to Bob and opens the link in it, as a browser does.
async fn follow_link(stage: &Stage, narrator: &mut Narrator, n: usize) -> Result<(), Failure> {
    narrator.step("The mail arrives", "Headers and plain text, as the relay received them (it has an HTML part too):");
    let mail = stage.mail.wait_for(TYPED, n, Duration::from_secs(10)).await;
    let message = mail.message();
    for (name, value) in &message.headers {
        narrator.show(&format!("{name}: {value}"));
    }
    narrator.show("");
    narrator.show(message.text());
    let link = message.validation_link();
    narrator.check("its link leads to the identity server", link.as_str().starts_with(&stage.server.url()))?;

    narrator.step("Bob opens the link", "In a browser, without an account.");
    let target = format!("{}?{}", link.path(), link.query().unwrap_or_default());
    let title = narrator.open(stage.api.get(&target), 200).await?;
    narrator
        .check("a scanner that opens the link validates nothing: the page has a button", title == "Is this you?")?;
    narrator.step("Bob clicks the button", "The form repeats the request with confirm=1.");
    let title = narrator.open(stage.api.get(&format!("{target}&confirm=1")), 200).await?;
    narrator.check("the page confirms the validation", title == "Confirmed")
}

async fn bind(stage: &Stage, narrator: &mut Narrator, bob: &str, session: &Session) -> Result<(), Failure> {
    narrator.step("Bob binds the address", "The server signs the association of address and user.");
    let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": BOB });
    let association = narrator.ask(stage.api.post(&v2("/3pid/bind"), body).bearer(bob), 200).await?;
    let named = association["mxid"] == BOB && association["address"] == ADDRESS;
    narrator.check(&format!("the association names {ADDRESS} and {BOB}"), named)?;

    narrator.step(
        "The signature is verified",
        "The server publishes its key. ruma-signatures, a library of another project, verifies the signature with it.",
    );
    let keys = association["signatures"]["id.example"].as_object();
    let key_id = keys
        .and_then(|keys| keys.keys().next())
        .ok_or_else(|| Failure("the association has no signature".to_owned()))?;
    let answer = narrator.ask(stage.api.get(&v2(&format!("/pubkey/{key_id}"))), 200).await?;
    let key = text(&answer, "public_key")?;
    narrator.check("the signature is valid", is_signed(&association, key_id, &key)?)?;
    let mut forged = association.clone();
    forged["mxid"] = json!("@mallory:hs.example");
    narrator.check("with another user it is invalid", !is_signed(&forged, key_id, &key)?)
}

/// Whether ruma finds a signature of `key` of `id.example` on `object`.
fn is_signed(object: &Value, key_id: &str, key: &str) -> Result<bool, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure(error.to_string());
    let key = ruma_common::serde::Base64::parse(key).map_err(|error| wrong(&error))?;
    let mut keys = PublicKeyMap::new();
    keys.entry("id.example".to_owned()).or_default().insert(key_id.to_owned(), key);
    let object = serde_json::from_value(object.clone()).map_err(|error| wrong(&error))?;
    Ok(ruma_signatures::verify_json(&keys, &object).is_ok())
}

async fn find(stage: &Stage, narrator: &mut Narrator, alice: &str) -> Result<(), Failure> {
    narrator.step(
        "Alice has Bob's address in her address book",
        "Her client sends a hash, so that the server learns no address that it does not know.",
    );
    let found = look_up(stage, narrator, alice).await?;
    narrator.check(&format!("she finds {BOB}"), found.as_deref() == Some(BOB))
}

async fn look_up(stage: &Stage, narrator: &mut Narrator, alice: &str) -> Result<Option<String>, Failure> {
    let details = narrator.ask(stage.api.get(&v2("/hash_details")).bearer(alice), 200).await?;
    let pepper = text(&details, "lookup_pepper")?;
    let plain = format!("{ADDRESS} email {pepper}");
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(&plain));
    narrator.say(&format!("Her client computes base64(sha256(\"{plain}\"))"));
    narrator.say(&format!("= {hash}"));
    let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
    let answer = narrator.ask(stage.api.post(&v2("/lookup"), body).bearer(alice), 200).await?;
    Ok(answer["mappings"][&hash].as_str().map(str::to_owned))
}

async fn unbind(stage: &Stage, narrator: &mut Narrator, bob: &str, alice: &str) -> Result<(), Failure> {
    narrator.step("Bob wants to unbind the address", "He validates it again in a new session, with another mail.");
    let session = request_token(stage, narrator, bob).await?;
    follow_link(stage, narrator, 2).await?;

    narrator.step("Bob unbinds the address", "The validated session is the proof; the request needs no access token.");
    let body = json!({
        "mxid": BOB,
        "threepid": { "medium": "email", "address": ADDRESS },
        "sid": session.sid,
        "client_secret": session.client_secret,
    });
    narrator.ask(stage.api.post(&v2("/3pid/unbind"), body), 200).await?;

    narrator.step("Alice looks it up again", "With the same hash.");
    let found = look_up(stage, narrator, alice).await?;
    narrator.check("she finds no user", found.is_none())
}

fn holds(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|entry| entry == text))
}
