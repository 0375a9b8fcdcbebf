//! How many mails and how many wrong tokens there may be.

use harness::api::Answer;
use harness::wait::wait_for;

use super::request;
use harness::world::identity::{DEADLINE, Settings, World};

/// Checks the refusal, and that body and header agree on how long to wait; gives that in milliseconds.
#[track_caller]
fn limited(answer: &Answer) -> u64 {
    let body = answer.refused(429, "M_LIMIT_EXCEEDED");
    let wait = body["retry_after_ms"].as_u64().expect("retry_after_ms is an integer");
    assert!(wait > 0, "{answer}");
    let seconds = wait.div_ceil(1000).to_string();
    assert_eq!(answer.header("retry-after"), Some(seconds.as_str()), "{answer}");
    wait
}

async fn world(limits: &str) -> World {
    let tables = format!("[limits]\n{limits}");
    World::with(Settings { tables: &tables, ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_causes_so_many_mails_and_no_more() {
    let world = world("email_per_account = { burst = 2, every = \"1h\" }").await;
    let (bob, eve) = (world.register("@bob:hs.example").await, world.register("@eve:hs.example").await);
    for address in ["a@example.com", "b@example.com"] {
        world.ask(&bob, request("s", address, 1)).await.expect(200);
        // What was sent already costs nothing.
        world.ask(&bob, request("s", address, 1)).await.expect(200);
    }
    let wait = limited(&world.ask(&bob, request("s", "c@example.com", 1)).await);
    assert!(wait <= 3_600_000, "{wait}");
    limited(&world.ask(&bob, request("s", "a@example.com", 2)).await);
    // A request for which no mail is due is answered still, and what is refused for another reason is not limited.
    world.ask(&bob, request("s", "a@example.com", 1)).await.expect(200);
    world.ask(&bob, request("s", "root", 1)).await.refused(400, "M_INVALID_EMAIL");
    assert_eq!(world.mail.mails().len(), 2);

    world.ask(&eve, request("s", "c@example.com", 1)).await.expect(200);
    assert_eq!(world.mail.mails_to("c@example.com").len(), 1, "another account has its own bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn mails_to_an_address_are_limited_over_all_accounts() {
    let world = world("email_per_address = { burst = 2, every = \"1h\" }").await;
    let mut accounts = Vec::new();
    for user in ["@a:hs.example", "@b:hs.example", "@c:hs.example"] {
        accounts.push(world.register(user).await);
    }
    world.ask(&accounts[0], request("s", "bob@example.com", 1)).await.expect(200);
    world.ask(&accounts[1], request("s", "BOB@example.com", 1)).await.expect(200);
    limited(&world.ask(&accounts[2], request("s", "Bob@Example.com", 1)).await);
    assert_eq!(world.mail.mails().len(), 2);
    world.ask(&accounts[2], request("s", "bob@example.org", 1)).await.expect(200);
    assert_eq!(world.mail.mails().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_sends_so_many_mails_to_everybody_and_more_later() {
    let world = world("mail_global = { burst = 2, every = \"2s\" }").await;
    let (bob, eve) = (world.register("@bob:hs.example").await, world.register("@eve:hs.example").await);
    let mut refused = None;
    for n in 0..50 {
        let account = if n % 2 == 0 { &bob } else { &eve };
        let answer = world.ask(account, request(&format!("s{n}"), &format!("{n}@example.com"), 1)).await;
        if answer.code() != 200 {
            refused = Some(limited(&answer));
            break;
        }
    }
    let wait = refused.expect("50 mails take more than the bucket has");
    assert!(wait <= 2000, "{wait}");
    let sent = world.mail.mails().len();
    assert!(sent >= 2, "{sent}");
    wait_for("a mail that may go out again", DEADLINE, async || {
        (world.ask(&bob, request("later", "later@example.com", 1)).await.code() == 200).then_some(())
    })
    .await;
    assert_eq!(world.mail.mails().len(), sent + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_there_are_none() {
    let world = world("enabled = false\nemail_per_address = { burst = 1, every = \"1h\" }").await;
    let bob = world.register("@bob:hs.example").await;
    for attempt in 0..10 {
        world.ask(&bob, request("s", "bob@example.com", attempt)).await.expect(200);
    }
    assert_eq!(world.mail.mails().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_in_sessions_of_strangers_never_refuse_the_right_one() {
    let world =
        World::with(Settings { tables: "[limits]\nemail_per_address = \"1000/h\"", ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, "bob@example.com").await;
    for n in 0..4 {
        let eve = world.register(&format!("@eve{n}:hs.example")).await;
        let own = world.request_token(&eve, "bob@example.com").await;
        for guess in 0..20 {
            let mut wrong = own.submission();
            wrong["token"] = format!("x{guess}").into();
            world.submit(&eve, wrong).await.refused(400, "M_TOKEN_INCORRECT");
        }
        world.submit(&eve, own.submission()).await.refused(400, "M_SESSION_EXPIRED");
    }
    world.submit(&bob, session.submission()).await.expect(200);
}
