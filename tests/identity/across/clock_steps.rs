//! Steps of the clock: times that a clock wrote while it was ahead hide, block and delay nothing.
//!
//! Invariant: the binary itself runs under the stepped clock; the homeserver, the relay and the client keep the right
//! time.

use harness::api::Answer;
use harness::clock::SteppedClock;
use harness::homeserver::Fault;
use harness::mail::{Script, Stage};
use harness::wait::{wait_for, wait_until};
use harness::world::identity::{DEADLINE, Settings, World, databases, v2};
use serde_json::{Value, json};

const ONBIND: &str = "/_matrix/federation/v1/3pid/onbind";
const BOB: &str = "@bob:hs.example";
const DAVE: &str = "@dave:hs.example";
const TWO_DAYS: i64 = 2 * 86_400;
/// Shorter than the longest backoff.
const TWENTY_MINUTES: i64 = 20 * 60;

/// The server's limits would delay a mail by as much as they refill.
const NO_OTHER_LIMITS: &str = "mail_global = \"1000/s\"\nmail_per_homeserver = \"1000/s\"\n";

fn request(address: &str) -> Value {
    json!({ "client_secret": "s", "email": address, "send_attempt": 1 })
}

/// Mails of an account to new addresses, until one is refused.
async fn exhaust(world: &World, access_token: &str) {
    for number in 0..20 {
        let answer: Answer = world.ask(access_token, request(&format!("n{number}@example.com"))).await;
        if answer.code() == 429 {
            return;
        }
    }
    panic!("no limit");
}

/// What the server does while its clock is ahead, then that it all goes on after the step back.
async fn step_back(database: &str, seconds: i64, is_restarted: bool) {
    let Some(clock) = SteppedClock::ahead_by(seconds) else { return };
    let tables = format!("{database}[limits]\n{NO_OTHER_LIMITS}email_per_account = {{ burst = 4, every = \"3s\" }}\n");
    let environment = clock.environment();
    let email = "retry_after = \"1s\"\ntimeout = \"2s\"";
    let mut world =
        World::with(Settings { tables: &tables, email, environment: &environment, ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    let bob = world.register(BOB).await;
    let carol = world.register("@carol:hs.example").await;
    let dave = world.register(DAVE).await;

    let ts = world.bind(&bob, BOB, "bob@example.com").await["ts"].as_i64().expect("a time");
    let session = world.request_token(&bob, "later@example.com").await;
    exhaust(&world, &bob).await;
    let invitation = json!({
        "medium": "email", "address": "dave@example.com", "room_id": "!r:hs.example", "sender": "@alice:hs.example",
    });
    world.api.post(&v2("/store-invite"), invitation).bearer(&alice).send().await.expect(200);
    world.homeserver.fault(ONBIND, Fault::reply(503, ""));
    world.bind_by(&dave, DAVE, "dave@example.com", "dave@example.com").await;
    let onbinds = || world.homeserver.requests_to(ONBIND).len();
    wait_until("the first onbind", DEADLINE, || onbinds() > 0).await;
    world.mail.always(Stage::Recipient, Script::say("451 4.7.1 greylisted"));
    world.ask(&carol, request("carol@example.com")).await.expect(200);

    clock.set(0);
    if is_restarted {
        world.restart().await;
    }
    world.server.wait_for_log("the clock was ahead before", DEADLINE).await;
    let failed = world.homeserver.requests_to(ONBIND).len();
    world.homeserver.mend();
    world.mail.mend();
    let what = format!("{seconds} s, restarted: {is_restarted}");
    world.mail.wait_for("carol@example.com", 1, DEADLINE).await;
    wait_until(&what, DEADLINE, || world.homeserver.requests_to(ONBIND).len() > failed).await;
    assert_eq!(world.look_up(&carol, "bob@example.com", "email").await.as_deref(), Some(BOB), "{what}");
    world.submit(&bob, session.submission()).await.expect(200);
    world.validated(&bob, &session).await.expect(200);
    wait_for("a mail of the exhausted account", DEADLINE, async || {
        (world.ask(&bob, request("again@example.com")).await.code() == 200).then_some(())
    })
    .await;
    world.register("@erin:hs.example").await;
    let new = world.bind(&carol, "@carol:hs.example", "bob@example.com").await["ts"].as_i64().expect("a time");
    assert!(new < ts - seconds * 500, "the new binding has the right time: {new}, {ts}");
    let found = world.look_up(&dave, "bob@example.com", "email").await;
    assert_eq!(found.as_deref(), Some("@carol:hs.example"), "{what}: the later binding wins");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_whose_clock_steps_back_delays_nothing() {
    for database in databases().await {
        step_back(&database, TWO_DAYS, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_shorter_than_the_longest_backoff_delays_nothing_either() {
    for database in databases().await {
        step_back(&database, TWENTY_MINUTES, false).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_on_data_from_the_future_delays_nothing() {
    for database in databases().await {
        step_back(&database, TWO_DAYS, true).await;
    }
}
