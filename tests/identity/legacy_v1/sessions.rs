//! Sessions of no account: who may use them, what is bound with them, and how it is taken back.
//!
//! Invariant: only the account that started a session can use it, and an association is never touched without a proof.

use serde_json::{Value, json};

use super::{BOB, EMAIL, bind, bound, form, look_up, request_token, v1, validate, validated, world_with};
use harness::world::identity::{Session, World, v2};

/// A policy without acceptance, which does not concern clients without accounts.
const TERMS: &str = "[terms.policies.tos]\nversion = \"1\"\nen = { name = \"T\", url = \"https://example.org/t\" }\n";

async fn is_bound_to(world: &World, address: &str) -> Option<String> {
    look_up(world, "email", address).await.expect(200)["mxid"].as_str().map(str::to_owned)
}

/// `POST 3pid/unbind` as JSON, with further fields.
fn unbind(world: &World, address: &str, mxid: &str, more: Value) -> harness::api::Call {
    let mut body = json!({ "mxid": mxid, "threepid": { "medium": "email", "address": address } });
    let Value::Object(more) = more else { panic!("an object") };
    more.into_iter().for_each(|(name, value)| body[name] = value);
    world.api.post(&v1("/3pid/unbind"), body)
}

fn proof(session: &Session) -> Value {
    json!({ "sid": session.sid, "client_secret": session.client_secret })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_suffices_to_bind_the_address_to_any_user() {
    let world = world_with(TERMS).await;
    let session = validate(&world, EMAIL).await;
    for mxid in [BOB, "@carol:other.example", "@d:9.9.9.9:8448", "@e=/+.-_!:hs.example"] {
        let association = bind(&world, &session, mxid).await.expect(200);
        assert_eq!((&association["mxid"], association.as_object().unwrap().len()), (&json!(mxid), 7));
        assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(mxid));
    }
    let mut stranger = session.clone();
    stranger.client_secret.push('x');
    validated(&world, &stranger).await.refused(404, "M_NO_VALID_SESSION");
    bind(&world, &stranger, BOB).await.refused(404, "M_NO_VALID_SESSION");
    // A token in the request changes nothing, good or bad.
    for token in ["unknown", &world.register("@alice:hs.example").await] {
        let fields = [("sid", session.sid.as_str()), ("client_secret", &session.client_secret), ("mxid", BOB)];
        form(&world, "/3pid/bind", &fields).bearer(token).query("access_token", token).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_an_account_has_started_is_not_to_be_found() {
    let world = world_with("").await;
    let alice = world.register("@alice:hs.example").await;
    let of_alice = world.validate(&alice, "alice@example.com").await;
    let mut unknown = of_alice.clone();
    unknown.sid = "unknown".to_owned();
    let refusal = validated(&world, &unknown).await.refused(404, "M_NO_VALID_SESSION");
    assert_eq!(validated(&world, &of_alice).await.expect(404), refusal);
    assert_eq!(bind(&world, &of_alice, "@alice:hs.example").await.expect(404), refusal);
    assert_eq!(is_bound_to(&world, "alice@example.com").await, None);

    // One of no account is anybody's who knows its secret, as by v2's rules.
    let session = validate(&world, EMAIL).await;
    world.validated(&alice, &session).await.expect(200);
    let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": "@alice:hs.example" });
    world.api.post(&v2("/3pid/bind"), body).bearer(&alice).send().await.expect(200);
    assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some("@alice:hs.example"));

    // The same address, secret and number, with an account and without: two sessions, two mails.
    let fields = [("client_secret", "same"), ("email", "dave@example.com"), ("send_attempt", "1")];
    let body = json!({ "client_secret": "same", "email": "dave@example.com", "send_attempt": 1 });
    let by_account = world.ask(&alice, body).await.expect(200);
    let without_account = form(&world, "/validate/email/requestToken", &fields).send().await.expect(200);
    assert_ne!(by_account["sid"], without_account["sid"]);
    assert_eq!(form(&world, "/validate/email/requestToken", &fields).send().await.expect(200), without_account);
    assert_eq!(world.mail.mails_to("dave@example.com").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_validated_or_has_expired_binds_nothing() {
    let world = world_with("[sessions]\nlifetime = \"2s\"\n").await;
    let session = request_token(&world, EMAIL).await;
    for answer in [validated(&world, &session).await, bind(&world, &session, BOB).await] {
        assert_eq!(answer.code(), 400, "{answer}");
        assert!(["M_SESSION_NOT_VALIDATED", "M_SESSION_EXPIRED"].contains(&answer.json()["errcode"].as_str().unwrap()));
    }
    harness::wait::wait_for("its end", super::DEADLINE, async || {
        let refusal = validated(&world, &session).await.expect(400);
        (refusal["errcode"] == "M_SESSION_EXPIRED").then_some(())
    })
    .await;
    bind(&world, &session, BOB).await.refused(400, "M_SESSION_EXPIRED");
    assert_eq!(is_bound_to(&world, EMAIL).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_servers_that_may_not_use_this_one_are_bound_to_nothing() {
    let tables = "[registration]\ndeny_servers = [\"*.evil\"]\n[bind]\nallow_servers = [\"hs.example\", \"*.evil\"]\n";
    let world = world_with(tables).await;
    let session = validate(&world, EMAIL).await;
    for mxid in ["@bob:hs.evil", "@bob:HS.Evil:8448", "@bob:other.example", "@bob:hs.example:8449"] {
        bind(&world, &session, mxid).await.refused(403, "M_FORBIDDEN");
        assert_eq!(is_bound_to(&world, EMAIL).await, None, "{mxid}");
    }
    bind(&world, &session, BOB).await.expect(200);
    assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(BOB));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_is_taken_back_by_a_session_of_its_address() {
    let world = world_with(TERMS).await;
    bound(&world, EMAIL, BOB).await;
    let (fresh, other) = (request_token(&world, EMAIL).await, validate(&world, "other@example.com").await);
    for (session, status, errcode) in [(&fresh, 400, "M_SESSION_NOT_VALIDATED"), (&other, 403, "M_FORBIDDEN")] {
        unbind(&world, EMAIL, BOB, proof(session)).send().await.refused(status, errcode);
    }
    let half = json!({ "sid": fresh.sid });
    unbind(&world, EMAIL, BOB, half).send().await.refused(400, "M_MISSING_PARAMS");
    assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(BOB));

    assert_eq!(world.api.get(&fresh.confirmed_link()).send().await.code(), 200);
    // Of another user there is nothing to take.
    assert_eq!(unbind(&world, EMAIL, "@carol:hs.example", proof(&fresh)).send().await.expect(200), json!({}));
    assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(BOB));
    assert_eq!(unbind(&world, "BOB@Example.com", BOB, proof(&fresh)).send().await.expect(200), json!({}));
    assert_eq!(is_bound_to(&world, EMAIL).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_is_taken_back_by_its_users_homeserver() {
    let world = world_with("").await;
    let url = world.server.url();
    let name = url.strip_prefix("http://").unwrap();
    let content = json!({ "mxid": BOB, "threepid": { "medium": "email", "address": EMAIL } });
    let signed = |uri: &str, content: &Value| world.homeserver.x_matrix("POST", uri, name, content);
    let send =
        async |header: String| unbind(&world, EMAIL, BOB, json!({})).header("authorization", &header).send().await;
    bound(&world, EMAIL, BOB).await;
    let mut of_another = content.clone();
    of_another["threepid"]["address"] = json!("other@example.com");
    for (header, status, errcode) in [
        (signed(&v2("/3pid/unbind"), &content), 403, "M_FORBIDDEN"),
        (signed(&v1("/3pid/unbind"), &of_another), 403, "M_FORBIDDEN"),
        (world.homeserver.x_matrix("POST", &v1("/3pid/unbind"), "elsewhere", &content), 401, "M_UNAUTHORIZED"),
        ("X-Matrix nonsense".to_owned(), 403, "M_FORBIDDEN"),
    ] {
        send(header).await.refused(status, errcode);
        assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(BOB));
    }
    assert_eq!(send(signed(&v1("/3pid/unbind"), &content)).await.expect(200), json!({}));
    assert_eq!(is_bound_to(&world, EMAIL).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proof_nothing_is_taken_back_whatever_token_there_is() {
    let world = world_with("[unbind]\nallow_owner_token = true\n").await;
    let bob = world.register(BOB).await;
    bound(&world, EMAIL, BOB).await;
    unbind(&world, EMAIL, BOB, json!({})).send().await.refused(401, "M_UNAUTHORIZED");
    let with_token = unbind(&world, EMAIL, BOB, json!({})).bearer(&bob).query("access_token", &bob);
    with_token.send().await.refused(401, "M_UNAUTHORIZED");
    // A form has no place for an object.
    let fields = [("mxid", BOB), ("threepid", EMAIL)];
    form(&world, "/3pid/unbind", &fields).send().await.refused(400, "M_INVALID_PARAM");
    assert_eq!(is_bound_to(&world, EMAIL).await.as_deref(), Some(BOB));
    // By v2 it is enough, as the operator wants it.
    let body = json!({ "mxid": BOB, "threepid": { "medium": "email", "address": EMAIL } });
    world.api.post(&v2("/3pid/unbind"), body).bearer(&bob).send().await.expect(200);
    assert_eq!(is_bound_to(&world, EMAIL).await, None);
}
