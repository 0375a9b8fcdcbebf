//! The removed v1 API: which of its routes are there, by profile, and what they say.
//!
//! Invariant: a path that a profile does not serve is as unknown as any other, whatever is sent to it.

use harness::api::Api;
use harness::binary;
use harness::process::{Server, new_folder};
use hyper::Method;
use serde_json::{Value, json};

use super::{BOB, EPHEMERAL, LONG_TERM, NO_LIMITS, invitation, invite, world_with};
use crate::identity::setup::{Session, Settings, World, v2};

fn v1(path: &str) -> String {
    format!("/_matrix/identity/api/v1{path}")
}

/// Every route of v1, with whether the profile `invites` serves it.
const ROUTES: [(&str, &str, bool); 23] = [
    ("GET", "", true),
    ("GET", "/", true),
    ("GET", "/pubkey/ed25519:0", true),
    ("GET", "/pubkey/isvalid?public_key=x", true),
    ("GET", "/pubkey/ephemeral/isvalid?public_key=x", true),
    ("POST", "/sign-ed25519", true),
    ("GET", "/validate/email/submitToken", true),
    ("GET", "/validate/msisdn/submitToken", true),
    ("POST", "/validate/email/submitToken", false),
    ("POST", "/validate/msisdn/submitToken", false),
    ("POST", "/validate/email/requestToken", false),
    ("POST", "/validate/msisdn/requestToken", false),
    ("GET", "/3pid/getValidated3pid", false),
    ("POST", "/3pid/bind", false),
    ("POST", "/3pid/unbind", false),
    ("POST", "/store-invite", false),
    ("GET", "/lookup?medium=email&address=a%40b", false),
    ("POST", "/bulk_lookup", false),
    ("POST", "/account/register", false),
    ("GET", "/account", false),
    ("GET", "/terms", false),
    ("GET", "/hash_details", false),
    ("GET", "/unknown", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_serves_its_routes_and_no_other() {
    for profile in ["", "[legacy_v1]\nprofile = \"invites\"\n", "[legacy_v1]\nprofile = \"off\"\n"] {
        let (world, alice) = world_with(profile).await;
        let is_on = !profile.contains("off");
        for (method, path, in_invites) in ROUTES {
            for body in ["", "{}"] {
                let call = world.api.request(method.parse().unwrap(), &v1(path)).bearer(&alice).body(body);
                let answer = call.send().await;
                assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
                if is_on && in_invites {
                    assert!([200, 400].contains(&answer.code()), "{answer}");
                } else {
                    let unknown = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
                    assert_eq!(answer.expect(404), unknown, "{profile} {answer}");
                }
            }
            assert_eq!(world.api.request(Method::OPTIONS, &v1(path)).send().await.code(), 200, "{path}");
        }
        if is_on {
            for path in ["", "/sign-ed25519", "/pubkey/isvalid", "/validate/email/submitToken"] {
                let answer = world.api.request(Method::PUT, &v1(path)).send().await;
                answer.refused(405, "M_UNRECOGNIZED");
                let allow = if path == "/sign-ed25519" { "OPTIONS, POST" } else { "OPTIONS, GET, HEAD" };
                assert_eq!(answer.header("allow"), Some(allow), "{answer}");
            }
            assert_eq!(world.api.get(&v1("")).send().await.expect(200), json!({}));
        }
        // The versions do not tell of it.
        let versions = world.api.get("/_matrix/identity/versions").send().await.expect(200);
        assert_eq!(versions["versions"][0], "v1.1");
    }
}

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
    let link = session.link().replace("/v2/", "/api/v1/");
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
                assert!(answer.text().contains("Verified"), "{answer}");
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
    let answer = world.api.get(&format!("{}&nextLink=https%3A%2F%2Fapp.example", session.link())).send().await;
    assert_eq!((answer.code(), answer.header("location")), (200, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_session_remembers_comes_before_what_a_link_says() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let body =
        json!({ "client_secret": "s", "email": BOB, "send_attempt": 1, "next_link": "https://remembered.example/" });
    let sid = world.ask(&alice, body).await.expect(200)["sid"].as_str().unwrap().to_owned();
    let token = world.mail.mails().pop().unwrap().message().validation_parameter("token");
    let session = Session { sid, client_secret: "s".to_owned(), token };
    let answer = world.api.get(&old_link(&session, "https://linked.example/")).send().await;
    assert!(answer.header("location").unwrap().starts_with("https://remembered.example/?sid="), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_that_are_not_built_are_refused_at_start_with_a_word_why() {
    let world = World::start().await;
    for (profile, said) in [
        ("delegate", "legacy_v1.profile: \"delegate\" is not built yet: this version knows \"invites\" and \"off\""),
        ("full", "legacy_v1.profile: \"full\" is not built yet"),
        ("v1", "legacy_v1.profile: expected \"invites\" or \"off\", found \"v1\""),
    ] {
        let folder = new_folder();
        let tables = format!("[legacy_v1]\nprofile = \"{profile}\"\n");
        let settings = Settings { tables: &tables, ..Settings::default() };
        let config = settings.toml(&world.homeserver.config(folder.path()), &world.mail.config());
        let Err(failure) = Server::try_start_in(folder, binary::identity(), &config, &[]).await else {
            panic!("{profile} was taken");
        };
        assert!(failure.output.contains(said), "{profile}: {}", failure.output);
    }
    assert!(Api::new(&world.server.url()).get(&v1("")).send().await.code() == 200);
}
