//! SIGKILL at any moment: after the restart every response still holds, and a request without a response took effect
//! completely or not at all.
//!
//! Invariant: a client knows only the responses that it received.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::api::{Api, Call};
use harness::mail::{Mail, Message};
use serde_json::{Value, json};
use shared::random::Random;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use harness::world::identity::{DEADLINE, Settings, World, databases, hash, v2};

const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_and_nothing_is_half_done() {
    let mut runs = JoinSet::new();
    for database in databases().await {
        runs.spawn(async move { be_killed_again_and_again(&database).await });
    }
    runs.join_all().await;
}

async fn be_killed_again_and_again(database: &str) {
    let tables = format!("[limits]\nenabled = false\n[account]\nlist_own_bindings = true\n{database}");
    let mut world = Arc::new(World::with(Settings { tables: &tables, ..Settings::default() }).await);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(Client::register(&world, number).await);
    }
    for round in 0..rounds() {
        let load = Arc::new(Load::new(1 + Random.below(50) as usize));
        let mut tasks = JoinSet::new();
        for client in clients {
            tasks.spawn(client.run(Arc::clone(&world), Arc::clone(&load)));
        }
        tokio::time::timeout(DEADLINE, load.reached.notified()).await.expect("the load is reached");
        for _ in 0..Random.below(64) {
            tokio::task::yield_now().await;
        }
        load.is_killed.store(true, Ordering::SeqCst);
        world.server.signal("KILL");
        clients = tasks.join_all().await;
        Arc::get_mut(&mut world).expect("all tasks have ended").restart().await;
        let mut bound = 0;
        for client in &mut clients {
            bound += client.verify(&world, round).await;
        }
        assert_eq!(bindings(&world).await, bound, "round {round}: rows without an answer");
    }
}

/// The number of kills.
pub(crate) fn rounds() -> usize {
    harness::options::scale(8, 200)
}

/// The number of associations, from the metrics.
async fn bindings(world: &World) -> usize {
    let admin = Api::new(&world.server.admin_url());
    assert_eq!(admin.get("/ready").send().await.code(), 200);
    let text = admin.get("/metrics").send().await.text();
    let value = text.lines().find_map(|line| line.strip_prefix("identity_bindings ")).expect("the gauge");
    value.parse().expect("a whole number")
}

/// The number of requests in a round, and the number after which the server is killed.
struct Load {
    sent: AtomicUsize,
    target: usize,
    reached: Notify,
    is_killed: AtomicBool,
}

impl Load {
    fn new(target: usize) -> Self {
        Self { sent: AtomicUsize::new(0), target, reached: Notify::new(), is_killed: AtomicBool::new(false) }
    }

    fn count(&self) {
        if self.sent.fetch_add(1, Ordering::SeqCst) + 1 == self.target {
            self.reached.notify_one();
        }
    }
}

/// A user with two accounts and several addresses, who binds, moves and unbinds them.
struct Client {
    number: usize,
    accounts: [Account; 2],
    addresses: Vec<Address>,
    flow: Option<Flow>,
}

struct Account {
    user: String,
    token: String,
}

/// The state of one address, as its client knows it.
struct Address {
    email: String,
    /// The owner after the last response: the account's number, and the association's `ts`.
    answered: Option<(usize, i64)>,
    /// The request without a response.
    asked: Option<Goal>,
}

#[derive(Clone, Copy, Debug)]
enum Goal {
    Bind(usize),
    Unbind,
}

/// The steps to a goal: request a token, submit it, bind or unbind. A client without a response repeats its last step.
struct Flow {
    goal: Goal,
    address: usize,
    account: usize,
    client_secret: String,
    send_attempt: u32,
    sid: Option<String>,
    is_validated: bool,
}

/// No response, because the server was killed.
struct Gone;

impl Client {
    async fn register(world: &World, number: usize) -> Self {
        let user = |letter| format!("@{letter}{number}:hs.example");
        let account = async |user: String| Account { token: world.register(&user).await, user };
        let accounts = [account(user('a')).await, account(user('b')).await];
        Self { number, accounts, addresses: Vec::new(), flow: None }
    }

    /// Sends requests one after another until the server is killed.
    async fn run(mut self, world: Arc<World>, load: Arc<Load>) -> Self {
        loop {
            load.count();
            if let Err(Gone) = self.advance(&world).await {
                assert!(
                    load.is_killed.load(Ordering::SeqCst),
                    "no answer from a living server:\n{}",
                    world.server.logs()
                );
                return self;
            }
        }
    }

    /// The next request of the flow, or the first of a new one.
    async fn advance(&mut self, world: &World) -> Result<(), Gone> {
        let mut flow = self.flow.take().unwrap_or_else(|| self.begin());
        let outcome = self.next_request(world, &mut flow).await;
        self.flow = (!matches!(outcome, Ok(true))).then_some(flow);
        outcome.map(drop)
    }

    fn begin(&mut self) -> Flow {
        let known = self.addresses.len();
        let (address, goal) = match Random.below(4) {
            0 | 1 if known > 0 => {
                let address = Random.below(u32::try_from(known).expect("few addresses")) as usize;
                match self.addresses[address].answered {
                    Some(_) if Random.below(2) == 0 => (address, Goal::Unbind),
                    Some((account, _)) => (address, Goal::Bind(1 - account)),
                    None => (address, Goal::Bind(0)),
                }
            }
            _ => {
                let email = format!("c{}n{known}@example.com", self.number);
                self.addresses.push(Address { email, answered: None, asked: None });
                (known, Goal::Bind(0))
            }
        };
        let account = if let Goal::Bind(account) = goal { account } else { 0 };
        let client_secret = Random.base62(16);
        Flow { goal, address, account, client_secret, send_attempt: 0, sid: None, is_validated: false }
    }

    /// True if the flow is complete.
    async fn next_request(&mut self, world: &World, flow: &mut Flow) -> Result<bool, Gone> {
        let address = &mut self.addresses[flow.address];
        let token = &self.accounts[flow.account].token;
        let post = |path: &str, body: Value| answer(world.api.post(&v2(path), body).bearer(token));
        let Some(sid) = &flow.sid else {
            flow.send_attempt += 1;
            let (secret, attempt) = (&flow.client_secret, flow.send_attempt);
            let body = json!({ "client_secret": secret, "email": address.email, "send_attempt": attempt });
            let session = post("/validate/email/requestToken", body).await?;
            flow.sid = Some(session["sid"].as_str().expect("a sid").to_owned());
            return Ok(false);
        };
        if !flow.is_validated {
            let token = mailed_token(world, &address.email, sid);
            let body = json!({ "client_secret": flow.client_secret, "sid": sid, "token": token });
            assert_eq!(post("/validate/email/submitToken", body).await?, json!({ "success": true }));
            flow.is_validated = true;
            return Ok(false);
        }
        address.asked = Some(flow.goal);
        let mut body = json!({ "client_secret": flow.client_secret, "sid": sid });
        address.answered = match flow.goal {
            Goal::Bind(account) => {
                body["mxid"] = json!(self.accounts[account].user);
                let association = post("/3pid/bind", body).await?;
                Some((account, association["ts"].as_i64().expect("a time")))
            }
            Goal::Unbind => {
                let owner = address.answered.map_or(0, |(account, _)| account);
                body["mxid"] = json!(self.accounts[owner].user);
                body["threepid"] = json!({ "medium": "email", "address": address.email });
                assert_eq!(post("/3pid/unbind", body).await?, json!({}));
                None
            }
        };
        address.asked = None;
        Ok(true)
    }

    /// Compares the client's state with the server's; returns the number of its bound addresses.
    async fn verify(&mut self, world: &World, round: usize) -> usize {
        let mut owners: HashMap<String, Vec<(usize, i64)>> = HashMap::new();
        for (number, account) in self.accounts.iter().enumerate() {
            let own = world.api.get("/_identity/v1/bindings").bearer(&account.token).send().await.expect(200);
            for binding in own["bindings"].as_array().expect("a list") {
                let email = binding["address"].as_str().expect("an address").to_owned();
                owners.entry(email).or_default().push((number, binding["ts"].as_i64().expect("a time")));
            }
        }
        let token = &self.accounts[0].token;
        let pepper = world.pepper(token).await;
        let hashes: Vec<_> = self.addresses.iter().map(|address| hash(&address.email, "email", &pepper)).collect();
        let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
        let found = world.api.post(&v2("/lookup"), body).bearer(token).send().await.expect(200);
        for (address, hash) in self.addresses.iter_mut().zip(&hashes) {
            let owners = owners.remove(&address.email).unwrap_or_default();
            let context =
                format!("round {round}: {} answered {:?}, asked {:?}", address.email, address.answered, address.asked);
            assert!(owners.len() <= 1, "{context}: two rows {owners:?}");
            let now = owners.first().copied();
            let user = now.map(|(account, _)| json!(self.accounts[account].user)).unwrap_or_default();
            assert_eq!(found["mappings"][hash], user, "{context}: the lookup disagrees with {now:?}");
            let happened = match (address.asked, now) {
                (Some(Goal::Bind(account)), Some((owner, _))) => account == owner,
                (Some(Goal::Unbind), None) => true,
                _ => false,
            };
            assert!(now == address.answered || happened, "{context}: found {now:?}");
            (address.answered, address.asked) = (now, None);
        }
        assert!(owners.is_empty(), "round {round}: rows without a request: {owners:?}");
        self.verify_session(world).await;
        self.addresses.iter().filter(|address| address.answered.is_some()).count()
    }

    /// A session with a response is unchanged.
    async fn verify_session(&self, world: &World) {
        let Some(flow) = &self.flow else { return };
        let Some(sid) = &flow.sid else { return };
        let call = world.api.get(&v2("/3pid/getValidated3pid")).query("sid", sid);
        let call = call.query("client_secret", &flow.client_secret).bearer(&self.accounts[flow.account].token);
        let answer = call.send().await;
        if flow.is_validated {
            assert_eq!(answer.expect(200)["address"], self.addresses[flow.address].email);
        } else {
            // It may have been validated just before the kill.
            assert!(answer.code() == 200 || answer.json()["errcode"] == "M_SESSION_NOT_VALIDATED", "{answer}");
        }
    }
}

/// The body of a success response.
async fn answer(call: Call) -> Result<Value, Gone> {
    Ok(call.try_send().await.map_err(|_| Gone)?.expect(200))
}

/// The token in a mail of this session: the mail is sent before the response.
fn mailed_token(world: &World, email: &str, sid: &str) -> String {
    let mails = world.mail.mails_to(email);
    // The notices of moved and removed addresses have no such link.
    let is_validation = |message: &Message| message.links().iter().any(|link| link.path().ends_with("/submitToken"));
    let mut messages = mails.iter().map(Mail::message).filter(is_validation);
    let own = messages.find(|message| message.validation_parameter("sid") == sid);
    own.expect("the mail of an answered request").validation_parameter("token")
}
