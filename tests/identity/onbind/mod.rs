//! The onbind notification to the homeserver of the user who binds an invited address: at once or after retries, only
//! to that homeserver, and never a delay of the response to `bind`.
//!
//! Invariant: a homeserver counts a user as joined only if every signature is valid and the identity server confirms the
//! key; so each join shows a correct notification.

mod crash;
mod delivery;
mod former_owner;
mod many;
mod refusals;
mod retargeting;
mod two_processes;

use std::collections::BTreeMap;
use std::process::Output;

use harness::certificates::Authority;
use harness::homeserver::{Homeserver, Join};
use harness::wait::{wait_for, wait_until};
use serde_json::{Value, json};

use harness::world::identity::{DEADLINE, Session, Settings, World, v2};

/// The endpoint of the homeserver.
pub(crate) const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";

pub(crate) const ALICE: &str = "@alice:hs.example";
pub(crate) const BOB: &str = "@bob:hs.example";
pub(crate) const CAROL: &str = "@carol:other.example";
pub(crate) const EMAIL: &str = "bob@example.com";

/// A name that does not change with the port, as behind a reverse proxy.
const SERVER: &str =
    "name = \"id.example.org\"\npublic_base_url = \"http://id.example.org\"\nallow_http_base_url = true";

/// An identity server between two homeservers: Alice and Bob have accounts at the first, Carol at the second.
pub(crate) struct Scene {
    pub(crate) world: World,
    pub(crate) other: Homeserver,
    pub(crate) tokens: BTreeMap<&'static str, String>,
}

impl Scene {
    pub(crate) async fn start(tables: &str) -> Self {
        Self::with(Settings { tables, ..Settings::default() }).await
    }

    /// With these settings, no limits unless they are among them, and short pauses.
    pub(crate) async fn with(settings: Settings<'_>) -> Self {
        let authority = Authority::new("the homeservers' authority");
        let other = Homeserver::start_with("other.example", &authority, "127.0.0.1:0").await;
        let mut federation = format!("{}\noverrides.'other.example' = '{}'\n", settings.federation, other.address());
        if !federation.contains("timeout") {
            // It determines the length of a lease, which must be within the deadline of a test.
            federation += "timeout = \"10s\"\n";
        }
        let mut tables = settings.tables.to_owned();
        if !tables.contains("[outbox]") {
            tables += "\n[outbox]\nretry_after = \"100ms\"\n";
        }
        if !tables.contains("[bind]") {
            // Most tests count the requests that deliver invitations.
            tables += "\n[bind]\nnotify_old_owner = false\n";
        }
        if !tables.contains("[limits]") {
            tables += "\n[limits]\nenabled = false\n";
        }
        let authority = Some(&authority);
        let settings = Settings { server: SERVER, federation: &federation, tables: &tables, authority, ..settings };
        let world = World::with(settings).await;
        let mut scene = Self { world, other, tokens: BTreeMap::new() };
        scene.introduce();
        for user in [ALICE, BOB, CAROL] {
            let token = scene.register(user).await;
            scene.tokens.insert(user, token);
        }
        scene
    }

    /// Sets the address of the identity server at both homeservers.
    pub(crate) fn introduce(&self) {
        let address = self.world.server.address();
        self.world.homeserver.set_identity_server("id.example.org", address);
        self.other.set_identity_server("id.example.org", address);
    }

    pub(crate) async fn restart(&mut self) {
        self.world.restart().await;
        self.introduce();
    }

    pub(crate) fn homeserver_of(&self, user: &str) -> &Homeserver {
        if user.ends_with(":other.example") { &self.other } else { &self.world.homeserver }
    }

    pub(crate) async fn register(&self, user: &str) -> String {
        let body = self.homeserver_of(user).open_id_token(user);
        let answer = self.world.api.post(&v2("/account/register"), body).send().await;
        answer.expect(200)["token"].as_str().expect("a token").to_owned()
    }

    /// Alice invites an address into a room of her homeserver; returns the invitation's token.
    pub(crate) async fn invite(&self, room_id: &str, email: &str) -> String {
        self.invite_by(ALICE, room_id, email).await
    }

    /// `sender` invites an address into a room of their homeserver.
    pub(crate) async fn invite_by(&self, sender: &'static str, room_id: &str, email: &str) -> String {
        let body = json!({ "medium": "email", "address": email, "room_id": room_id, "sender": sender });
        let answer = self.world.api.post(&v2("/store-invite"), body).bearer(&self.tokens[sender]).send().await;
        let stored = answer.expect(200);
        self.homeserver_of(sender).invite_by_address(room_id, sender, &stored);
        stored["token"].as_str().expect("a token").to_owned()
    }

    /// Validates an address for `user`.
    pub(crate) async fn validate(&self, user: &'static str, email: &str) -> Session {
        self.world.validate(&self.tokens[user], email).await
    }

    /// Binds the address of a validated session; returns the association.
    pub(crate) async fn publish(&self, user: &'static str, session: &Session) -> Value {
        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": user });
        let answer = self.world.api.post(&v2("/3pid/bind"), body).bearer(&self.tokens[user]).send().await;
        let association = answer.expect(200);
        let members: Vec<_> = association.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(members, ["address", "medium", "mxid", "not_after", "not_before", "signatures", "ts"]);
        association
    }

    /// Validates and binds an address.
    pub(crate) async fn bind(&self, user: &'static str, email: &str) {
        let session = self.validate(user, email).await;
        self.publish(user, &session).await;
    }

    /// Unbinds an address.
    pub(crate) async fn unbind(&self, user: &'static str, email: &str) {
        let session = self.validate(user, email).await;
        let body = json!({
            "mxid": user, "threepid": { "medium": "email", "address": email },
            "sid": session.sid, "client_secret": session.client_secret,
        });
        assert_eq!(self.world.api.post(&v2("/3pid/unbind"), body).send().await.expect(200), json!({}));
    }

    /// The joins at both homeservers, by the invitations' tokens; no invitation joins twice.
    pub(crate) fn joins(&self) -> BTreeMap<String, Join> {
        let joins: Vec<_> = self.all_joins();
        let number = joins.len();
        let joins: BTreeMap<_, _> = joins.into_iter().map(|join| (join.token.clone(), join)).collect();
        assert_eq!(joins.len(), number, "an invitation came twice");
        joins
    }

    /// The users who have joined at either homeserver.
    pub(crate) fn all_joins(&self) -> Vec<Join> {
        [self.world.homeserver.joins(), self.other.joins()].concat()
    }

    /// Waits until `mxid` has joined by the invitation of this token.
    pub(crate) async fn wait_for_join(&self, token: &str, mxid: &str) -> Join {
        let what = format!("{mxid} to join");
        let join = wait_for(&what, DEADLINE, async || self.joins().remove(token)).await;
        assert_eq!(join.mxid, mxid);
        join
    }

    /// Waits until the homeserver of Alice and Bob has received this number of requests.
    pub(crate) async fn wait_for_onbinds(&self, number: usize) {
        let homeserver = &self.world.homeserver;
        let what = format!("{number} requests");
        wait_until(&what, DEADLINE, || homeserver.requests_to(ONBIND).len() >= number).await;
        assert_eq!(homeserver.requests_to(ONBIND).len(), number);
    }

    /// Runs `identity outbox …` beside the server.
    pub(crate) async fn outbox(&self, arguments: &[&str]) -> Output {
        self.world.server.run(&[&["outbox"], arguments].concat()).await
    }

    /// The lines of `identity outbox list`, without the headings; none if the outbox is empty.
    pub(crate) async fn listed(&self) -> Vec<String> {
        let output = self.outbox(&["list"]).await;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.contains("example.com"), "an address: {text}");
        if text == "the outbox is empty\n" {
            return Vec::new();
        }
        text.lines().skip(1).map(str::to_owned).collect()
    }

    /// Waits until `identity outbox list` shows this.
    pub(crate) async fn wait_for_listing(&self, what: &str, right: impl Fn(&[String]) -> bool) -> Vec<String> {
        wait_for(what, DEADLINE, async || Some(self.listed().await).filter(|lines| right(lines))).await
    }

    /// Waits until the outbox is empty.
    pub(crate) async fn wait_for_empty(&self) {
        self.wait_for_listing("an empty outbox", <[String]>::is_empty).await;
    }

    /// The value of an operator's metric.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = harness::metrics::of(&self.world.server).await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().expect("a number")
    }
}

/// The invitations in the body of a request.
pub(crate) fn tokens_in(body: &Value) -> Vec<String> {
    let invites = body["invites"].as_array().expect("a list of invites");
    invites.iter().map(|invite| invite["token"].as_str().expect("a token").to_owned()).collect()
}
