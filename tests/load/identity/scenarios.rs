//! The measured units of work, and the limit of each.
//!
//! Invariant: a unit is an operation of a client; its cost is the server's CPU time alone, without fakes and driver.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::mail::Sink;
use serde_json::{Value, json};

use super::world::World;
use crate::connection::{Connection, request};
use crate::engine::{Figures, Load, run, run_requests};

const V2: &str = "/_matrix/identity/v2";

/// The number of different users that register repeatedly: one user may have too few tokens.
const USERS: usize = 2_000;

/// The maximum number of different hashes. The daily quota of an account, on by default, is 100,000.
const ENTRIES: usize = 80_000;

/// The number of lookups of one size, each with other entries.
const LOOKUPS: usize = 64;

/// A unit of work.
pub(crate) struct Scenario {
    /// Its name in the table.
    pub(crate) name: String,
    /// The limit of one unit, in CPU microseconds.
    pub(crate) at_most: Option<u32>,
    work: Work,
}

enum Work {
    /// Each of these requests is a unit.
    Requests(Arc<Vec<Vec<u8>>>),
    /// From requestToken to bind.
    Validation(Validation),
}

impl Scenario {
    /// All units of work.
    pub(crate) fn all(world: &World) -> Vec<Self> {
        let token = Some(world.access_token.as_str());
        let get = |path: &str, token: Option<&str>| vec![request("GET", &format!("{V2}{path}"), token, "")];
        vec![
            Self::requests("ping", None, get("", None)),
            Self::requests("hash_details", Some(15), get("/hash_details", token)),
            Self::requests("lookup, 1 hash", Some(20), lookups(world, 1)),
            Self::requests("lookup, 100 hashes", None, lookups(world, 100)),
            Self::requests("lookup, 1000 hashes", Some(150), lookups(world, 1000)),
            Self::requests("lookup, 10000 hashes", None, lookups(world, 10_000)),
            Self::requests("account/register", Some(200), registrations(world)),
            Self {
                name: "requestToken + mail + submitToken + bind".to_owned(),
                at_most: Some(1500),
                work: Work::Validation(Validation::new(world)),
            },
        ]
    }

    fn requests(name: &str, at_most: Option<u32>, requests: Vec<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), at_most, work: Work::Requests(Arc::new(requests)) }
    }

    /// Does one unit before the load, so that a failure has a reason.
    ///
    /// # Errors
    /// The step that failed, with the response.
    pub(crate) fn try_once(&self, load: &Load) -> Result<(), String> {
        let mut connection = Connection::new(load.address);
        let done = match &self.work {
            Work::Requests(requests) => expect_200(&mut connection, &requests[0]).map(drop),
            Work::Validation(validation) => validation.once(&mut connection),
        };
        done.map_err(|error| format!("{}: {error}", self.name))
    }

    /// Does the units of the load.
    pub(crate) fn run(&self, load: &Load) -> Figures {
        match &self.work {
            Work::Requests(requests) => run_requests(load, requests),
            Work::Validation(validation) => run(load, |_| {
                let validation = validation.clone();
                move |connection: &mut Connection| validation.once(connection).map(|()| true)
            }),
        }
    }
}

/// Lookups of `size` entries each; every other entry has an association.
fn lookups(world: &World, size: usize) -> Vec<Vec<u8>> {
    let (filling, token) = (&world.filling, Some(world.access_token.as_str()));
    let known = filling.associations.clamp(1, ENTRIES / 2);
    let entry = |i: usize| match i % 2 {
        0 => filling.known_hash(i / 2 % known),
        _ => filling.unknown_hash(i / 2 % (ENTRIES / 2)),
    };
    let one = |lookup: usize| {
        // Spread over the whole table, as in real address books: the rows are in the order of their numbers.
        let entries: Vec<_> = (0..size).map(|i| entry((lookup * size + i) * 7919)).collect();
        let body = json!({ "addresses": entries, "algorithm": "sha256", "pepper": world.pepper });
        request("POST", &format!("{V2}/lookup"), token, &body.to_string())
    };
    (0..LOOKUPS).map(one).collect()
}

fn registrations(world: &World) -> Vec<Vec<u8>> {
    let one = |i: usize| {
        let body = world.homeserver.open_id_token(&format!("@user{i}:hs.example"));
        request("POST", &format!("{V2}/account/register"), None, &body.to_string())
    };
    (0..USERS).map(one).collect()
}

/// An address is validated and bound: three requests and a mail.
#[derive(Clone)]
struct Validation {
    mail: Arc<Sink>,
    access_token: String,
    number: Arc<AtomicUsize>,
}

impl Validation {
    fn new(world: &World) -> Self {
        let access_token = world.access_token.clone();
        Self { mail: Arc::clone(&world.mail), access_token, number: Arc::default() }
    }

    fn once(&self, connection: &mut Connection) -> io::Result<()> {
        let email = format!("new{}@load.example", self.number.fetch_add(1, Ordering::Relaxed));
        let client_secret = "monkeys_are_GREAT";
        let body = json!({ "client_secret": client_secret, "email": email, "send_attempt": 1 });
        let answer = self.post(connection, "/validate/email/requestToken", &body)?;
        let sid = answer["sid"].as_str().ok_or_else(|| io::Error::other("no sid"))?;
        // The mail is sent before the response to requestToken.
        let mail = self.mail.take_to(&email).ok_or_else(|| io::Error::other("no mail"))?;
        let token = mail.message().validation_parameter("token");
        let body = json!({ "sid": sid, "client_secret": client_secret, "token": token });
        self.post(connection, "/validate/email/submitToken", &body)?;
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": "@load:hs.example" });
        self.post(connection, "/3pid/bind", &body)?;
        Ok(())
    }

    fn post(&self, connection: &mut Connection, path: &str, body: &Value) -> io::Result<Value> {
        let request = request("POST", &format!("{V2}{path}"), Some(&self.access_token), &body.to_string());
        let answer = expect_200(connection, &request)?;
        serde_json::from_slice(&answer).map_err(io::Error::other)
    }
}

fn expect_200(connection: &mut Connection, request: &[u8]) -> io::Result<Vec<u8>> {
    let reply = connection.exchange(request)?;
    match reply.status {
        200 => Ok(reply.body.to_vec()),
        status => Err(io::Error::other(format!("{status} {}", String::from_utf8_lossy(reply.body)))),
    }
}
