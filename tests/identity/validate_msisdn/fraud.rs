//! Toll fraud and guessed codes: with one account, with a thousand, from a thousand addresses, against two processes.
//!
//! Invariant: the limits are those that a server has without a word of the operator; only registering is made free, as if
//! the attacker had come by his accounts over a long time.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::stream::{self, StreamExt};
use harness::api::Answer;
use serde_json::{Value, json};

use super::{ALICE, ALLOWED, Text, ask, request_code, submit, texts, wish, world};
use harness::world::identity::{DEADLINE, Session, Settings, World, v2};

/// How many requests of an attacker are under way at once.
const AT_ONCE: usize = 16;

const FREE_REGISTRATION: &str = "register_per_ip = { burst = 100000, every = \"1ms\" }\n\
    accounts_per_homeserver = { burst = 100000, every = \"1ms\" }\nsms_per_homeserver = { burst = 100000, every = \"1ms\" }\n";

/// A world that reads client addresses from `X-Forwarded-For`.
async fn behind_proxy(tables: &str) -> World {
    let http = "trusted_proxies = [\"127.0.0.1\"]";
    World::with(Settings { tables, http, ..Settings::default() }).await
}

/// So many accounts, each with an address of its own to come from.
async fn accounts(world: &World, number: usize) -> Vec<(String, String)> {
    let register = |n: usize| async move {
        let token = world.register(&format!("@attacker{n}:hs.example")).await;
        (token, format!("198.51.{}.{}", n / 256, n % 256))
    };
    stream::iter(0..number).map(register).buffer_unordered(AT_ONCE).collect().await
}

/// Each account asks for one message, to the number that `number` gives for its place in the list.
async fn pump(world: &World, accounts: &[(String, String)], number: impl Fn(usize) -> String) -> Vec<Answer> {
    let number = &number;
    let call = |(n, (token, address)): (usize, &(String, String))| {
        ask(world, token, wish(&number(n), "GB", "s", 1)).header("x-forwarded-for", address).send()
    };
    stream::iter(accounts.iter().enumerate().map(call)).buffer_unordered(AT_ONCE).collect().await
}

fn count(answers: &[Answer], code: u16, errcode: &str) -> usize {
    answers
        .iter()
        .filter(|answer| answer.code() == code && (code == 200 || answer.json()["errcode"] == errcode))
        .count()
}

async fn metrics(world: &World) -> String {
    harness::metrics::of(&world.server).await
}

/// The value of the series that begins with `name`, in whole numbers.
fn value(metrics: &str, name: &str) -> usize {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("no {name} in\n{metrics}")).trim();
    value.parse::<f64>().map(|value| value.round() as usize).unwrap_or_else(|_| panic!("{name} {value}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_gets_ten_messages_out_of_one_range_of_numbers() {
    let world = world(ALLOWED).await;
    let eve = world.register("@eve:hs.example").await;
    let mut answers = Vec::new();
    for n in 0..60 {
        let body = wish(&format!("+4477009{n:05}"), "GB", "s", 1);
        answers.push(ask(&world, &eve, body).send().await);
    }
    assert_eq!((count(&answers, 200, ""), count(&answers, 429, "M_LIMIT_EXCEEDED")), (10, 50));
    assert_eq!(texts(&world).len(), 10);
    // The same number again and again, with new secrets and greater numbers of the attempt.
    let bob = world.register("@bob:hs.example").await;
    assert_eq!(ask(&world, &bob, wish("+4477009999", "GB", "s", 1)).send().await.code(), 400, "a digit is missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_to_one_number_are_limited_over_all_accounts() {
    let world = behind_proxy(&format!("{ALLOWED}[limits]\n{FREE_REGISTRATION}")).await;
    let attackers = accounts(&world, 40).await;
    let answers = pump(&world, &attackers, |_| "07700900001".to_owned()).await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 429, "M_LIMIT_EXCEEDED")), (5, 35));
    assert_eq!(texts(&world).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_accounts_get_no_more_out_of_one_range_than_one_does() {
    let world = behind_proxy(&format!("{ALLOWED}[limits]\n{FREE_REGISTRATION}")).await;
    let attackers = accounts(&world, 1000).await;
    // From here on the country's bucket fills again.
    let begun = std::time::Instant::now();
    let answers = pump(&world, &attackers, |n| format!("+447700{:06}", 900_000 + n)).await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 429, "M_LIMIT_EXCEEDED")), (10, 990));
    assert_eq!(texts(&world).len(), 10);

    // Over all ranges of the country: its burst of 50, of which 10 are gone, and one a minute.
    let answers = pump(&world, &attackers, |n| format!("+4478{:08}", n * 10_007)).await;
    let at_most = 40 + usize::try_from(begun.elapsed().as_secs() / 60).expect("minutes") + 1;
    let sent = texts(&world).len() - 10;
    assert!((40..=at_most).contains(&sent), "{sent} of {at_most}");
    assert_eq!(count(&answers, 200, ""), sent);
    // What an alert goes by.
    let metrics = metrics(&world).await;
    assert_eq!(value(&metrics, "identity_sms_total{country=\"44\",event=\"sent\"}"), texts(&world).len());
    assert!(value(&metrics, "identity_rate_limited_total{limit=\"sms_per_range\"}") >= 990, "{metrics}");
    assert!(value(&metrics, "identity_rate_limited_total{limit=\"sms_per_country\"}") > 0, "{metrics}");
    assert_eq!(value(&metrics, "identity_sms_today "), texts(&world).len());
    assert_eq!(value(&metrics, "identity_sms_max_per_day "), 1000);
    assert_eq!(
        value(&metrics, "identity_sms_attempts_total{provider=\"log\",result=\"accepted\"}"),
        texts(&world).len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_has_a_bound_for_each_country_and_one_for_all_that_two_processes_share() {
    let Some(database) = harness::database::postgresql().await else { return };
    // As if all the other limits had been got around.
    let wide = ["number", "range", "country", "account", "homeserver", "ip"]
        .map(|name| format!("sms_per_{name} = {{ burst = 100000, every = \"1ms\" }}\n"))
        .concat();
    let tables = format!(
        "{ALLOWED}max_per_day = 60\nmax_per_day_per_country = 40\n[database]\nurl = \"{database}\"\n[limits]\n{wide}"
    );
    let world = world(&tables).await;
    let (twin, twin_api) = world.twin().await;
    let eve = world.register("@eve:hs.example").await;
    let send = |n: usize, number: String| {
        let api = if n.is_multiple_of(2) { &world.api } else { &twin_api };
        api.post(&v2("/validate/msisdn/requestToken"), wish(&number, "GB", "s", 1)).bearer(&eve).send()
    };
    let british = (0..60).map(|n| send(n, format!("+4477009{n:05}")));
    let answers: Vec<Answer> = stream::iter(british).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 400, "M_SEND_ERROR")), (40, 20));
    let american = (0..30).map(|n| send(n, format!("+1212555{n:04}")));
    let answers: Vec<Answer> = stream::iter(american).buffer_unordered(AT_ONCE).collect().await;
    assert_eq!((count(&answers, 200, ""), count(&answers, 400, "M_SEND_ERROR")), (20, 10));
    let of_twin = std::fs::read_to_string(twin.folder().join("data/sms.log")).expect("it has sent some");
    assert_eq!(texts(&world).len() + of_twin.lines().count(), 60);
    world.server.wait_for_log("max_per_day", DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_range_was_charged_is_given_back_when_its_owners_submit_their_codes() {
    let tables = format!(
        "{ALLOWED}[limits]\nsms_per_account = {{ burst = 1000, every = \"1h\" }}\nsms_per_ip = {{ burst = 1000, every = \"1h\" }}\n\
         sms_per_homeserver = {{ burst = 1000, every = \"1h\" }}\n"
    );
    let world = world(&tables).await;
    let alice = world.register(ALICE).await;
    for n in 0..25 {
        let session = request_code(&world, &alice, &format!("+4477009000{n:02}")).await;
        submit(&world, &alice, &session, &session.token).await.expect(200);
    }
    assert_eq!(texts(&world).len(), 25);
    assert_eq!(value(&metrics(&world).await, "identity_sms_total{country=\"44\",event=\"validated\"}"), 25);
    // A code that is submitted again gives nothing back again.
    let session = request_code(&world, &alice, "+447700900100").await;
    for _ in 0..20 {
        submit(&world, &alice, &session, &session.token).await.expect(200);
    }
    let mut sent = 0;
    while ask(&world, &alice, wish(&format!("+4477009002{sent:02}"), "GB", "s", 1)).send().await.code() == 200 {
        sent += 1;
        assert!(sent <= 10, "the range has no bound");
    }
    assert_eq!(sent, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_wrong_codes_burn_the_code() {
    let world = world(ALLOWED).await;
    let alice = world.register(ALICE).await;
    let session = request_code(&world, &alice, "07700900001").await;
    for n in 0..5 {
        let refused = submit(&world, &alice, &session, &wrong(&session, n)).await.refused(400, "M_TOKEN_INCORRECT");
        assert_eq!(refused["success"], false);
    }
    for _ in 0..2 {
        submit(&world, &alice, &session, &session.token).await.refused(400, "M_SESSION_EXPIRED");
    }
    world.validated(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // The same request starts over, with another code.
    let body = wish("07700900001", "GB", &session.client_secret, 1);
    let answer = ask(&world, &alice, body).send().await.expect(200);
    assert_ne!(answer["sid"].as_str(), Some(&*session.sid));
    let code = texts(&world).last().map(Text::code).expect("a message");
    let session = Session { sid: answer["sid"].as_str().expect("a sid").to_owned(), token: code, ..session };
    submit(&world, &alice, &session, &session.token).await.expect(200);
}

/// The `n`th code that is not the session's.
fn wrong(session: &Session, n: usize) -> String {
    let right: usize = session.token.parse().expect("digits");
    format!("{:06}", (right + 1 + n) % 1_000_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_accounts_get_the_guesses_of_five_sessions_and_do_not_lock_the_owner_out() {
    let world = behind_proxy(&format!("{ALLOWED}[limits]\n{FREE_REGISTRATION}")).await;
    // The owner of the number has a session of her own, which costs one of the number's five messages.
    let alice = world.register(ALICE).await;
    let own = request_code(&world, &alice, "07700900001").await;
    let attackers = accounts(&world, 1000).await;
    // Each starts a session of its own for the victim's number, where it is let.
    let sessions = stream::iter(attackers.iter().enumerate()).map(|(n, (token, address))| {
        let world = &world;
        async move {
            let secret = format!("s{n}");
            let call = ask(world, token, wish("07700900001", "GB", &secret, 1)).header("x-forwarded-for", address);
            let answer = call.send().await;
            let sid = answer.json()["sid"].as_str().map(str::to_owned);
            sid.map(|sid| Session { sid, client_secret: secret, token: String::new() })
        }
    });
    let sessions: Vec<Session> = sessions.buffer_unordered(AT_ONCE).filter_map(|it| async { it }).collect().await;
    assert_eq!(sessions.len(), 4);

    // Then each account guesses at every session.
    let judged = AtomicUsize::new(0);
    let guess = |n: usize| {
        let (world, session, (token, address)) = (&world, &sessions[n % 4], &attackers[n]);
        let judged = &judged;
        async move {
            // No code of the six digits can be one of seven.
            let body =
                json!({ "sid": session.sid, "client_secret": session.client_secret, "token": format!("1{n:06}") });
            let call = world.api.post(&v2("/validate/msisdn/submitToken"), body).bearer(token);
            let answer = call.header("x-forwarded-for", address).send().await;
            let body: Value = answer.json();
            match (answer.code(), body["errcode"].as_str()) {
                (400, Some("M_TOKEN_INCORRECT")) => {
                    judged.fetch_add(1, Ordering::Relaxed);
                }
                (400, Some("M_SESSION_EXPIRED")) => {}
                _ => panic!("{answer}"),
            }
        }
    };
    stream::iter((0..1000).map(guess)).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
    assert_eq!(judged.load(Ordering::Relaxed), 20);
    submit(&world, &alice, &own, &own.token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_gets_ten_guesses_an_hour_at_the_code_of_one_number() {
    let tables = format!("{ALLOWED}[limits]\nsms_per_number = \"100/min\"\nsms_per_range = \"100/min\"\n");
    let world = world(&tables).await;
    let (alice, bob) = (world.register(ALICE).await, world.register("@bob:hs.example").await);
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(request_code(&world, &alice, "07700900001").await);
    }
    for n in 0..10 {
        let session = &sessions[n / 5];
        submit(&world, &alice, session, &wrong(session, n)).await.refused(400, "M_TOKEN_INCORRECT");
    }
    for token in [wrong(&sessions[2], 0), sessions[2].token.clone()] {
        let refusal = submit(&world, &alice, &sessions[2], &token).await.refused(429, "M_LIMIT_EXCEEDED");
        assert_eq!(refusal["success"], false);
        assert!(refusal["retry_after_ms"].as_u64().unwrap() <= 360_000, "{refusal}");
    }
    // Her other numbers and other accounts are not affected.
    let other = request_code(&world, &alice, "07700900002").await;
    submit(&world, &alice, &other, &other.token).await.expect(200);
    let of_bob = request_code(&world, &bob, "07700900001").await;
    submit(&world, &bob, &of_bob, &of_bob.token).await.expect(200);
}
