//! What of numbers, codes and providers' passwords reaches the log, at any level, or the database.
//!
//! Invariant: the search is shown to find what is there, so that finding nothing means something.

use harness::api::Api;
use harness::sms::{Fault, SmsGateway, Vendor};

use super::{ALICE, ask, submit, wish, world};
use harness::world::identity::{SQLITE, Session, v2};

const NUMBER: &str = "447700912345";

#[tokio::test(flavor = "multi_thread")]
async fn neither_numbers_nor_codes_nor_passwords_are_logged() {
    let (twilio, vonage) = (SmsGateway::start(Vendor::Twilio).await, SmsGateway::start(Vendor::Vonage).await);
    let tables = format!(
        "[log]\nlevel = \"trace\"\n[limits]\nenabled = false\n[sms]\nprovider = [\"twilio\", \"vonage\"]\nrules.44 = \"allow\"\n\
         timeout = \"1s\"\ntoken_digits = 8\n{}{}{SQLITE}",
        twilio.config(),
        vonage.config()
    );
    let mut world = world(&tables).await;
    let alice = world.register(ALICE).await;
    let mut secrets = vec![alice.clone()];
    secrets.extend([twilio.config(), vonage.config()].iter().flat_map(|config| {
        let value = |line: &str| Some(line.split_once(" = ")?.1.trim_matches('"').to_owned());
        config
            .lines()
            .filter(|line| line.contains("secret") || line.contains("token"))
            .filter_map(value)
            .collect::<Vec<_>>()
    }));
    assert!(secrets.len() >= 3, "{secrets:?}");

    // Every way to fail that has something to quote, then two that go well.
    for (n, fault) in [
        Some(Fault::Error("21211")),
        Some(Fault::Error("21408")),
        Some(Fault::Status(500)),
        Some(Fault::Garbage),
        Some(Fault::TruncatedBody),
        Some(Fault::Reset),
        Some(Fault::Hang),
        None,
        None,
    ]
    .into_iter()
    .enumerate()
    {
        match fault {
            Some(fault) => twilio.fail_next(1, fault),
            None => twilio.heal(),
        }
        let secret = format!("CLIENT-SECRET-{n}");
        let answer = ask(&world, &alice, wish("07700 912345", "GB", &secret, 1)).send().await;
        secrets.push(secret.clone());
        let Some(sid) = answer.json()["sid"].as_str().map(str::to_owned) else { continue };
        let sent = [twilio.accepted(), vonage.accepted()].concat();
        let code = sent.last().expect("a message").code();
        let session = Session { sid, client_secret: secret, token: code.clone() };
        assert_eq!(submit(&world, &alice, &session, "12345").await.code(), 400);
        let codes: Vec<String> = sent.iter().map(harness::sms::Sms::code).collect();
        for code in &codes {
            submit(&world, &alice, &session, code).await;
        }
        secrets.push(code);
        let link = v2(&format!(
            "/validate/msisdn/submitToken?token={}&client_secret={}&sid={}",
            session.token, session.client_secret, session.sid
        ));
        world.api.get(&link).send().await;
    }
    for body in
        ["{\"phone_number\":\"447700912345\"", "{\"phone_number\":{\"447700912345\":1},\"country\":[\"447700912345\"]}"]
    {
        let call = world.api.post(&v2("/validate/msisdn/requestToken"), serde_json::Value::Null).bearer(&alice);
        assert_eq!(call.body(body.to_owned()).send().await.code(), 400);
    }
    // Also those of messages that were accepted and reported as failed.
    secrets.extend([twilio.accepted(), vonage.accepted()].concat().iter().map(harness::sms::Sms::code));
    let metrics = Api::new(&world.server.admin_url()).get("/metrics").send().await.text();

    let data = world.server.folder().join("data");
    world.server.kill();
    let mut database = Vec::new();
    for file in ["identity.db", "identity.db-wal"] {
        database.extend(std::fs::read(data.join(file)).expect("SQLite's file"));
    }
    let database = String::from_utf8_lossy(&database).into_owned();
    let logs = world.server.logs();
    assert!(logs.contains("21408") && logs.contains("may have been sent"), "{logs}");
    assert!(database.contains(NUMBER), "the search finds");
    for secret in &secrets {
        for (place, text) in [("the database", &database), ("the log", &logs), ("the metrics", &metrics)] {
            assert!(!text.contains(secret.as_str()), "{secret} is in {place}");
        }
    }
    for form in [NUMBER, "7700912345", "7700 912345", "07700912345"] {
        for (place, text) in [("the log", &logs), ("the metrics", &metrics)] {
            let line = text.lines().find(|line| line.contains(form));
            assert_eq!(line, None, "{form} is in {place}");
        }
    }
}
