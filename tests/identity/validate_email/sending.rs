//! When a mail goes out, in which session, and how long that session lives.

use harness::mail::{Script, Stage};
use harness::wait::wait_for;
use serde_json::{Value, json};

use super::request;
use harness::world::identity::{DEADLINE, Settings, World, v2};

const BOB: &str = "bob@example.com";

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_out_only_for_a_number_greater_than_the_last_one_sent() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let mut sids = Vec::new();
    for (attempt, mails) in [
        (json!(0), 1),
        (json!(0), 1),
        (json!("0"), 1),
        (json!(3), 2),
        (json!(3), 2),
        (json!("3"), 2),
        (json!("003"), 2),
        (json!(2), 2),
        (json!(1), 2),
        (json!("4"), 3),
        (json!(4), 3),
        (json!("999999999999999999"), 4),
        (json!(5), 4),
    ] {
        let answer = world.ask(&bob, request("s", BOB, attempt.clone())).await;
        sids.push(answer.expect(200)["sid"].as_str().unwrap().to_owned());
        assert_eq!(world.mail.mails_to(BOB).len(), mails, "after send_attempt {attempt}");
    }
    sids.dedup();
    assert_eq!(sids.len(), 1, "one session: {sids:?}");
    assert!(sids[0].len() == 24 && sids[0].bytes().all(|b| b.is_ascii_alphanumeric()), "{sids:?}");
    let tokens: Vec<_> = world.mail.mails().iter().map(|mail| mail.message().validation_parameter("token")).collect();
    assert!(tokens.iter().all(|token| *token == tokens[0] && token.len() == 32), "the same in all mails: {tokens:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_is_none_is_refused_and_sends_nothing() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    for attempt in [
        json!(-1),
        json!("-1"),
        json!(1.5),
        json!(1.0),
        json!(true),
        json!([1]),
        json!({}),
        json!(""),
        json!(" 1"),
        json!("1\n"),
        json!("1e3"),
        json!("１"),
        json!("1234567890123456789"),
        json!(u64::MAX),
    ] {
        world.ask(&bob, request("s", BOB, attempt)).await.refused(400, "M_INVALID_PARAM");
    }
    let body = world.ask(&bob, request("s", BOB, Value::Null)).await.refused(400, "M_MISSING_PARAMS");
    assert!(body["error"].as_str().unwrap().contains("send_attempt"), "{body}");
    assert_eq!(world.mail.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_the_same_time_send_one_mail() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let call = world.api.post(&v2("/validate/email/requestToken"), request("s", BOB, 1)).bearer(&bob);
    let calls: Vec<_> = (0..8).map(|_| tokio::spawn(call.clone().send())).collect();
    let mut sids = Vec::new();
    for call in calls {
        sids.push(call.await.unwrap().expect(200)["sid"].clone());
    }
    sids.dedup();
    assert_eq!(sids.len(), 1, "one session: {sids:?}");
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_remembered_only_once_its_mail_has_gone() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    for stage in [Stage::Recipient, Stage::EndOfData] {
        world.mail.script(stage, [Script::say("550 5.1.1 no such user")]);
        world.ask(&bob, request("s", BOB, 1)).await.refused(400, "M_EMAIL_SEND_ERROR");
    }
    assert_eq!(world.mail.mails().len(), 0);
    world.ask(&bob, request("s", BOB, 1)).await.expect(200);
    assert_eq!(world.mail.mails_to(BOB).len(), 1);
    world.ask(&bob, request("s", BOB, 1)).await.expect(200);
    assert_eq!(world.mail.mails_to(BOB).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_mail_keeps_the_session_and_its_validation() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.validate(&bob, BOB).await;
    let before = world.validated(&bob, &session).await.expect(200);
    let answer = world.ask(&bob, request(&session.client_secret, BOB, 2)).await;
    assert_eq!(answer.expect(200), json!({ "sid": session.sid }));
    assert_eq!(world.mail.mails_to(BOB).len(), 2);
    assert_eq!(world.validated(&bob, &session).await.expect(200), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_secret_address_or_account_is_another_session() {
    let world = World::start().await;
    let (bob, eve) = (world.register("@bob:hs.example").await, world.register("@eve:hs.example").await);
    let mut sids = Vec::new();
    for (account, secret, address) in
        [(&bob, "s", BOB), (&bob, "S", BOB), (&bob, "s", "bob2@example.com"), (&eve, "s", BOB)]
    {
        sids.push(world.ask(account, request(secret, address, 1)).await.expect(200)["sid"].to_string());
    }
    sids.sort();
    sids.dedup();
    assert_eq!(sids.len(), 4, "{sids:?}");
    assert_eq!(world.mail.mails().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_do_not_keep_a_session_alive_and_its_sid_stays_refused() {
    let tables = "[sessions]\nlifetime = \"2s\"";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let old = world.request_token(&bob, BOB).await;
    // Asking all the time is what would keep it alive, if anything did.
    let sid = wait_for("another session", DEADLINE, async || {
        let answer = world.ask(&bob, request(&old.client_secret, BOB, 1)).await.expect(200);
        answer["sid"].as_str().filter(|sid| *sid != old.sid).map(str::to_owned)
    });
    let sid = sid.await;
    let mail = world.mail.wait_for(BOB, 2, DEADLINE).await.message();
    assert_eq!(mail.validation_parameter("sid"), sid);
    assert_ne!(mail.validation_parameter("token"), old.token);

    let refused = world.submit(&bob, old.submission()).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(refused["success"], false);
    world.validated(&bob, &old).await.refused(400, "M_SESSION_EXPIRED");
    let bind = json!({ "sid": old.sid, "client_secret": old.client_secret, "mxid": "@bob:hs.example" });
    world.api.post(&v2("/3pid/bind"), bind).bearer(&bob).send().await.refused(400, "M_SESSION_EXPIRED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validated_session_expires_too() {
    let tables = "[sessions]\nlifetime = \"5s\"";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.validate(&bob, BOB).await;
    let expired = wait_for("the end of the session", DEADLINE, async || {
        let answer = world.validated(&bob, &session).await;
        (answer.code() != 200).then_some(answer)
    });
    expired.await.refused(400, "M_SESSION_EXPIRED");
    world.submit(&bob, session.submission()).await.refused(400, "M_SESSION_EXPIRED");
}
