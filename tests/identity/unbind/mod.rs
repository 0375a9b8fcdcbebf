//! Unbinding by the user's homeserver: `Authorization: X-Matrix`, with real signatures that the server's own code has
//! not made.
//!
//! Invariant: after a refusal the address is bound as before, after a success it is not.

mod destination;
mod header;
mod keys;
mod signature;

use harness::api::Answer;
use harness::homeserver::XMatrix;
use hyper::Method;
use serde_json::{Value, json};

use harness::world::identity::{Session, Settings, World, v2};

/// What the server under test calls itself.
const NAME: &str = "id.example.org";
const BOB: &str = "@bob:hs.example";
const ADDRESS: &str = "bob@example.com";
/// Where homeservers ask for the keys of another.
const KEYS: &str = "/_matrix/key/v2/server";

/// A world in which Bob's address is bound, again and again.
struct Bound {
    world: World,
    token: String,
    session: Session,
}

impl Bound {
    async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// With further settings; limits are off.
    async fn with(settings: Settings<'_>) -> Self {
        let server = format!("name = \"{NAME}\"\n{}", settings.server);
        let tables = format!("[limits]\nenabled = false\n{}", settings.tables);
        let mut world = World::with(Settings { server: &server, tables: &tables, ..settings.clone() }).await;
        if settings.http.contains("base_path = \"/identity\"") {
            world.api = harness::api::Api::new(&format!("{}/identity", world.server.url()));
        }
        let token = world.register(BOB).await;
        let session = world.validate(&token, ADDRESS).await;
        let bound = Self { world, token, session };
        bound.bind().await;
        bound
    }

    async fn bind(&self) {
        let body = json!({ "sid": self.session.sid, "client_secret": self.session.client_secret, "mxid": BOB });
        self.world.api.post(&v2("/3pid/bind"), body).bearer(&self.token).send().await.expect(200);
    }

    async fn is_bound(&self) -> bool {
        self.world.look_up(&self.token, ADDRESS, "email").await.is_some()
    }

    /// The right request, signed by Bob's homeserver as Synapse does it.
    fn request(&self) -> XMatrix {
        self.world.homeserver.request(&v2("/3pid/unbind"), NAME, &content())
    }

    /// Sends the usual body with these headers.
    async fn send(&self, headers: &[&[u8]]) -> Answer {
        self.send_to(&v2("/3pid/unbind"), headers, &content().to_string()).await
    }

    async fn send_to(&self, path: &str, headers: &[&[u8]], body: &str) -> Answer {
        let mut call = self.world.api.request(Method::POST, path).body(body.to_owned());
        for value in headers {
            call = call.header_bytes("authorization", value);
        }
        call.send().await
    }

    /// Checks that the request with this header has unbound the address, and binds it again.
    async fn accepts(&self, header: &str) {
        self.accepts_all(&[header.as_bytes()]).await;
    }

    async fn accepts_all(&self, headers: &[&[u8]]) {
        let answer = self.send(headers).await;
        assert_eq!((answer.code(), answer.text().as_str()), (200, "{}"), "{}\n{answer}", shown(headers));
        self.expect_unbound().await;
    }

    /// Checks that the address is not bound, and binds it again.
    async fn expect_unbound(&self) {
        assert!(!self.is_bound().await, "the address is still bound");
        self.bind().await;
        assert!(self.is_bound().await);
    }

    /// Checks that the request with this header is refused and has changed nothing; gives the answer's text.
    async fn refuses(&self, header: &str, status: u16, errcode: &str) -> String {
        self.refuses_all(&[header.as_bytes()], status, errcode).await
    }

    async fn refuses_all(&self, headers: &[&[u8]], status: u16, errcode: &str) -> String {
        let answer = self.send(headers).await;
        self.refused(&answer, status, errcode, &shown(headers)).await
    }

    async fn refused(&self, answer: &Answer, status: u16, errcode: &str, what: &str) -> String {
        assert_eq!(answer.code(), status, "{what}\n{answer}");
        let body = answer.refused(status, errcode);
        assert!(self.is_bound().await, "{what}\n{answer}\nand the address is not bound any more");
        let text = body["error"].as_str().expect("a text").to_owned();
        if status != 502 {
            assert!(text.contains(NAME), "the expected destination is not named: {text}");
        }
        text
    }

    /// How often the homeserver was asked for its keys.
    fn key_requests(&self) -> usize {
        self.world.homeserver.requests_to(KEYS).len()
    }
}

/// The body that unbinds Bob's address.
fn content() -> Value {
    json!({ "mxid": BOB, "threepid": { "medium": "email", "address": ADDRESS } })
}

fn shown(headers: &[&[u8]]) -> String {
    let texts = headers.iter().map(|header| String::from_utf8_lossy(&header[..header.len().min(300)]).into_owned());
    texts.collect::<Vec<_>>().join("\n")
}
