//! What a submitted token does, right or wrong, and who may use what it has proved.

use harness::wait::wait_until;
use serde_json::{Value, json};
use shared::clock::Clock;

use super::request;
use harness::world::identity::{DEADLINE, Settings, World, confirmed, v2};

const BOB: &str = "bob@example.com";

/// `value` with another value of the member `name`.
fn with(mut value: Value, name: &str, other: impl Into<Value>) -> Value {
    value[name] = other.into();
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_token_again_succeeds_and_changes_nothing() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.validate(&bob, BOB).await;
    let first = world.validated(&bob, &session).await.expect(200);
    assert_eq!((&first["medium"], &first["address"]), (&json!("email"), &json!(BOB)));
    let validated_at = first["validated_at"].as_i64().expect("an integer");
    wait_until("a later time", DEADLINE, || Clock::system().now().as_millis() > validated_at + 5).await;

    let again = with(session.submission(), "token", format!(" \r\n{}\t", session.token));
    assert_eq!(world.submit(&bob, again).await.expect(200), json!({ "success": true }));
    assert_eq!(world.api.get(&session.confirmed_link()).send().await.code(), 200);
    assert_eq!(world.validated(&bob, &session).await.expect(200), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_as_good_as_json() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let fields = [("client_secret", "s"), ("email", BOB), ("send_attempt", "1")];
    let call = world.api.request(hyper::Method::POST, &v2("/validate/email/requestToken")).bearer(&bob);
    let sid = call.form(&fields).send().await.expect(200)["sid"].as_str().unwrap().to_owned();
    let token = world.mail.wait_for(BOB, 1, DEADLINE).await.message().validation_parameter("token");
    let fields = [("client_secret", "s"), ("sid", &sid), ("token", &token)];
    let call = world.api.request(hyper::Method::POST, &v2("/validate/email/submitToken")).bearer(&bob);
    assert_eq!(call.form(&fields).send().await.expect(200), json!({ "success": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_burnt_by_so_many_wrong_ones() {
    for (tables, tries) in [("", 20), ("[sessions]\nemail_max_wrong = 3", 3)] {
        let world = World::with(Settings { tables, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let session = world.request_token(&bob, BOB).await;
        for n in 0..tries {
            let wrong = [String::new(), "x".to_owned(), session.token.to_lowercase(), session.token[1..].to_owned()];
            let wrong = with(session.submission(), "token", wrong[n % wrong.len()].clone());
            let refused = world.submit(&bob, wrong).await.refused(400, "M_TOKEN_INCORRECT");
            assert_eq!(refused["success"], false);
        }
        let refused = world.submit(&bob, session.submission()).await.refused(400, "M_SESSION_EXPIRED");
        assert_eq!(refused["success"], false);
        assert_eq!(world.api.get(&session.confirmed_link()).send().await.code(), 400);
        world.validated(&bob, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");

        // The same number sends again, for it is another session.
        let answer = world.ask(&bob, request(&session.client_secret, BOB, 1)).await.expect(200);
        assert_ne!(answer["sid"], session.sid);
        let mail = world.mail.wait_for(BOB, 2, DEADLINE).await.message();
        assert_ne!(mail.validation_parameter("token"), session.token);
        assert_eq!(world.api.get(&confirmed(&mail.validation_link())).send().await.code(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_try_that_is_left_may_be_the_right_one() {
    let tables = "[sessions]\nemail_max_wrong = 2";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    // By the link, as a guesser without an account would.
    let guess = session.confirmed_link().replace(&session.token, "guess");
    assert_eq!(world.api.get(&guess).send().await.code(), 400);
    world.submit(&bob, session.submission()).await.expect(200);
    // Wrong tokens after it count, but what was proved stays proved.
    world.submit(&bob, with(session.submission(), "token", "x")).await.refused(400, "M_TOKEN_INCORRECT");
    world.submit(&bob, session.submission()).await.refused(400, "M_SESSION_EXPIRED");
    world.validated(&bob, &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_an_unknown_session_and_does_not_count() {
    let tables = "[sessions]\nemail_max_wrong = 1";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    let unknown = with(session.submission(), "sid", "0123456789abcdefABCDEFgh");
    let unknown = world.submit(&bob, unknown).await.refused(400, "M_INVALID_PARAM");
    assert_eq!(unknown["success"], false);
    for _ in 0..3 {
        for token in [session.token.as_str(), "x"] {
            let wrong = with(with(session.submission(), "client_secret", "wrong"), "token", token);
            assert_eq!(world.submit(&bob, wrong).await.expect(400), unknown);
        }
        let guess = session.confirmed_link().replace(&session.client_secret, "wrong");
        assert_eq!(world.api.get(&guess).send().await.code(), 400);
    }
    for odd in ["", "1", "\0", "ä", "' or 1=1 --", &"9".repeat(10_000)] {
        assert_eq!(world.submit(&bob, with(session.submission(), "sid", odd)).await.expect(400), unknown, "{odd:?}");
    }
    world.submit(&bob, session.submission()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_account_may_submit_but_only_the_one_that_asked_may_use_the_result() {
    let world = World::start().await;
    let (bob, eve) = (world.register("@bob:hs.example").await, world.register("@eve:hs.example").await);
    let session = world.request_token(&bob, BOB).await;
    world.validated(&bob, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    world.submit(&eve, session.submission()).await.expect(200);

    let unknown = harness::world::identity::Session { sid: "unknown".to_owned(), ..session.clone() };
    let unknown = world.validated(&eve, &unknown).await.refused(404, "M_NO_VALID_SESSION");
    assert_eq!(world.validated(&eve, &session).await.expect(404), unknown);
    let wrong = harness::world::identity::Session { client_secret: "wrong".to_owned(), ..session.clone() };
    assert_eq!(world.validated(&bob, &wrong).await.expect(404), unknown);
    let bind = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": "@eve:hs.example" });
    let refused = world.api.post(&v2("/3pid/bind"), bind.clone()).bearer(&eve).send().await;
    assert_eq!(refused.expect(404), unknown);
    assert_eq!(world.look_up(&eve, BOB, "email").await, None);

    // Bind uses the session, and does not use it up.
    let bind = with(bind, "mxid", "@bob:hs.example");
    for _ in 0..2 {
        let association = world.api.post(&v2("/3pid/bind"), bind.clone()).bearer(&bob).send().await.expect(200);
        assert_eq!((&association["address"], &association["mxid"]), (&json!(BOB), &json!("@bob:hs.example")));
        world.validated(&bob, &session).await.expect(200);
    }
    assert_eq!(world.look_up(&eve, BOB, "email").await.as_deref(), Some("@bob:hs.example"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_of_another_form_is_refused_everywhere() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    let too_long = "a".repeat(256);
    let wrong =
        [json!(""), json!(too_long), json!("abc\n"), json!("é"), json!(5), json!("a b"), json!("a\0"), json!([])];
    for secret in wrong {
        let body = with(request("s", "eve@example.com", 1), "client_secret", secret.clone());
        world.ask(&bob, body).await.refused(400, "M_INVALID_PARAM");
        let submission = with(session.submission(), "client_secret", secret.clone());
        assert_eq!(world.submit(&bob, submission).await.refused(400, "M_INVALID_PARAM")["success"], false);
        let bind = json!({ "sid": session.sid, "client_secret": secret, "mxid": "@bob:hs.example" });
        world.api.post(&v2("/3pid/bind"), bind).bearer(&bob).send().await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(world.mail.mails_to("eve@example.com").len(), 0);
    let longest = "aA0.=_-".repeat(37)[..255].to_owned();
    world.ask(&bob, request(&longest, "eve@example.com", 1)).await.expect(200);
    let mail = world.mail.wait_for("eve@example.com", 1, DEADLINE).await.message();
    assert_eq!(mail.validation_parameter("client_secret"), longest);
    assert_eq!(world.api.get(&confirmed(&mail.validation_link())).send().await.code(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_at_the_same_time_are_counted_one_by_one() {
    let tables = "[sessions]\nemail_max_wrong = 3";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    let guess = with(session.submission(), "token", "guess");
    let call = world.api.post(&v2("/validate/email/submitToken"), guess).bearer(&bob);
    let calls: Vec<_> = (0..12).map(|_| tokio::spawn(call.clone().send())).collect();
    let mut errcodes = Vec::new();
    for call in calls {
        errcodes.push(call.await.unwrap().expect(400)["errcode"].as_str().unwrap().to_owned());
    }
    errcodes.sort();
    let expected = [vec!["M_SESSION_EXPIRED"; 9], vec!["M_TOKEN_INCORRECT"; 3]].concat();
    assert_eq!(errcodes, expected);
}
