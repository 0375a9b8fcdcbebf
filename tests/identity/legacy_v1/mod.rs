//! The removed v1 API: which of its routes are there, for whom, and what they do for callers without accounts.
//!
//! Invariant: no request here has an access token, unless it is to show that none is looked at.

mod arguments;
mod delegate;
mod dendrite;
mod invitations;
mod limits;
mod lookup;
mod routes;
mod sessions;

use harness::api::{Answer, Call};
use hyper::Method;
use serde_json::{Value, json};
use shared::random::Random;

use harness::world::identity::{DEADLINE, Session, Settings, World};

/// All of v1.
pub(crate) const FULL: &str = "[legacy_v1]\nprofile = \"full\"\n";
/// So that a test may do everything as often as it likes.
const NO_LIMITS: &str = "[limits]\nenabled = false\n";

const BOB: &str = "@bob:hs.example";
const EMAIL: &str = "bob@example.com";

/// A path of the removed API.
pub(crate) fn v1(path: &str) -> String {
    format!("/_matrix/identity/api/v1{path}")
}

/// A world with all of v1, no limits, and these tables.
async fn world_with(tables: &str) -> World {
    World::with(Settings { tables: &format!("{FULL}{NO_LIMITS}{tables}"), ..Settings::default() }).await
}

/// A POST with these fields as a form, as Dendrite sends it.
pub(crate) fn form(world: &World, path: &str, fields: &[(&str, &str)]) -> Call {
    world.api.request(Method::POST, &v1(path)).form(fields)
}

/// Asks for a token for `email`; gives the session, which belongs to no account.
pub(crate) async fn request_token(world: &World, email: &str) -> Session {
    request_token_to(world, email, email).await
}

/// As [`request_token`], for an address whose mail goes to another form of it.
async fn request_token_to(world: &World, email: &str, recipient: &str) -> Session {
    let client_secret = Random.base62(16);
    let before = world.mail.mails_to(recipient).len();
    let fields = [("client_secret", client_secret.as_str()), ("email", email), ("send_attempt", "1")];
    let answer = form(world, "/validate/email/requestToken", &fields).send().await.expect(200);
    let sid = answer["sid"].as_str().expect("a sid").to_owned();
    assert_eq!(answer, json!({ "sid": sid }));
    let mail = world.mail.wait_for(recipient, before + 1, DEADLINE).await;
    let token = mail.message().validation_parameter("token");
    Session { sid, client_secret, token }
}

/// A session for `email` that is validated by the link in the mail.
pub(crate) async fn validate(world: &World, email: &str) -> Session {
    validate_by(world, email, email).await
}

async fn validate_by(world: &World, email: &str, recipient: &str) -> Session {
    let session = request_token_to(world, email, recipient).await;
    assert_eq!(world.api.get(&session.confirmed_link()).send().await.code(), 200);
    session
}

/// `GET 3pid/getValidated3pid`, whatever comes of it.
async fn validated(world: &World, session: &Session) -> Answer {
    let call = world.api.get(&v1("/3pid/getValidated3pid"));
    call.query("sid", &session.sid).query("client_secret", &session.client_secret).send().await
}

/// `POST 3pid/bind`, whatever comes of it.
async fn bind(world: &World, session: &Session, mxid: &str) -> Answer {
    let fields = [("sid", session.sid.as_str()), ("client_secret", &session.client_secret), ("mxid", mxid)];
    form(world, "/3pid/bind", &fields).send().await
}

/// Validates `email` and binds it to `mxid`; gives the association.
async fn bound(world: &World, email: &str, mxid: &str) -> Value {
    let session = validate(world, email).await;
    bind(world, &session, mxid).await.expect(200)
}

/// `GET lookup`, whatever comes of it.
async fn look_up(world: &World, medium: &str, address: &str) -> Answer {
    world.api.get(&v1("/lookup")).query("medium", medium).query("address", address).send().await
}

/// `POST bulk_lookup` of these pairs, whatever comes of it.
async fn look_up_all(world: &World, threepids: Value) -> Answer {
    world.api.post(&v1("/bulk_lookup"), json!({ "threepids": threepids })).send().await
}
