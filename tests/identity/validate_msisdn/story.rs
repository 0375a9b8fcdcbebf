//! The whole story of a number: asked for, submitted, bound, looked up, unbound.

use serde_json::json;

use super::{ALICE, ALLOWED, BOB, ask, request_code, submit, texts, wish, world};
use harness::world::identity::{databases, v2};

const NUMBER: &str = "447700900001";

#[tokio::test(flavor = "multi_thread")]
async fn a_number_is_validated_bound_found_and_taken_back() {
    for database in databases().await {
        let world = world(&format!("{ALLOWED}{database}[lookup]\nalgorithms = [\"sha256\", \"none\"]\n")).await;
        let (bob, alice) = (world.register(BOB).await, world.register(ALICE).await);

        // As it is dialled at home, with blanks; send_attempt as matrix-js-sdk sends it.
        let body =
            json!({ "client_secret": "monkeys", "phone_number": "07700 900001", "country": "gb", "send_attempt": "1" });
        let answer = ask(&world, &bob, body).send().await.expect(200);
        let sid = answer["sid"].as_str().expect("a sid").to_owned();
        assert_eq!(answer, json!({ "sid": sid, "success": true, "msisdn": NUMBER, "intl_fmt": "+44 7700 900001" }));
        let sent = texts(&world);
        assert_eq!(sent.len(), 1);
        assert_eq!(
            (sent[0].to.as_str(), sent[0].text.as_str()),
            (NUMBER, &*format!("{} is your Matrix code", sent[0].code()))
        );

        let session = harness::world::identity::Session { sid, client_secret: "monkeys".into(), token: sent[0].code() };
        world.validated(&bob, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
        // What is between the digits does not count.
        let typed = format!(" {}-{} ", &session.token[..3], &session.token[3..]);
        assert_eq!(submit(&world, &bob, &session, &typed).await.expect(200), json!({ "success": true }));
        let validated = world.validated(&bob, &session).await.expect(200);
        assert_eq!((&validated["medium"], &validated["address"]), (&json!("msisdn"), &json!(NUMBER)));

        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": BOB });
        let association = world.api.post(&v2("/3pid/bind"), body).bearer(&bob).send().await.expect(200);
        assert_eq!((&association["medium"], &association["address"]), (&json!("msisdn"), &json!(NUMBER)));

        assert_eq!(world.look_up(&alice, NUMBER, "msisdn").await.as_deref(), Some(BOB));
        let pepper = world.pepper(&alice).await;
        let entries = ["447700900001 msisdn", "+44 (0)7700 900001 msisdn", "07700900001 msisdn", "447700900002 msisdn"];
        let body = json!({ "addresses": entries, "algorithm": "none", "pepper": pepper });
        let found = world.api.post(&v2("/lookup"), body).bearer(&alice).send().await.expect(200);
        assert_eq!(found["mappings"], json!({ entries[0]: BOB, entries[1]: BOB }));

        // Another session for the same number, asked for in full, lets him unbind.
        let again = request_code(&world, &bob, "+447700900001").await;
        submit(&world, &bob, &again, &again.token).await.expect(200);
        let body = json!({
            "mxid": BOB,
            "threepid": { "medium": "msisdn", "address": NUMBER },
            "sid": again.sid,
            "client_secret": again.client_secret,
        });
        world.api.post(&v2("/3pid/unbind"), body).send().await.expect(200);
        assert_eq!(world.look_up(&alice, NUMBER, "msisdn").await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_sends_one_message_and_all_messages_of_a_session_have_one_code() {
    let world = world(ALLOWED).await;
    let alice = world.register(ALICE).await;
    let body = |attempt| wish("07700900001", "GB", "s", attempt);
    // The same request three times, two of them at once.
    let (first, second) = tokio::join!(ask(&world, &alice, body(1)).send(), ask(&world, &alice, body(1)).send());
    let third = ask(&world, &alice, body(1)).send().await;
    let sids: Vec<_> = [first, second, third].iter().map(|answer| answer.expect(200)["sid"].clone()).collect();
    assert!(sids.iter().all(|sid| *sid == sids[0]), "{sids:?}");
    assert_eq!(texts(&world).len(), 1);
    // However the number is written, it is the same session.
    ask(&world, &alice, wish("+44 7700 900001", "US", "s", 2)).send().await.expect(200);
    let sent = texts(&world);
    assert_eq!((sent.len(), sent[0].clone()), (2, sent[1].clone()));
    // Another secret is another session.
    ask(&world, &alice, wish("07700900001", "GB", "t", 1)).send().await.expect(200);
    assert_eq!(texts(&world).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_one_medium_is_unknown_under_the_other() {
    let world = world(ALLOWED).await;
    let alice = world.register(ALICE).await;
    let number = request_code(&world, &alice, "07700900001").await;
    world.submit(&alice, number.submission()).await.refused(400, "M_INVALID_PARAM");
    let mail = world.request_token(&alice, "alice@example.com").await;
    let answer = submit(&world, &alice, &mail, &mail.token).await;
    let refused = answer.refused(400, "M_INVALID_PARAM");
    assert_eq!(refused["success"], false);
    submit(&world, &alice, &number, &number.token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_account_that_asked_may_use_what_was_validated() {
    let world = world(ALLOWED).await;
    let (alice, bob) = (world.register(ALICE).await, world.register(BOB).await);
    let session = request_code(&world, &alice, "07700900001").await;
    // Anybody may submit.
    submit(&world, &bob, &session, &session.token).await.expect(200);
    world.validated(&bob, &session).await.refused(404, "M_NO_VALID_SESSION");
    world.validated(&alice, &session).await.expect(200);
}
