//! Three replicas behind a proxy and pgbouncer, under a load of binds and lookups: one replica is killed, the pooler is
//! restarted. A request is cut at worst with the replica that served it, and refused with 503 without the pooler.
//!
//! Lookups are answered from the database, so that each bind with a response is found at once by every replica.
//!
//! Invariant: a bind without a response took effect completely or not at all, and no response is ever taken back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use harness::api::{Api, Call};
use harness::options::scale;
use harness::pgbouncer::Pooler;
use harness::postgres;
use harness::wait::wait_until;
use serde_json::{Value, json};
use shared::random::Random;
use tokio::task::JoinSet;

use crate::identity::onbind::{BOB, Scene};
use harness::world::identity::{DEADLINE, Session, Settings, hash, v2};

/// Addresses that are bound for the first time during each disturbance.
const FRESH: usize = 6;
const BINDERS: usize = 3;

/// An invited address whose session is validated.
#[derive(Clone)]
struct Address {
    email: String,
    session: Session,
    /// The token of its invitation.
    invitation: String,
}

/// The load and what it has seen.
struct Load {
    api: Api,
    access_token: String,
    pepper: String,
    waiting: Mutex<Vec<Address>>,
    /// Addresses whose bind was confirmed.
    bound: Mutex<BTreeMap<String, Address>>,
    /// Addresses whose bind got no response; it is not repeated.
    unclear: Mutex<Vec<Address>>,
    binds: AtomicUsize,
    lookups: AtomicUsize,
    refusals: AtomicUsize,
    cuts: AtomicUsize,
    is_over: AtomicBool,
}

/// What came of a request.
enum Outcome {
    Success(Value),
    /// 503 with Retry-After.
    Refusal,
    /// The connection ended without a response.
    Cut,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn count(counter: &AtomicUsize) -> usize {
    counter.load(Ordering::SeqCst)
}

impl Load {
    /// Sends the request and counts a success with `counter`; fails on any other response than 200 and 503.
    async fn send(&self, call: Call, counter: &AtomicUsize) -> Outcome {
        let (counter, outcome) = match call.bearer(&self.access_token).try_send().await {
            Err(_) => (&self.cuts, Outcome::Cut),
            Ok(answer) if answer.code() == 200 => (counter, Outcome::Success(answer.json())),
            Ok(answer) => {
                answer.refused(503, "M_UNKNOWN");
                assert_eq!(answer.header("retry-after"), Some("5"), "{answer}");
                (&self.refusals, Outcome::Refusal)
            }
        };
        counter.fetch_add(1, Ordering::SeqCst);
        outcome
    }

    async fn bind(&self, address: &Address) -> Outcome {
        let Session { sid, client_secret, .. } = &address.session;
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": BOB });
        self.send(self.api.post(&v2("/3pid/bind"), body), &self.binds).await
    }

    /// Binds the waiting addresses, and bound ones again if none waits.
    async fn bind_all(self: Arc<Self>) {
        while !self.is_over.load(Ordering::SeqCst) {
            let waiting = lock(&self.waiting).pop();
            let Some(address) = waiting else {
                let known: Vec<_> = lock(&self.bound).values().cloned().collect();
                if known.is_empty() {
                    tokio::task::yield_now().await;
                } else {
                    let number = Random.below(u32::try_from(known.len()).expect("few addresses")) as usize;
                    self.bind(&known[number]).await;
                }
                continue;
            };
            match self.bind(&address).await {
                Outcome::Success(association) => {
                    assert_eq!(association["address"], address.email);
                    lock(&self.bound).insert(address.email.clone(), address);
                }
                Outcome::Refusal => lock(&self.waiting).push(address),
                Outcome::Cut => lock(&self.unclear).push(address),
            }
        }
    }

    /// The owners of these addresses; `None` without a response.
    async fn look_up(&self, emails: &[String]) -> Option<Vec<Option<String>>> {
        let hashes: Vec<_> = emails.iter().map(|email| hash(email, "email", &self.pepper)).collect();
        let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": self.pepper });
        let Outcome::Success(found) = self.send(self.api.post(&v2("/lookup"), body), &self.lookups).await else {
            return None;
        };
        Some(hashes.iter().map(|hash| found["mappings"][hash].as_str().map(str::to_owned)).collect())
    }

    /// Looks up all addresses whose bind was confirmed before, and finds them.
    async fn look_up_all(self: Arc<Self>) {
        while !self.is_over.load(Ordering::SeqCst) {
            let emails: Vec<_> = lock(&self.bound).keys().cloned().collect();
            if let Some(owners) = self.look_up(&emails).await {
                for (email, owner) in emails.iter().zip(owners) {
                    assert_eq!(owner.as_deref(), Some(BOB), "{email} is lost");
                }
            }
        }
    }

    /// Waits for further successes.
    async fn progress(&self, what: &str, more: usize) {
        let before = (count(&self.binds), count(&self.lookups));
        let has_more = || count(&self.binds) >= before.0 + more && count(&self.lookups) >= before.1 + more;
        wait_until(what, 2 * DEADLINE, has_more).await;
    }
}

/// Invites and validates the addresses of all disturbances.
async fn prepare(scene: &Scene, number: usize) -> Vec<Address> {
    let one = async |number: usize| {
        let email = format!("bob{number}@example.com");
        let invitation = scene.invite("!r:hs.example", &email).await;
        Address { session: scene.validate(BOB, &email).await, email, invitation }
    };
    join_all((0..number).map(one)).await
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "figures for a run with --nocapture")]
async fn a_replica_that_is_killed_and_a_pooler_that_restarts_lose_nothing() {
    let (kills, restarts) = scale((4, 2), (60, 20));
    let Some(direct) = postgres::database().await else { return };
    let Some(mut pooler) = Pooler::before(&direct).await else { return };
    let tables = format!(
        "[database]\nurl = \"{}\"\npool_timeout = \"3s\"\nconnect_timeout = \"3s\"\n\
         [lookup]\nindex = \"database\"\npoll_interval = \"50ms\"\ndaily_quota = 0\ndaily_quota_per_homeserver = 0\n",
        pooler.url(&direct)
    );
    let settings = Settings { tables: &tables, federation: "timeout = \"2s\"", ..Settings::default() };
    let mut scene = Scene::with(settings).await;
    scene.world.replicate().await;
    scene.introduce();
    let access_token = scene.tokens[BOB].clone();
    let mut fresh = prepare(&scene, FRESH * (kills + restarts)).await;
    let addresses = fresh.clone();

    let load = Arc::new(Load {
        api: scene.world.api.clone(),
        pepper: scene.world.pepper(&access_token).await,
        access_token,
        waiting: Mutex::default(),
        bound: Mutex::default(),
        unclear: Mutex::default(),
        binds: AtomicUsize::default(),
        lookups: AtomicUsize::default(),
        refusals: AtomicUsize::default(),
        cuts: AtomicUsize::default(),
        is_over: AtomicBool::default(),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..BINDERS {
        tasks.spawn(load.clone().bind_all());
    }
    for _ in 0..2 {
        tasks.spawn(load.clone().look_up_all());
    }
    for kill in 0..kills {
        let number = kill % scene.world.server.replicas();
        let begun = count(&load.binds);
        lock(&load.waiting).extend(fresh.drain(..FRESH));
        // At any time from before the first to after the last of the new binds.
        wait_until("a bind", DEADLINE, || count(&load.binds) >= begun + Random.below(2 * FRESH as u32) as usize).await;
        scene.world.server.kill_replica(number);
        load.progress("the load with two replicas", 5).await;
        scene.world.server.restart_replica(number).await;
        load.progress("the load with three replicas", 5).await;
    }
    let (cuts, refusals) = (count(&load.cuts), count(&load.refusals));
    for _ in 0..restarts {
        let before = count(&load.refusals);
        lock(&load.waiting).extend(fresh.drain(..FRESH));
        pooler.stop();
        wait_until("refusals", DEADLINE, || count(&load.refusals) >= before + 20).await;
        pooler.start();
        load.progress("the load with the pooler", 10).await;
    }
    assert_eq!(count(&load.cuts), cuts, "every request has a response from a living replica");
    wait_until("the last binds", DEADLINE, || lock(&load.waiting).is_empty()).await;
    load.is_over.store(true, Ordering::SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }

    let unclear = lock(&load.unclear).clone();
    let emails: Vec<_> = unclear.iter().map(|address| address.email.clone()).collect();
    let owners = load.look_up(&emails).await.expect("a response");
    let stored = owners.iter().flatten().count();
    scene.wait_for_empty().await;
    for (address, owner) in unclear.iter().zip(&owners) {
        let has_joined = scene.all_joins().iter().any(|join| join.token == address.invitation);
        assert_eq!(has_joined, owner.is_some(), "{}: bound by half", address.email);
        assert!(matches!(load.bind(address).await, Outcome::Success(_)));
    }
    wait_until("every invitation", DEADLINE, || {
        let joins = scene.all_joins();
        addresses.iter().all(|address| joins.iter().any(|join| join.token == address.invitation && join.mxid == BOB))
    })
    .await;
    scene.wait_for_empty().await;
    let emails: Vec<_> = addresses.iter().map(|address| address.email.clone()).collect();
    assert!(load.look_up(&emails).await.expect("a response").iter().all(|owner| owner.as_deref() == Some(BOB)));
    let (client, connection) = tokio_postgres::connect(&direct, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows: i64 = client.query_one("select count(*) from associations", &[]).await.unwrap().get(0);
    assert_eq!(usize::try_from(rows), Ok(addresses.len()));
    assert!(!scene.world.server.logs().contains("internal error"), "{}", scene.world.server.logs());
    println!(
        "{kills} kills: {cuts} requests cut, {refusals} refused; {restarts} restarts of the pooler: {} refused; {} binds, \
         {} lookups; {} binds without a response, {stored} of them stored; {} addresses, {} deliveries",
        count(&load.refusals) - refusals,
        count(&load.binds),
        count(&load.lookups),
        unclear.len(),
        addresses.len(),
        scene.all_joins().len(),
    );
}
