//! Profile `delegate`: the routes for homeservers that delegate the validation of telephone numbers, and only for them.
//!
//! Invariant: for everyone else these routes are as unknown as any other path, before anything of the request is looked
//! at.

use harness::api::Call;
use hyper::Method;
use serde_json::json;

use super::{EMAIL, FULL, NO_LIMITS, v1, validate};
use crate::identity::validate_msisdn::texts;
use harness::world::identity::{Session, Settings, World, v2};

const ROUTES: [(Method, &str); 3] = [
    (Method::POST, "/validate/msisdn/requestToken"),
    (Method::POST, "/validate/msisdn/submitToken"),
    (Method::GET, "/3pid/getValidated3pid"),
];

/// A world that delegates for these addresses, behind these proxies.
async fn world(allowed: &str, proxies: &str) -> World {
    let tables = format!("{NO_LIMITS}[legacy_v1]\nprofile = \"delegate\"\ndelegate_allow_ips = {allowed}\n");
    let http = format!("trusted_proxies = {proxies}");
    World::with(Settings { tables: &tables, http: &http, ..Settings::default() }).await
}

/// Whether the routes are there for a request that says that it comes from `forwarded_for`.
async fn is_let_in(world: &World, forwarded_for: &[&str]) -> bool {
    let from = |call: Call| forwarded_for.iter().fold(call, |call, line| call.header("x-forwarded-for", line));
    let mut let_in = Vec::new();
    for (method, path) in ROUTES {
        let answer = from(world.api.request(method, &v1(path))).send().await;
        match answer.code() {
            400 => let_in.push(answer.refused(400, "M_MISSING_PARAMS").is_object()),
            _ => {
                let unknown = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
                assert_eq!(answer.expect(404), unknown, "{answer}");
                let_in.push(false);
            }
        }
    }
    let_in.dedup();
    assert_eq!(let_in.len(), 1, "one route is there and another is not");
    // What everyone may call is there for everyone.
    assert_eq!(from(world.api.get(&v1("/validate/msisdn/submitToken"))).send().await.code(), 400);
    assert_eq!(from(world.api.get(&v1(""))).send().await.expect(200), json!({}));
    let_in[0]
}

#[tokio::test(flavor = "multi_thread")]
async fn only_listed_addresses_are_allowed_and_no_header_forges_them() {
    let named = world("[\"127.0.0.1\", \"10.1.0.0/16\"]", "[]").await;
    for forwarded_for in [&[][..], &["9.9.9.9"], &["10.1.0.5"]] {
        assert!(is_let_in(&named, forwarded_for).await, "{forwarded_for:?}");
    }
    let others = world("[\"10.1.0.0/16\", \"127.0.0.2\"]", "[]").await;
    for forwarded_for in [&[][..], &["10.1.0.5"], &["127.0.0.2"], &["10.1.0.5, 127.0.0.1"], &["10.1.0.5", "10.1.0.6"]] {
        assert!(!is_let_in(&others, forwarded_for).await, "{forwarded_for:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_trusted_proxy_it_is_the_client_who_must_be_named() {
    let world = world("[\"10.1.0.5\", \"192.168.0.0/24\", \"2001:db8::/32\"]", "[\"127.0.0.1\", \"172.16.0.1\"]").await;
    for (forwarded_for, expected) in [
        (&["10.1.0.5"][..], true),
        (&["192.168.0.77"], true),
        (&["2001:db8::9"], true),
        (&["[2001:db8::9]:443"], true),
        (&["::ffff:10.1.0.5"], true),
        (&["9.9.9.9, 10.1.0.5"], true),
        (&["9.9.9.9", "10.1.0.5, 172.16.0.1"], true),
        (&[], false),
        (&["10.1.0.6"], false),
        (&["192.168.1.1"], false),
        (&["2001:db9::9"], false),
        (&["10.1.0.5, 9.9.9.9"], false),
        (&["10.1.0.5", "9.9.9.9"], false),
        (&["10.1.0.5, 172.16.0.2"], false),
        (&["nonsense"], false),
    ] {
        assert_eq!(is_let_in(&world, forwarded_for).await, expected, "{forwarded_for:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_hear_nothing_whatever_they_send() {
    let world = world("[\"10.1.0.5\"]", "[]").await;
    let token = world.register("@alice:hs.example").await;
    for (_, path) in ROUTES {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            if path.ends_with("submitToken") && method != Method::POST {
                continue;
            }
            for body in [&b""[..], b"{ broken", &[b' '; 2 << 20]] {
                let call = world.api.request(method.clone(), &v1(path)).bearer(&token).body(body);
                let answer = call.header("content-type", "application/json").send().await;
                match method {
                    Method::OPTIONS => assert_eq!((answer.code(), answer.header("allow")), (200, Some("OPTIONS"))),
                    _ => assert_eq!(answer.refused(404, "M_UNRECOGNIZED").get("success"), None, "{answer}"),
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_homeserver_reads_sessions_of_no_account_and_no_others() {
    let tables = format!("{FULL}{NO_LIMITS}");
    let mut world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    let session = validate(&world, EMAIL).await;
    let alice = world.register("@alice:hs.example").await;
    let of_alice = world.validate(&alice, "alice@example.com").await;

    let config = std::fs::read_to_string(world.server.folder().join("config.toml")).unwrap();
    let delegate = "profile = \"delegate\"\ndelegate_allow_ips = \"127.0.0.1\"";
    world.restart_with(&config.replace("profile = \"full\"", delegate)).await;
    let shown = super::validated(&world, &session).await.expect(200);
    assert_eq!((shown["medium"].as_str(), shown["address"].as_str()), (Some("email"), Some(EMAIL)));
    super::validated(&world, &of_alice).await.refused(404, "M_NO_VALID_SESSION");
    // The session is one of an e-mail address, so no number is validated by it.
    let submitted = world.api.post(&v1("/validate/msisdn/submitToken"), session.submission()).send().await;
    assert_eq!(submitted.refused(400, "M_INVALID_PARAM")["success"], false);
    super::bind(&world, &session, "@bob:hs.example").await.refused(404, "M_UNRECOGNIZED");
    world.api.get(&v2("/account")).bearer(&alice).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_has_numbers_validated_for_all_of_its_users() {
    let tables =
        "[legacy_v1]\nprofile = \"delegate\"\ndelegate_allow_ips = \"127.0.0.1\"\n[sms]\nrules.44 = \"allow\"\n";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    // As Synapse asks: JSON, no token. One address asks for all, so that it has no limit of its own.
    let ask = |number: String, attempt: u32| {
        let body = json!({
            "country": "GB", "phone_number": number, "client_secret": "s", "send_attempt": attempt,
        });
        world.api.post(&v1("/validate/msisdn/requestToken"), body).header("content-type", "application/json").send()
    };
    for n in 0..25 {
        let answer = ask(format!("074{n:02} 123456"), 1).await.expect(200);
        assert_eq!((&answer["success"], &answer["msisdn"]), (&json!(true), &json!(format!("4474{n:02}123456"))));
    }
    let answer = ask("07400 123456".to_owned(), 2).await.expect(200);
    assert_eq!(answer["intl_fmt"], "+44 7400 123456");
    let texts = texts(&world);
    assert_eq!(texts.len(), 26);
    let session = Session {
        sid: answer["sid"].as_str().expect("a sid").to_owned(),
        client_secret: "s".to_owned(),
        token: texts.last().expect("a message").code(),
    };
    super::validated(&world, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // Synapse reports every other status as an outage of the identity server. The digits of no script are the wrong ones.
    let code_in_arabic: String = session
        .token
        .bytes()
        .map(|b| ['٠', '١', '٢', '٣', '٤', '٥', '٦', '٧', '٨', '٩'][usize::from(b - b'0')])
        .collect();
    let with_token = |token: &str| {
        let mut submission = session.submission();
        submission["token"] = json!(token);
        world.api.post(&v1("/validate/msisdn/submitToken"), submission)
    };
    let wrong = if session.token == "000000" { "111111" } else { "000000" };
    assert_eq!(with_token(wrong).send().await.refused(200, "M_TOKEN_INCORRECT")["success"], false);
    let submit = with_token(&code_in_arabic);
    assert_eq!(submit.header("content-type", "application/json").send().await.expect(200), json!({ "success": true }));
    let shown = super::validated(&world, &session).await.expect(200);
    assert_eq!((&shown["medium"], &shown["address"]), (&json!("msisdn"), &json!("447400123456")));
    // The limit of a number holds for all clients.
    for attempt in 3..6 {
        ask("07400 123456".to_owned(), attempt).await.expect(200);
    }
    ask("07400 123456".to_owned(), 6).await.refused(429, "M_LIMIT_EXCEEDED");
    // And a country that gets no messages gets none by this way either.
    ask("+33612345678".to_owned(), 1).await.refused(400, "M_DESTINATION_REJECTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_of_v1_everybody_may_ask_within_the_limits_of_his_address() {
    let tables = format!("{FULL}[sms]\nrules.44 = \"allow\"\n");
    let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    // Everything in the query, as older clients do it.
    let ask = |n: u32| {
        let call = world.api.request(Method::POST, &v1("/validate/msisdn/requestToken"));
        let call = call.query("country", "GB").query("phone_number", &format!("074{n:02}123456"));
        call.query("client_secret", "s").query("send_attempt", "1").send()
    };
    for n in 0..10 {
        ask(n).await.expect(200);
    }
    ask(10).await.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(texts(&world).len(), 10);
}
