//! What links in mails and older rooms still call of the removed v1 API.
//!
//! Invariant: a link leads nowhere but where its session, or the operator, allows.

use hyper::Method;
use serde_json::{Value, json};

use super::{BOB, EPHEMERAL, LONG_TERM, NO_LIMITS, invitation, invite, world_with};
use crate::identity::legacy_v1::v1;
use harness::world::identity::{Session, v2};

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_the_same_under_both_versions() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let invited = invite(&world, &alice, invitation(BOB)).await;
    let key = world.api.get(&v2("/pubkey/ed25519:0")).send().await.expect(200);
    for id in ["ed25519:0", "ed25519%3A0"] {
        assert_eq!(world.api.get(&v1(&format!("/pubkey/{id}"))).send().await.expect(200), key);
    }
    world.api.get(&v1("/pubkey/ed25519:1")).send().await.refused(404, "M_NOT_FOUND");
    let long_term = key["public_key"].as_str().unwrap();
    for (path, key, valid) in [
        (LONG_TERM, long_term, true),
        (LONG_TERM, invited.public_key(), false),
        (EPHEMERAL, invited.public_key(), true),
        (EPHEMERAL, long_term, false),
        (EPHEMERAL, "x", false),
    ] {
        let answer = world.api.get(&v1(path)).query("public_key", key).send().await.expect(200);
        assert_eq!(answer, json!({ "valid": valid }), "{path} {key}");
    }
    world.api.get(&v1(EPHEMERAL)).send().await.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn terms_do_not_hold_an_invited_person_back() {
    let tables = "[terms.policies.tos]\nversion = \"1\"\nen = { name = \"T\", url = \"https://example.org/t\" }\n";
    let (world, alice) = world_with(tables).await;
    let refused = super::store(&world, &alice, invitation(BOB)).await;
    refused.refused(403, "M_TERMS_NOT_SIGNED");
    let agree = json!({ "user_accepts": ["https://example.org/t"] });
    world.api.post(&v2("/terms"), agree).bearer(&alice).send().await.expect(200);
    let link = invite(&world, &alice, invitation(BOB)).await.link;
    world.api.post(&link.sign_path(), Value::Null).query("mxid", "@bob:hs.example").send().await.expect(200);
    let bob = world.register("@bob:hs.example").await;
    let by_v2 = world.api.post(&v2("/sign-ed25519"), link.to_sign("@bob:hs.example")).bearer(&bob).send().await;
    by_v2.refused(403, "M_TERMS_NOT_SIGNED");
}

/// The link as an old mail has it, going on at `next_link`.
fn old_link(session: &Session, next_link: &str) -> String {
    let link = session.confirmed_link().replace("/v2/", "/api/v1/");
    let next_link: String = url::form_urlencoded::byte_serialize(next_link.as_bytes()).collect();
    format!("{link}&nextLink={next_link}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_in_an_old_mail_validates_and_goes_on_where_it_says_if_that_is_allowed() {
    let tables = format!("{NO_LIMITS}[sessions]\nnext_link_hosts = [\"app.example\"]\n");
    let (world, alice) = world_with(&tables).await;
    let mut number = 0;
    let mut session = async || {
        number += 1;
        world.request_token(&alice, &format!("{number}@example.com")).await
    };
    let fresh = session().await;
    let head = world.api.request(Method::HEAD, &old_link(&fresh, "https://app.example/")).send().await;
    assert_eq!((head.code(), head.body.len()), (200, 0));
    world.validated(&alice, &fresh).await.refused(400, "M_SESSION_NOT_VALIDATED");

    for (next_link, target) in [
        ("https://app.example/done?a=b#c", Some("https://app.example/done?a=b&sid=SID#c")),
        ("https://evil.example/", None),
        ("javascript:alert(1)", None),
        ("//app.example", None),
        ("https://u@app.example", None),
        ("", None),
    ] {
        let session = session().await;
        let answer = world.api.get(&old_link(&session, next_link)).send().await;
        match target {
            Some(target) => {
                assert_eq!(answer.code(), 302, "{answer}");
                assert_eq!(answer.header("location"), Some(target.replace("SID", &session.sid).as_str()));
            }
            None => {
                assert_eq!((answer.code(), answer.header("location")), (200, None), "{next_link}: {answer}");
                assert!(answer.text().contains("<h1>Confirmed</h1>"), "{answer}");
            }
        }
        world.validated(&alice, &session).await.expect(200);
        let wrong = old_link(&session, "https://app.example/").replace(&session.token, "wrong");
        let answer = world.api.get(&wrong).send().await;
        assert_eq!((answer.code(), answer.header("location")), (400, None), "{answer}");
    }
    // On v2 it is ignored, and no e-mail session is validated by the other medium's link.
    let session = session().await;
    let by_sms = old_link(&session, "").replace("/email/", "/msisdn/");
    assert_eq!(world.api.get(&by_sms).send().await.code(), 400);
    let answer =
        world.api.get(&format!("{}&nextLink=https%3A%2F%2Fapp.example", session.confirmed_link())).send().await;
    assert_eq!((answer.code(), answer.header("location")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_an_old_mail_keeps_its_link_and_without_a_list_of_hosts_there_is_none() {
    let tables = format!("{NO_LIMITS}[sessions]\nnext_link_hosts = [\"app.example\"]\n");
    for (tables, kept) in [(tables.as_str(), true), (NO_LIMITS, false)] {
        let (world, alice) = world_with(tables).await;
        let session = world.request_token(&alice, BOB).await;
        let form =
            world.api.get(&old_link(&session, "https://app.example/?a=b").replace("&confirm=1", "")).send().await;
        let field = "<input type=\"hidden\" name=\"nextLink\" value=\"https://app.example/?a=b\">";
        assert_eq!((form.code(), form.text().contains(field)), (200, kept), "{form}");
        let answer = world.api.get(&old_link(&session, "https://app.example/?a=b")).send().await;
        let target = format!("https://app.example/?a=b&sid={}", session.sid);
        assert_eq!(answer.header("location"), kept.then_some(target.as_str()), "{answer}");
        assert!(kept || !answer.text().contains("app.example"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_session_remembers_comes_before_what_a_link_says() {
    let tables = format!("{NO_LIMITS}[sessions]\nnext_link_hosts = \"*.example\"\n");
    let (world, alice) = world_with(&tables).await;
    let body =
        json!({ "client_secret": "s", "email": BOB, "send_attempt": 1, "next_link": "https://remembered.example/" });
    let sid = world.ask(&alice, body).await.expect(200)["sid"].as_str().unwrap().to_owned();
    let token = world.mail.mails().pop().unwrap().message().validation_parameter("token");
    let session = Session { sid, client_secret: "s".to_owned(), token };
    let answer = world.api.get(&old_link(&session, "https://linked.example/")).send().await;
    assert!(answer.header("location").unwrap().starts_with("https://remembered.example/?sid="), "{answer}");
}
