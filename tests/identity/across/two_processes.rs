//! Two processes on one PostgreSQL database are one server: each reads the rows and the limits of the other.
//!
//! Invariant: without PostgreSQL on the machine these tests are skipped and listed; with `CI=true` they fail.

use std::time::Instant;

use harness::api::{Answer, Api};
use harness::binary;
use harness::homeserver::Homeserver;
use harness::options::scale;
use harness::process::{Server, new_folder};
use serde_json::{Value, json};
use shared::random::Random;
use tokio::task::JoinSet;

use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, Settings, World, hash, v2};

const NO_LIMITS: &str = "enabled = false";
/// Without limits, and without a delay between the processes: behind pgbouncer a change is known by polling alone.
const FROM_DATABASE: &str = "enabled = false\n[lookup]\nindex = \"database\"";

/// Two processes of one server, with these lines of `[limits]`.
struct Pair {
    first: World,
    second: Api,
    _second: Server,
}

impl Pair {
    async fn start(limits: &str) -> Option<Self> {
        let url = harness::database::postgresql().await?;
        let tables = format!("[limits]\n{limits}\n[database]\nurl = \"{url}\"");
        let server = "name = \"id.example.org\"";
        let first = World::with(Settings { server, tables: &tables, ..Settings::default() }).await;
        let (_second, second) = first.twin().await;
        Some(Self { first, second, _second })
    }

    /// Sends the same request to both, `times` times each, all at once; returns the responses in no order.
    async fn ask_both(&self, times: usize, path: &str, token: &str, body: impl Fn(usize) -> Value) -> Vec<Answer> {
        let mut calls = JoinSet::new();
        for n in 0..2 * times {
            let api = if n % 2 == 0 { &self.first.api } else { &self.second };
            calls.spawn(api.post(&v2(path), body(n)).bearer(token).send());
        }
        calls.join_all().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_step_of_a_binding_may_come_to_another_process() {
    let Some(pair) = Pair::start(FROM_DATABASE).await else { return };
    let (world, second) = (&pair.first, &pair.second);
    let bob = world.register("@bob:hs.example").await;
    let account = second.get(&v2("/account")).bearer(&bob).send().await.expect(200);
    assert_eq!(account, json!({ "user_id": "@bob:hs.example" }));

    let session = world.request_token(&bob, "bob@example.com").await;
    let submitted = second.post(&v2("/validate/email/submitToken"), session.submission()).bearer(&bob).send().await;
    assert_eq!(submitted.expect(200), json!({ "success": true }));
    let proof = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": "@bob:hs.example" });
    let association = world.api.post(&v2("/3pid/bind"), proof.clone()).bearer(&bob).send().await.expect(200);

    let peppers = [world.pepper(&bob).await, pepper(second, &bob).await];
    assert_eq!(peppers[0], peppers[1]);
    let hash = hash("bob@example.com", "email", &peppers[0]);
    let lookup = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": peppers[0] });
    let found = second.post(&v2("/lookup"), lookup.clone()).bearer(&bob).send().await.expect(200);
    assert_eq!(found["mappings"][&hash], "@bob:hs.example");

    // The second signs with the same key and under the same name.
    let again = second.post(&v2("/3pid/bind"), proof).bearer(&bob).send().await.expect(200);
    let signed = |association: &Value| association["signatures"]["id.example.org"]["ed25519:0"].is_string();
    assert!(signed(&association) && signed(&again), "{association} {again}");

    let unbind = json!({
        "mxid": "@bob:hs.example", "threepid": { "medium": "email", "address": "bob@example.com" },
        "sid": session.sid, "client_secret": session.client_secret,
    });
    assert_eq!(second.post(&v2("/3pid/unbind"), unbind).send().await.expect(200), json!({}));
    let found = world.api.post(&v2("/lookup"), lookup).bearer(&bob).send().await.expect(200);
    assert_eq!(found, json!({ "mappings": {} }));

    second.post(&v2("/account/logout"), json!({})).bearer(&bob).send().await.expect(200);
    wait_for("the other process to refuse the token", DEADLINE, async || {
        (world.api.get(&v2("/account")).bearer(&bob).send().await.code() == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_has_in_memory_follows_the_changes_of_the_other() {
    let Some(pair) = Pair::start(&format!("{NO_LIMITS}\n[lookup]\nindex = \"memory\"")).await else { return };
    let (world, second) = (&pair.first, &pair.second);
    let bob = world.register("@bob:hs.example").await;
    let pepper = pepper(second, &bob).await;
    for round in 0..3 {
        let email = format!("bob{round}@example.com");
        let hash = hash(&email, "email", &pepper);
        let lookup = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
        let finds = async |api: &Api| {
            let found = api.post(&v2("/lookup"), lookup.clone()).bearer(&bob).send().await.expect(200);
            found["mappings"][&hash] == "@bob:hs.example"
        };
        let session = world.validate_by(&bob, &email, &email).await;
        let proof = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": "@bob:hs.example" });
        world.api.post(&v2("/3pid/bind"), proof).bearer(&bob).send().await.expect(200);
        assert!(finds(&world.api).await, "at once where it was bound");
        wait_for("the other process to find it", DEADLINE, async || finds(second).await.then_some(())).await;
        let unbind = json!({
            "mxid": "@bob:hs.example", "threepid": { "medium": "email", "address": email },
            "sid": session.sid, "client_secret": session.client_secret,
        });
        second.post(&v2("/3pid/unbind"), unbind).send().await.expect(200);
        assert!(!finds(second).await, "at once where it was unbound");
        wait_for("the other process to forget it", DEADLINE, async || (!finds(&world.api).await).then_some(())).await;
    }
    second.post(&v2("/account/logout"), json!({})).bearer(&bob).send().await.expect(200);
    second.get(&v2("/account")).bearer(&bob).send().await.refused(401, "M_UNAUTHORIZED");
    wait_for("the other process to refuse the token", DEADLINE, async || {
        (world.api.get(&v2("/account")).bearer(&bob).send().await.code() == 401).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "figures for people")]
async fn a_process_hears_of_a_bind_of_another_without_a_poll() {
    for (how, poll) in [("announced", "5s"), ("polled", "1s")] {
        let url = match how {
            "announced" => harness::database::postgresql().await,
            _ => harness::pgbouncer::database().await,
        };
        let Some(url) = url else { return };
        let tables =
            format!("[limits]\n{NO_LIMITS}\n[lookup]\npoll_interval = \"{poll}\"\n[database]\nurl = \"{url}\"");
        let world =
            World::with(Settings { server: "name = \"id.example.org\"", tables: &tables, ..Settings::default() });
        let world = world.await;
        let (_second, second) = world.twin().await;
        let bob = world.register("@bob:hs.example").await;
        let pepper = pepper(&second, &bob).await;
        let mut times = Vec::new();
        for round in 0..scale(5, 300) {
            let email = format!("bob{round}@example.com");
            let hash = hash(&email, "email", &pepper);
            let lookup = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
            world.bind(&bob, "@bob:hs.example", &email).await;
            let answered = Instant::now();
            wait_for("the other process to find it", DEADLINE, async || {
                let found = second.post(&v2("/lookup"), lookup.clone()).bearer(&bob).send().await.expect(200);
                (found["mappings"][&hash] == "@bob:hs.example").then_some(())
            })
            .await;
            times.push(answered.elapsed());
        }
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        println!("{how}: p50 {:?}, p99 {:?}, at most {:?} of {}", at(50), at(99), at(100), times.len());
    }
}

async fn pepper(api: &Api, token: &str) -> String {
    let details = api.get(&v2("/hash_details")).bearer(token).send().await.expect(200);
    details["lookup_pepper"].as_str().expect("a pepper").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_that_start_together_on_an_empty_database_agree_on_the_pepper() {
    let Some(url) = harness::database::postgresql().await else { return };
    let tables = format!("[limits]\n{NO_LIMITS}\n[database]\nurl = \"{url}\"");
    let (homeserver, folder) = (Homeserver::start("hs.example").await, new_folder());
    let federation = homeserver.config(folder.path());
    let config = Settings { tables: &tables, ..Settings::default() }.toml(&federation, "");
    let mut starts = JoinSet::new();
    for _ in 0..4 {
        let config = config.clone();
        starts.spawn(async move { Server::start_in(new_folder(), binary::identity(), &config, &[]).await });
    }
    let servers = starts.join_all().await;
    let mut peppers = Vec::new();
    for server in &servers {
        let api = Api::new(&server.url());
        let token = homeserver.open_id_token("@alice:hs.example");
        let registered = api.post(&v2("/account/register"), token).send().await.expect(200);
        peppers.push(pepper(&api, registered["token"].as_str().unwrap()).await);
    }
    peppers.dedup();
    assert_eq!(peppers.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_send_attempt_at_both_at_once_sends_one_mail() {
    let Some(pair) = Pair::start(NO_LIMITS).await else { return };
    let world = &pair.first;
    let bob = world.register("@bob:hs.example").await;
    for round in 0..10 {
        let (email, secret) = (format!("bob{round}@example.com"), Random.base62(16));
        for (send_attempt, mails) in [(1, 1), (1, 1), (2, 2)] {
            let body = json!({ "client_secret": secret, "email": email, "send_attempt": send_attempt });
            let answers = pair.ask_both(3, "/validate/email/requestToken", &bob, |_| body.clone()).await;
            let mut sids: Vec<_> = answers.iter().map(|answer| answer.expect(200)["sid"].to_string()).collect();
            sids.dedup();
            assert_eq!(sids.len(), 1, "round {round}: {sids:?}");
            world.mail.wait_for(&email, mails, DEADLINE).await;
            assert_eq!(world.mail.mails_to(&email).len(), mails, "round {round}, attempt {send_attempt}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rate_limits_count_what_comes_to_either() {
    let limits = "email_per_account = { burst = 3, every = \"1h\" }\nregister_per_ip = { burst = 4, every = \"1h\" }";
    let Some(pair) = Pair::start(limits).await else { return };
    let world = &pair.first;
    let bob = world.register("@bob:hs.example").await;
    let request = |n: usize| json!({ "client_secret": "s", "email": format!("b{n}@example.com"), "send_attempt": 1 });
    let answers = pair.ask_both(5, "/validate/email/requestToken", &bob, request).await;
    tally(&answers, 3, 7);
    assert_eq!(world.mail.mails().len(), 3);

    // One of the four has been charged.
    let token = |_| world.homeserver.open_id_token("@bob:hs.example");
    tally(&pair.ask_both(5, "/account/register", "", token).await, 3, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_at_either_burn_the_session() {
    let Some(pair) = Pair::start(NO_LIMITS).await else { return };
    let world = &pair.first;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, "bob@example.com").await;
    let mut wrong = session.submission();
    wrong["token"] = json!("wrong");
    let answers = pair.ask_both(15, "/validate/email/submitToken", &bob, |_| wrong.clone()).await;
    let count = |errcode: &str| answers.iter().filter(|answer| answer.json()["errcode"] == errcode).count();
    assert_eq!((count("M_TOKEN_INCORRECT"), count("M_SESSION_EXPIRED")), (20, 10));
    for api in [&world.api, &pair.second] {
        let right = api.post(&v2("/validate/email/submitToken"), session.submission()).bearer(&bob).send().await;
        right.refused(400, "M_SESSION_EXPIRED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_bound_at_both_at_once_has_one_owner() {
    let Some(pair) = Pair::start(FROM_DATABASE).await else { return };
    let world = &pair.first;
    let users = ["@a:hs.example", "@b:hs.example"];
    let tokens = [world.register(users[0]).await, world.register(users[1]).await];
    let sessions =
        [world.validate(&tokens[0], "x@example.com").await, world.validate(&tokens[1], "x@example.com").await];
    for round in 0..10 {
        let mut calls = JoinSet::new();
        for n in 0..8 {
            let (api, session) = ([&world.api, &pair.second][n % 2], &sessions[n / 2 % 2]);
            let user = users[n / 2 % 2];
            let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": user });
            calls.spawn(api.post(&v2("/3pid/bind"), body).bearer(&tokens[n / 2 % 2]).send());
        }
        for answer in calls.join_all().await {
            answer.expect(200);
        }
        let owner = world.look_up(&tokens[0], "x@example.com", "email").await.expect("an owner");
        assert!(users.contains(&owner.as_str()), "round {round}: {owner}");
        let pepper = pepper(&pair.second, &tokens[1]).await;
        let hash = hash("x@example.com", "email", &pepper);
        let body = json!({ "addresses": [hash], "algorithm": "sha256", "pepper": pepper });
        let found = pair.second.post(&v2("/lookup"), body).bearer(&tokens[1]).send().await.expect(200);
        assert_eq!(found["mappings"][&hash], owner, "round {round}");
    }
}

#[track_caller]
fn tally(answers: &[Answer], good: usize, limited: usize) {
    let count = |status| answers.iter().filter(|answer| answer.code() == status).count();
    assert_eq!((count(200), count(429)), (good, limited), "{}", answers[0]);
}
