//! An outage of PostgreSQL under load: direct, and behind pgbouncer. Responses are 503 with Retry-After at worst, nothing is
//! lost or half written, and the server recovers without a restart.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use harness::api::{Answer, Api};
use harness::binary;
use harness::homeserver::Homeserver;
use harness::pgbouncer::Pooler;
use harness::postgres::Cluster;
use harness::process::{Server, new_folder};
use harness::wait::{wait_for, wait_until};
use harness::world::identity::{DEADLINE, Session, Settings, World, hash, v2};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const USER: &str = "@bob:hs.example";
const ADDRESSES: usize = 24;
const BINDERS: usize = 3;

/// What the load has seen.
#[derive(Default)]
struct Seen {
    binds: AtomicUsize,
    lookups: AtomicUsize,
    refusals: AtomicUsize,
    is_over: AtomicBool,
    /// Addresses whose bind was confirmed.
    bound: Mutex<BTreeSet<String>>,
}

impl Seen {
    /// Whether the request succeeded; fails on anything but 200 and a 503 with Retry-After.
    fn succeeded(&self, answer: &Answer, counter: &AtomicUsize) -> bool {
        if answer.code() == 200 {
            counter.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        refused_for_now(answer);
        self.refusals.fetch_add(1, Ordering::Relaxed);
        false
    }

    fn total(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.binds), count(&self.lookups), count(&self.refusals))
    }
}

fn refused_for_now(answer: &Answer) {
    assert_eq!(answer.refused(503, "M_UNKNOWN")["error"], "The server is temporarily unavailable");
    assert_eq!(answer.header("retry-after"), Some("5"), "{answer}");
}

/// Binds the addresses of `sessions` again and again until the load is over and each is bound.
async fn bind_all(api: Api, token: String, sessions: Vec<(String, Session)>, seen: Arc<Seen>) {
    while !seen.is_over.load(Ordering::Relaxed) {
        for (address, session) in &sessions {
            let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": USER });
            loop {
                let answer = api.post(&v2("/3pid/bind"), body.clone()).bearer(&token).send().await;
                if seen.succeeded(&answer, &seen.binds) {
                    break;
                }
            }
            seen.bound.lock().expect("no panic").insert(address.clone());
        }
    }
}

/// Looks all addresses up again and again; finds at least those whose bind was confirmed before.
async fn look_up_all(api: Api, token: String, pepper: String, seen: Arc<Seen>) {
    let addresses: Vec<_> = (0..ADDRESSES).map(address).collect();
    while !seen.is_over.load(Ordering::Relaxed) {
        let confirmed = seen.bound.lock().expect("no panic").clone();
        let hashes: Vec<_> = addresses.iter().map(|address| hash(address, "email", &pepper)).collect();
        let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
        let answer = api.post(&v2("/lookup"), body).bearer(&token).send().await;
        if seen.succeeded(&answer, &seen.lookups) {
            let found = answer.json();
            for address in &confirmed {
                assert_eq!(found["mappings"][hash(address, "email", &pepper)], USER, "{address} is lost: {found}");
            }
        }
    }
}

fn address(number: usize) -> String {
    format!("bob{number}@example.com")
}

/// Every request that needs the database; the last is a page.
fn requests(session: &Session) -> Vec<(&'static str, String, Value)> {
    let proof = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": USER });
    let unbind = json!({
        "sid": session.sid, "client_secret": session.client_secret, "mxid": USER,
        "threepid": { "medium": "email", "address": address(0) },
    });
    let invite = json!({ "medium": "email", "address": "c@example.com", "room_id": "!r:hs.example", "sender": USER });
    let key = "A".repeat(43);
    vec![
        ("GET", v2("/account"), Value::Null),
        ("POST", v2("/account/logout"), json!({})),
        ("POST", v2("/terms"), json!({ "user_accepts": [] })),
        ("GET", v2("/hash_details"), Value::Null),
        ("POST", v2("/lookup"), json!({ "addresses": [], "algorithm": "sha256", "pepper": "x" })),
        (
            "POST",
            v2("/validate/email/requestToken"),
            json!({ "client_secret": "s", "email": "d@e.org", "send_attempt": 1 }),
        ),
        ("POST", v2("/validate/email/submitToken"), session.submission()),
        (
            "GET",
            v2(&format!("/3pid/getValidated3pid?sid={}&client_secret={}", session.sid, session.client_secret)),
            Value::Null,
        ),
        ("POST", v2("/3pid/bind"), proof),
        ("POST", v2("/3pid/unbind"), unbind),
        ("POST", v2("/store-invite"), invite),
        ("POST", v2("/sign-ed25519"), json!({ "mxid": USER, "token": "t", "private_key": key })),
        ("GET", v2(&format!("/pubkey/ephemeral/isvalid?public_key={key}")), Value::Null),
        ("GET", session.confirmed_link(), Value::Null),
    ]
}

async fn every_route_is_unavailable(world: &World, token: &str, session: &Session) {
    for (method, path, body) in requests(session) {
        let call = if method == "GET" { world.api.get(&path) } else { world.api.post(&path, body) };
        let answer = call.bearer(token).send().await;
        assert_eq!((answer.code(), answer.header("retry-after")), (503, Some("5")), "{method} {path}: {answer}");
        if !path.contains("confirm=1") {
            assert_eq!(answer.json()["errcode"], "M_UNKNOWN", "{method} {path}: {answer}");
        }
    }
    let registration = world.homeserver.open_id_token("@carol:hs.example");
    refused_for_now(&world.api.post(&v2("/account/register"), registration).send().await);
    assert_eq!(Api::new(&world.server.admin_url()).get("/ready").send().await.code(), 503);
    world.api.get("/_matrix/identity/versions").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_postgresql_loses_nothing_and_ends_without_a_restart() {
    for is_pooled in [false, true] {
        let Some(mut cluster) = Cluster::own().await else { return };
        let direct = cluster.database("outage").await;
        let mut url = direct.clone();
        let mut _pooler = None;
        if is_pooled {
            let Some(pooler) = Pooler::before(&direct).await else { return };
            url = pooler.url(&direct);
            _pooler = Some(pooler);
        }
        let tables = format!(
            "[limits]\nenabled = false\n[database]\nurl = \"{url}\"\nconnect_timeout = \"3s\"\npool_timeout = \"3s\"\n\
             statement_timeout = \"5s\"\n[lookup]\ndaily_quota = 0\ndaily_quota_per_homeserver = 0\n"
        );
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let token = world.register(USER).await;
        let pepper = world.pepper(&token).await;
        let mut sessions = Vec::new();
        for number in 0..ADDRESSES {
            sessions.push((address(number), world.validate(&token, &address(number)).await));
        }
        let proof = sessions[0].1.clone();

        let seen = Arc::new(Seen::default());
        let mut load = JoinSet::new();
        // All but a third are bound for the first time while the database is away.
        for part in sessions.chunks(ADDRESSES / BINDERS) {
            load.spawn(bind_all(world.api.clone(), token.clone(), part.to_vec(), seen.clone()));
        }
        for _ in 0..2 {
            load.spawn(look_up_all(world.api.clone(), token.clone(), pepper.clone(), seen.clone()));
        }
        let progress = async |what: &str, more: usize| {
            let (binds, lookups, _) = seen.total();
            wait_until(what, DEADLINE, || {
                let now = seen.total();
                now.0 >= binds + more && now.1 >= lookups + more
            })
            .await;
        };
        progress("the load before the outage", 3).await;
        for _ in 0..5 {
            cluster.end_connections().await;
            progress("the load after its connections were ended", 5).await;
        }
        let before = seen.total();
        cluster.stop();
        wait_until("refusals", DEADLINE, || seen.total().2 >= before.2 + 20).await;
        // What is in memory is used until the process notices that it hears of no changes.
        wait_for("a refusal of what memory answers", DEADLINE, async || {
            let account = world.api.get(&v2("/account")).bearer(&token).send().await;
            (account.code() == 503).then_some(())
        })
        .await;
        every_route_is_unavailable(&world, &token, &proof).await;
        let lines = world.server.logs().matches("the database is not available").count();
        assert!((1..=2).contains(&lines), "one a minute, however many requests are refused: {lines}");
        cluster.start();
        progress("the load after the outage", 30).await;
        seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = load.join_next().await {
            ended.unwrap();
        }

        assert_eq!(seen.bound.lock().unwrap().len(), ADDRESSES);
        let (client, connection) = tokio_postgres::connect(&direct, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let stored: i64 = client.query_one("select count(*) from associations", &[]).await.unwrap().get(0);
        assert_eq!(usize::try_from(stored), Ok(ADDRESSES));
        for number in 0..ADDRESSES {
            assert_eq!(world.look_up(&token, &address(number), "email").await.as_deref(), Some(USER));
        }
        world.register("@carol:hs.example").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_before_its_database_waits_for_it() {
    let Some(mut cluster) = Cluster::own().await else { return };
    let url = cluster.database("late").await;
    let (homeserver, folder) = (Homeserver::start("hs.example").await, new_folder());
    let tables = format!("[database]\nurl = \"{url}\"\nstart_timeout = \"STARTs\"\n");
    let config = Settings { tables: &tables, ..Settings::default() }.toml(&homeserver.config(folder.path()), "");
    cluster.stop();
    let impatient = config.replace("STARTs", "0s");
    let refusal = Server::try_start_in(new_folder(), binary::identity(), &impatient, &[]).await.unwrap_err();
    assert!(refusal.output.contains("connect"), "{}", refusal.output);

    let log = folder.path().join("log");
    let patient = config.replace("STARTs", "60s");
    let data = new_folder();
    let starting = Server::try_start_logging_to(&log, data, binary::identity(), &patient);
    let late = async {
        wait_until("a start that is retried", DEADLINE, || {
            std::fs::read_to_string(&log).unwrap_or_default().contains("not reachable yet")
        })
        .await;
        cluster.start();
    };
    let (started, ()) = tokio::join!(starting, late);
    let server = started.unwrap();
    Api::new(&server.url()).get("/_matrix/identity/versions").send().await.expect(200);
}
