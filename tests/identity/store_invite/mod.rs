//! Invitations by e-mail: `store-invite`, the mail, the old routes, the operator's commands.
//!
//! Invariant: what a client needs is taken from the mail alone, as the invited person has nothing else.

mod block;
mod expiry;
mod injection;
mod links;
mod old_routes;
mod operator;
mod refusals;
mod sending;
mod story;
mod sydent_templates;

use std::collections::HashMap;

use harness::api::Answer;
use harness::mail::{Mail, Message};
use serde_json::{Value, json};
use url::{Position, Url};

use harness::world::identity::{DEADLINE, Settings, World, v2};

pub(crate) const ALICE: &str = "@alice:hs.example";
pub(crate) const BOB: &str = "bob@example.com";
pub(crate) const ROOM: &str = "!room:hs.example";
/// So that a test may invite as often as it likes.
pub(crate) const NO_LIMITS: &str = "[limits]\nenabled = false\n";

/// A world with these tables in which Alice has an account; her access token.
pub(crate) async fn world_with(tables: &str) -> (World, String) {
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let alice = world.register(ALICE).await;
    (world, alice)
}

/// The body of an invitation by Alice without anything that may be left out.
pub(crate) fn invitation(address: &str) -> Value {
    json!({ "medium": "email", "address": address, "room_id": ROOM, "sender": ALICE })
}

/// The same with further fields.
pub(crate) fn with(address: &str, more: Value) -> Value {
    let mut body = invitation(address);
    let Value::Object(more) = more else { panic!("an object") };
    more.into_iter().for_each(|(name, value)| body[name] = value);
    body
}

/// `POST store-invite`, whatever comes of it.
pub(crate) async fn store(world: &World, access_token: &str, body: Value) -> Answer {
    world.api.post(&v2("/store-invite"), body).bearer(access_token).send().await
}

/// An invitation that went through, as the homeserver and as the invited person know it.
pub(crate) struct Invited {
    pub(crate) answer: Value,
    pub(crate) link: Link,
}

impl Invited {
    pub(crate) fn token(&self) -> &str {
        self.answer["token"].as_str().expect("a token")
    }

    /// The invite's own public key.
    pub(crate) fn public_key(&self) -> &str {
        self.answer["public_keys"][1]["public_key"].as_str().expect("a key")
    }
}

/// Invites, and reads the mail that comes.
pub(crate) async fn invite(world: &World, access_token: &str, body: Value) -> Invited {
    let address = body["address"].as_str().expect("an address").to_owned();
    let before = world.mail.mails_to(&address).len();
    let answer = store(world, access_token, body).await.expect(200);
    let mail = world.mail.wait_for(&address, before + 1, DEADLINE).await;
    Invited { answer, link: link(&mail) }
}

/// The link in an invitation's mail, taken apart.
pub(crate) struct Link {
    pub(crate) whole: Url,
    /// The room's id.
    pub(crate) room_id: String,
    /// What stands behind the `?` of the fragment.
    pub(crate) parameters: HashMap<String, String>,
}

impl Link {
    /// Where the join is signed.
    pub(crate) fn signurl(&self) -> Url {
        self.parameters["signurl"].parse().expect("a URL")
    }

    /// Its path with its query, for the world's client.
    pub(crate) fn sign_path(&self) -> String {
        self.signurl()[Position::BeforePath..].to_owned()
    }

    /// A parameter of the signurl.
    pub(crate) fn signed_by(&self, name: &str) -> String {
        let url = self.signurl();
        let found = url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
        found.unwrap_or_else(|| panic!("no {name} in {url}"))
    }

    /// The body of sign-ed25519 with all that the mail says.
    pub(crate) fn to_sign(&self, mxid: &str) -> Value {
        json!({ "mxid": mxid, "token": self.signed_by("token"), "private_key": self.signed_by("private_key") })
    }
}

/// The one link in a mail, which both of its parts have.
pub(crate) fn link(mail: &Mail) -> Link {
    let mut links = mail.message().links();
    // The link that blocks further invitations is another one.
    links.retain(|link| !link.path().ends_with("/invites/block"));
    links.dedup();
    assert_eq!(links.len(), 1, "{links:#?}");
    let whole = links.remove(0);
    let fragment = whole.fragment().expect("a fragment").to_owned();
    let (path, query) = fragment.split_once('?').expect("parameters");
    let room_id = path.strip_prefix("/room/").expect("the way to a room");
    let decoded =
        |text: &str| Url::parse(&format!("x:?{text}")).expect("a query").query_pairs().next().map(|p| p.0.into_owned());
    let room_id = decoded(room_id).expect("a room");
    let parameters = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    Link { whole, room_id, parameters }
}

/// A message's subject.
pub(crate) fn subject(message: &Message) -> &str {
    message.header("subject").expect("a subject")
}

/// Whether the server calls a key valid, by either of the two questions.
pub(crate) async fn is_valid(world: &World, path: &str, public_key: &str) -> bool {
    let answer = world.api.get(&v2(path)).query("public_key", public_key).send().await.expect(200);
    answer["valid"].as_bool().expect("a yes or a no")
}

pub(crate) const EPHEMERAL: &str = "/pubkey/ephemeral/isvalid";
pub(crate) const LONG_TERM: &str = "/pubkey/isvalid";
