//! The errors of the endpoints of validation sessions.
//!
//! Invariant: without a session's secret, the session looks like one that does not exist.

use harness::api::Answer;
use harness::mail::{Script, Stage};
use harness::wait::wait_for;
use serde_json::{Value, json};

use harness::world::identity::{DEADLINE, Session, Settings, World, v2};

async fn request_token(world: &World, token: &str, fields: Value) -> Answer {
    let mut body = json!({"client_secret": "s", "email": "alice@example.com", "send_attempt": 1});
    for (name, value) in fields.as_object().expect("fields") {
        body[name.as_str()] = value.clone();
    }
    world.api.post(&v2("/validate/email/requestToken"), body).bearer(token).send().await
}

async fn submit(world: &World, token: &str, session: &Session) -> Answer {
    world.api.post(&v2("/validate/email/submitToken"), session.submission()).bearer(token).send().await
}

async fn validated(world: &World, token: &str, session: &Session) -> Answer {
    let call = world.api.get(&v2("/3pid/getValidated3pid")).query("sid", &session.sid);
    call.query("client_secret", &session.client_secret).bearer(token).send().await
}

async fn bind(world: &World, token: &str, mxid: &str, session: &Session) -> Answer {
    let body = json!({"sid": session.sid, "client_secret": session.client_secret, "mxid": mxid});
    world.api.post(&v2("/3pid/bind"), body).bearer(token).send().await
}

/// Unbinds an address by a session; its owner does not matter.
async fn unbind(world: &World, session: &Session, address: &str) -> Answer {
    let body = json!({
        "mxid": "@alice:hs.example", "threepid": {"medium": "email", "address": address},
        "sid": session.sid, "client_secret": session.client_secret,
    });
    world.api.post(&v2("/3pid/unbind"), body).send().await
}

fn with(session: &Session, sid: &str, client_secret: &str, token: &str) -> Session {
    let or = |new: &str, old: &str| if new.is_empty() { old.to_owned() } else { new.to_owned() };
    Session {
        sid: or(sid, &session.sid),
        client_secret: or(client_secret, &session.client_secret),
        token: or(token, &session.token),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_sent_for_a_request_that_is_wrong() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    for (fields, errcode) in [
        (json!({"client_secret": ""}), "M_INVALID_PARAM"),
        (json!({"client_secret": "abc\n"}), "M_INVALID_PARAM"),
        (json!({"client_secret": "é"}), "M_INVALID_PARAM"),
        (json!({"client_secret": "x".repeat(256)}), "M_INVALID_PARAM"),
        (json!({"send_attempt": -1}), "M_INVALID_PARAM"),
        (json!({"send_attempt": 1.5}), "M_INVALID_PARAM"),
        (json!({"send_attempt": 1.0}), "M_INVALID_PARAM"),
        (json!({"send_attempt": true}), "M_INVALID_PARAM"),
        (json!({"send_attempt": "1 "}), "M_INVALID_PARAM"),
        (json!({"send_attempt": "-1"}), "M_INVALID_PARAM"),
        (json!({"send_attempt": ""}), "M_INVALID_PARAM"),
        (json!({"send_attempt": "1".repeat(19)}), "M_INVALID_PARAM"),
        (json!({"email": 5}), "M_INVALID_PARAM"),
        (json!({"email": "alice"}), "M_INVALID_EMAIL"),
        (json!({"email": "a@b@c"}), "M_INVALID_EMAIL"),
        (json!({"email": "a@x\r\nBcc: b@y"}), "M_INVALID_EMAIL"),
        (json!({"email": ""}), "M_INVALID_EMAIL"),
        (json!({"next_link": 5}), "M_INVALID_PARAM"),
        (json!({"next_link": "javascript:x"}), "M_INVALID_PARAM"),
        (json!({"next_link": "http://app.example/"}), "M_INVALID_PARAM"),
        (json!({"next_link": "/x"}), "M_INVALID_PARAM"),
    ] {
        let answer = request_token(&world, &token, fields).await;
        let refusal = answer.refused(400, errcode);
        assert!(refusal.get("success").is_none(), "{answer}");
    }
    assert_eq!(world.mail.mails().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_cannot_be_sent_is_an_error_of_sending() {
    let world = World::with(Settings { email: "deny_domains = [\"*.evil\"]", ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    request_token(&world, &token, json!({"email": "a@x.evil"})).await.refused(400, "M_INVALID_EMAIL");
    world.mail.script(Stage::Recipient, [Script::say("550 no such user")]);
    request_token(&world, &token, json!({})).await.refused(400, "M_EMAIL_SEND_ERROR");
    request_token(&world, &token, json!({})).await.expect(200);
    assert_eq!(world.mail.mails().len(), 1, "the failed attempt is not remembered as sent");

    let world = World::with(Settings { email: "enabled = false", ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    request_token(&world, &token, json!({})).await.refused(400, "M_EMAIL_SEND_ERROR");
    assert_eq!(world.mail.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn further_mails_are_limited_with_a_retry_time() {
    let tables = "[limits]\nemail_per_address = { burst = 1, every = \"1h\" }\n";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    request_token(&world, &token, json!({})).await.expect(200);
    request_token(&world, &token, json!({})).await.expect(200);
    let answer = request_token(&world, &token, json!({"send_attempt": 2})).await;
    let refusal = answer.refused(429, "M_LIMIT_EXCEEDED");
    let wait = refusal["retry_after_ms"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&wait), "{answer}");
    assert_eq!(answer.header("retry-after"), Some(wait.div_ceil(1000).to_string().as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_without_the_session_is_refused_in_one_way() {
    let world = World::with(Settings { tables: "[sessions]\nemail_max_wrong = 2\n", ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    let session = world.request_token(&token, "alice@example.com").await;
    let no_sid = submit(&world, &token, &with(&session, "x", "", "")).await;
    let no_secret = submit(&world, &token, &with(&session, "", "x", "")).await;
    let nul = submit(&world, &token, &with(&session, "a\0b", "", "")).await;
    let refusal = no_sid.refused(400, "M_INVALID_PARAM");
    assert_eq!(refusal["success"], false);
    assert_eq!((no_secret.expect(400), nul.expect(400)), (refusal.clone(), refusal));
    submit(&world, &token, &with(&session, "", "a b", "")).await.refused(400, "M_INVALID_PARAM");

    for wrong in ["x", "y"] {
        let refusal = submit(&world, &token, &with(&session, "", "", wrong)).await.refused(400, "M_TOKEN_INCORRECT");
        assert_eq!(refusal["success"], false);
    }
    let refusal = submit(&world, &token, &session).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(refusal["success"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_needs_the_secret_of_a_validated_session() {
    let world =
        World::with(Settings { tables: "[bind]\nallow_servers = [\"hs.example\"]\n", ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&alice, "alice@example.com").await;

    let unknown = with(&session, "x", "", "");
    let refusal = validated(&world, &alice, &unknown).await.refused(404, "M_NO_VALID_SESSION");
    for stranger in
        [&unknown, &with(&session, "", "x", ""), &with(&session, "a\0b", "", ""), &with(&session, "é", "", "")]
    {
        assert_eq!(validated(&world, &alice, stranger).await.expect(404), refusal);
        assert_eq!(bind(&world, &alice, "@alice:hs.example", stranger).await.expect(404), refusal);
        assert_eq!(unbind(&world, stranger, "alice@example.com").await.expect(404), refusal);
    }
    assert_eq!(validated(&world, &bob, &session).await.expect(404), refusal, "another account");
    assert_eq!(bind(&world, &bob, "@bob:hs.example", &session).await.expect(404), refusal);
    for bad in ["a b", "é", "abc\n"] {
        validated(&world, &alice, &with(&session, "", bad, "")).await.refused(400, "M_INVALID_PARAM");
    }
    for query in ["", "?sid=x", "?client_secret=x"] {
        let call = world.api.get(&v2(&format!("/3pid/getValidated3pid{query}"))).bearer(&alice);
        call.send().await.refused(400, "M_MISSING_PARAMS");
    }

    validated(&world, &alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    bind(&world, &alice, "@alice:hs.example", &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    unbind(&world, &session, "alice@example.com").await.refused(400, "M_SESSION_NOT_VALIDATED");

    // The user ID is checked before the session is searched.
    bind(&world, &alice, "@bob:hs.example", &unknown).await.refused(403, "M_UNAUTHORIZED");
    bind(&world, &alice, "alice", &session).await.refused(400, "M_INVALID_PARAM");
    submit(&world, &alice, &session).await.expect(200);
    bind(&world, &alice, "@Alice:hs.example", &session).await.refused(403, "M_UNAUTHORIZED");
    unbind(&world, &session, "bob@example.com").await.refused(403, "M_FORBIDDEN");
    bind(&world, &alice, "@alice:hs.example", &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_a_denied_server_cannot_bind() {
    let world = World::with(Settings { tables: "[bind]\nallow_servers = [\"other\"]\n", ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    let session = world.validate(&alice, "alice@example.com").await;
    bind(&world, &alice, "@bob:hs.example", &session).await.refused(403, "M_UNAUTHORIZED");
    bind(&world, &alice, "@alice:hs.example", &session).await.refused(403, "M_FORBIDDEN");
    validated(&world, &alice, &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_whose_time_is_over_says_so_everywhere() {
    let world = World::with(Settings { tables: "[sessions]\nlifetime = \"1ms\"\n", ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    let session = world.request_token(&alice, "alice@example.com").await;
    let expired =
        async || (validated(&world, &alice, &session).await.json()["errcode"] == "M_SESSION_EXPIRED").then_some(());
    wait_for("the end of the session", DEADLINE, expired).await;
    let refusal = submit(&world, &alice, &session).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(refusal["success"], false);
    validated(&world, &alice, &session).await.refused(400, "M_SESSION_EXPIRED");
    bind(&world, &alice, "@alice:hs.example", &session).await.refused(400, "M_SESSION_EXPIRED");
    unbind(&world, &session, "alice@example.com").await.refused(400, "M_SESSION_EXPIRED");
    validated(&world, &alice, &with(&session, "", "x", "")).await.refused(404, "M_NO_VALID_SESSION");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_taken_back_for_a_proof_and_the_body_is_read_before_it() {
    let world = World::start().await;
    let alice = world.register("@alice:hs.example").await;
    let threepid = json!({"medium": "email", "address": "alice@example.com"});
    let good = json!({"mxid": "@alice:hs.example", "threepid": threepid});
    let unbind = |body: Value| world.api.post(&v2("/3pid/unbind"), body);
    unbind(good.clone()).send().await.refused(401, "M_UNAUTHORIZED");
    unbind(good.clone()).bearer("unknown").send().await.refused(401, "M_UNAUTHORIZED");
    unbind(good.clone()).bearer(&alice).send().await.refused(403, "M_FORBIDDEN");

    let broken = world.api.request(hyper::Method::POST, &v2("/3pid/unbind")).body("{ broken");
    broken.send().await.refused(400, "M_BAD_JSON");
    for (name, value, errcode) in [
        ("mxid", Value::Null, "M_MISSING_PARAMS"),
        ("threepid", Value::Null, "M_MISSING_PARAMS"),
        ("threepid", json!({"medium": "email"}), "M_MISSING_PARAMS"),
        ("threepid", json!({"address": "alice@example.com"}), "M_MISSING_PARAMS"),
        ("sid", json!("x"), "M_MISSING_PARAMS"),
        ("client_secret", json!("x"), "M_MISSING_PARAMS"),
        ("mxid", json!("alice"), "M_INVALID_PARAM"),
        ("mxid", json!("@x:y:hs.example"), "M_INVALID_PARAM"),
        ("threepid", json!([]), "M_INVALID_PARAM"),
        ("threepid", json!({"medium": "fax", "address": "1"}), "M_INVALID_PARAM"),
        ("threepid", json!({"medium": "email", "address": 5}), "M_INVALID_PARAM"),
        ("sid", json!(5), "M_MISSING_PARAMS"),
    ] {
        let mut body = good.clone();
        body[name] = value;
        unbind(body).bearer("unknown").send().await.refused(400, errcode);
    }
}
