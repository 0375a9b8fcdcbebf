//! The errors of each endpoint: status, errcode and further members, and the order of the checks.
//!
//! Invariant: a row is one request with one error, and valid in all other respects.

use harness::api::Call;
use harness::homeserver::Fault;
use harness::wait::wait_until;
use hyper::Method;
use serde_json::{Value, json};

use harness::world::identity::{DEADLINE, Session, Settings, World, hash, v2};

/// The endpoints of accounts with their methods; the endpoints that require accepted terms come first.
const WITH_ACCOUNT: [(&str, &str); 14] = [
    ("GET", "/account"),
    ("GET", "/hash_details"),
    ("POST", "/lookup"),
    ("POST", "/validate/email/requestToken"),
    ("POST", "/validate/email/submitToken"),
    ("POST", "/validate/msisdn/requestToken"),
    ("POST", "/validate/msisdn/submitToken"),
    ("GET", "/3pid/getValidated3pid"),
    ("POST", "/3pid/bind"),
    ("POST", "/store-invite"),
    ("POST", "/sign-ed25519"),
    ("POST", "/terms"),
    ("POST", "/account/logout"),
    ("POST", "/3pid/unbind"),
];
const GATED: usize = 11;

/// The endpoints that require a body: path, required fields in alphabetical order, a body with a wrong type for each of
/// them.
fn with_body() -> [(&'static str, &'static str, Value); 11] {
    [
        ("/account/register", "access_token, matrix_server_name", json!({"access_token": 1, "matrix_server_name": {}})),
        ("/terms", "user_accepts", json!({"user_accepts": "x"})),
        ("/lookup", "addresses, algorithm, pepper", json!({"addresses": 1, "algorithm": 1, "pepper": 1})),
        (
            "/validate/email/requestToken",
            "client_secret, email, send_attempt",
            json!({"client_secret": 5, "email": [], "send_attempt": {}}),
        ),
        ("/validate/email/submitToken", "client_secret, sid, token", json!({"client_secret": 5, "sid": 5, "token": 5})),
        (
            "/validate/msisdn/requestToken",
            "client_secret, country, phone_number, send_attempt",
            json!({"client_secret": 5, "country": [], "phone_number": 5, "send_attempt": {}}),
        ),
        (
            "/validate/msisdn/submitToken",
            "client_secret, sid, token",
            json!({"client_secret": 5, "sid": 5, "token": 5}),
        ),
        ("/3pid/bind", "client_secret, mxid, sid", json!({"client_secret": 5, "mxid": 5, "sid": 5})),
        (
            "/store-invite",
            "address, medium, room_id, sender",
            json!({"address": 5, "medium": [], "room_id": {}, "sender": true}),
        ),
        ("/sign-ed25519", "mxid, private_key, token", json!({"mxid": 5, "private_key": 5, "token": 5})),
        ("/3pid/unbind", "mxid, threepid", json!({"mxid": 5, "threepid": 5})),
    ]
}

fn post(world: &World, path: &str) -> Call {
    world.api.request(Method::POST, &v2(path))
}

/// A world with one policy, which no account has accepted.
async fn gated() -> World {
    let tables = "[terms.policies.tos]\nversion = \"1\"\nen = { name = \"T\", url = \"https://example.org/t\" }\n";
    World::with(Settings { tables, ..Settings::default() }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_nothing_else_is_looked_at() {
    let world = gated().await;
    for (method, path) in WITH_ACCOUNT {
        for body in [&b""[..], b"{}", b"{ broken", &[b' '; 2 << 20]] {
            let by_body_first = path == "/3pid/unbind";
            if method == "GET" && !body.is_empty() || by_body_first {
                continue;
            }
            let call = || world.api.request(method.parse().unwrap(), &v2(path)).body(body);
            let answer = call().send().await;
            let refusal = answer.refused(401, "M_UNAUTHORIZED");
            assert_eq!(refusal["error"], "Unauthorized", "{answer}");
            let errcode = if path == "/account/logout" { "M_UNKNOWN_TOKEN" } else { "M_UNAUTHORIZED" };
            let unknown = call().bearer("unknown").send().await.refused(401, errcode);
            for refusal in [&refusal, &unknown] {
                assert_eq!(refusal.get("success"), path.ends_with("submitToken").then_some(&json!(false)), "{path}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_terms_come_before_the_body_and_hold_no_other_endpoint_back() {
    let world = gated().await;
    let token = world.register("@alice:hs.example").await;
    for (index, (method, path)) in WITH_ACCOUNT.into_iter().enumerate() {
        for body in [&b""[..], b"{ broken", &[b' '; 2 << 20]] {
            if path == "/account/logout" || method == "GET" && !body.is_empty() {
                continue;
            }
            let call = world.api.request(method.parse().unwrap(), &v2(path)).bearer(&token).body(body);
            let answer = call.send().await;
            if index < GATED {
                let refusal = answer.refused(403, "M_TERMS_NOT_SIGNED");
                assert_eq!(refusal.get("success"), path.ends_with("submitToken").then_some(&json!(false)), "{path}");
            } else {
                assert!([400, 413].contains(&answer.code()), "{answer}");
            }
        }
    }
    post(&world, "/account/logout").bearer(&token).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_refused_for_its_size_its_syntax_what_it_lacks_and_its_types_in_this_order() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    for (path, required, wrong) in with_body() {
        let send = |body: Vec<u8>| post(&world, path).bearer(&token).body(body).send();
        let mut refusals = vec![send(vec![b'x'; (1 << 20) + 1]).await.refused(413, "M_TOO_LARGE")];
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
        for body in [
            &b"{"[..],
            b"{}}",
            b"[]",
            b"null",
            b"\"x\"",
            b"5",
            b"{\"a\":NaN}",
            b"{\"a\":-Infinity}",
            b"{\"a\":1e400}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\\ud800\"}",
            b"{\"\\udc00\":1}",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":{\"b\":1,\"\\u0062\":2}}",
            b"{'a':1}",
            deep.as_bytes(),
            "[".repeat(100_000).as_bytes(),
            b"a=b&c=d",
        ] {
            refusals.push(send(body.to_vec()).await.refused(400, "M_BAD_JSON"));
        }
        let missing = format!("Missing parameters: {required}");
        let nulls: serde_json::Map<_, _> = required.split(", ").map(|name| (name.to_owned(), Value::Null)).collect();
        for body in ["", "{}", r#"{"unknown":{"x":[1.5,null]}}"#, &Value::Object(nulls).to_string()] {
            let refusal = send(body.as_bytes().to_vec()).await.refused(400, "M_MISSING_PARAMS");
            assert_eq!(refusal["error"], missing.as_str(), "{path}");
            refusals.push(refusal);
        }
        let fields: Vec<&str> = required.split(", ").collect();
        for absent in &fields {
            // One field is missing, all others have a wrong type.
            let mut body = wrong.clone();
            body.as_object_mut().unwrap().remove(*absent);
            let refusal = send(body.to_string().into_bytes()).await.refused(400, "M_MISSING_PARAMS");
            assert_eq!(refusal["error"], format!("Missing parameters: {absent}"), "{path}");
        }
        refusals.push(send(wrong.to_string().into_bytes()).await.refused(400, "M_INVALID_PARAM"));
        for refusal in refusals {
            assert!(refusal["error"].is_string(), "{refusal}");
            // Some homeservers take an error with a medium for a success.
            assert!(refusal.get("medium").is_none() && refusal.get("address").is_none(), "{refusal}");
            assert_eq!(refusal.get("success"), path.ends_with("submitToken").then_some(&json!(false)), "{path}");
        }
    }
    // Without required fields, an empty body and an empty object are accepted; broken JSON is not.
    post(&world, "/account/logout").bearer(&token).body("{").send().await.refused(400, "M_BAD_JSON");
    post(&world, "/account/logout").bearer(&token).body(vec![b'x'; 2 << 20]).send().await.refused(413, "M_TOO_LARGE");
    post(&world, "/account/logout").bearer(&token).send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_passes_on_what_the_homeserver_says() {
    let timeout = "timeout = \"2s\"\nconnect_timeout = \"1s\"\n";
    let tables = "[registration]\ndeny_servers = [\"*.evil\"]\n[limits]\nenabled = false\n";
    let world = World::with(Settings { federation: timeout, tables, ..Settings::default() }).await;
    let register = |body: Value| world.api.post(&v2("/account/register"), body).send();
    let good = || world.homeserver.open_id_token("@alice:hs.example");

    for name in ["hs#", "hs/x", "hs?x", "u@hs", "10.0.0.5:443/x?y#", "hs\n", "", "hs:0", "hs:65536", "[:::]", "-a.b"] {
        let body = json!({"access_token": "x", "matrix_server_name": name});
        register(body).await.refused(400, "M_INVALID_PARAM");
    }
    for token in [String::new(), "x".repeat(2049)] {
        let body = json!({"access_token": token, "matrix_server_name": "hs.example"});
        register(body).await.refused(400, "M_INVALID_PARAM");
    }
    let denied = json!({"access_token": "x", "matrix_server_name": "hs.evil"});
    register(denied).await.refused(403, "M_UNAUTHORIZED");
    assert_eq!(world.homeserver.connections(), 0, "none of these needs the network");

    let mut stale = good();
    world.homeserver.expire_open_id_tokens();
    register(stale.take()).await.refused(401, "M_UNAUTHORIZED");
    let path = "/_matrix/federation/v1/openid/userinfo";
    for (fault, status, errcode, text) in [
        (Fault::json(403, json!({})), 401, "M_UNAUTHORIZED", ""),
        (Fault::json(200, json!({"sub": "@alice:other.example"})), 403, "M_FORBIDDEN", ""),
        (Fault::json(200, json!({"sub": "alice:hs.example"})), 502, "M_UNKNOWN", ""),
        (Fault::json(200, json!({"sub": "@:hs.example"})), 502, "M_UNKNOWN", ""),
        (Fault::json(200, json!({})), 502, "M_UNKNOWN", ""),
        (Fault::json(200, json!({"sub": 5})), 502, "M_UNKNOWN", ""),
        (Fault::reply(200, "<html>"), 502, "M_UNKNOWN", "JSON"),
        (Fault::json(500, json!({})), 502, "M_UNKNOWN", ""),
        (Fault::redirect("https://hs.example/"), 502, "M_UNKNOWN", ""),
        (Fault::stream("{", b' ', 1 << 30), 502, "M_UNKNOWN", ""),
        (Fault::Close, 502, "M_UNKNOWN", "contact"),
        (Fault::Silence, 504, "M_UNKNOWN", "contact"),
    ] {
        world.homeserver.fault(path, fault.clone());
        let answer = register(good()).await;
        let refusal = answer.refused(status, errcode);
        assert!(refusal["error"].as_str().unwrap().contains(text), "{fault:?}: {answer}");
        world.homeserver.mend();
    }
    register(good()).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_is_refused_for_its_types_its_algorithm_its_length_and_its_pepper_in_this_order() {
    let tables = "[lookup]\nmax_addresses = 2\ndaily_quota = 3\n";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    let look_up = |addresses: Value, algorithm: Value, pepper: &str| {
        let body = json!({"addresses": addresses, "algorithm": algorithm, "pepper": pepper});
        world.api.post(&v2("/lookup"), body).bearer(&token).send()
    };
    let details = world.api.get(&v2("/hash_details")).bearer(&token).send().await.expect(200);
    let pepper = details["lookup_pepper"].as_str().unwrap();
    for addresses in [json!([1]), json!([{}]), json!(["a", null]), json!([["a"]]), json!("x"), json!({}), json!(true)] {
        look_up(addresses, json!("md5"), "wrong").await.refused(400, "M_INVALID_PARAM");
    }
    for algorithm in [json!("none"), json!("md5"), json!(""), json!("SHA256"), json!(256), json!(["sha256"])] {
        look_up(json!(["a", "b", "c"]), algorithm, "wrong").await.refused(400, "M_INVALID_PARAM");
    }
    look_up(json!(["a", "b", "c"]), json!("sha256"), "wrong").await.refused(400, "M_TOO_LARGE");
    for wrong in ["wrong", "", &pepper.to_lowercase(), &format!("{pepper} ")] {
        let refusal = look_up(json!([]), json!("sha256"), wrong).await.refused(400, "M_INVALID_PEPPER");
        let text = refusal["error"].clone();
        let expected =
            json!({"errcode": "M_INVALID_PEPPER", "error": text, "algorithm": "sha256", "lookup_pepper": pepper});
        assert_eq!(refusal, expected);
    }
    let hashes = |names: [&str; 2]| json!(names.map(|name| hash(&format!("{name}@x.org"), "email", pepper)));
    look_up(hashes(["a", "b"]), json!("sha256"), pepper).await.expect(200);
    // An entry that is no hash is not looked up.
    look_up(json!(["c", "d"]), json!("sha256"), pepper).await.expect(200);
    let limited = look_up(hashes(["c", "d"]), json!("sha256"), pepper).await;
    let refusal = limited.refused(429, "M_LIMIT_EXCEEDED");
    assert!(refusal["retry_after_ms"].as_u64().is_some_and(|wait| wait > 0), "{limited}");
    assert!(limited.header("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    look_up(hashes(["b", "c"]), json!("sha256"), pepper).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_found_or_not_and_its_validity_needs_a_key() {
    let world = World::start().await;
    for path in ["/pubkey/ed25519:none", "/pubkey/x", "/pubkey/%00", "/pubkey/ed25519", "/pubkey/curve25519:0"] {
        world.api.get(&v2(path)).send().await.refused(404, "M_NOT_FOUND");
    }
    let key = world.api.get(&v2("/pubkey/ed25519%3A0")).send().await.expect(200);
    assert_eq!(key, world.api.get(&v2("/pubkey/ed25519:0")).send().await.expect(200));
    for query in ["", "?public_key", "?other=x"] {
        let answer = world.api.get(&v2(&format!("/pubkey/isvalid{query}"))).send().await;
        match query {
            "?public_key" => assert_eq!(answer.expect(200), json!({"valid": false})),
            _ => assert_eq!(answer.refused(400, "M_MISSING_PARAMS")["error"], "Missing parameters: public_key"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_database_is_our_fault_and_nothing_is_said_of_it() {
    let Some(url) = harness::database::postgresql().await else { return };
    let tables = format!("[database]\nurl = {url:?}\n");
    let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    let token = world.register("@alice:hs.example").await;
    let session = Session { sid: "x".into(), client_secret: "x".into(), token: "x".into() };
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("alter table sessions rename to gone").await.unwrap();
    let submitted = world.api.post(&v2("/validate/email/submitToken"), session.submission()).bearer(&token);
    let refusal = submitted.send().await.expect(500);
    assert_eq!(refusal, json!({"errcode": "M_UNKNOWN", "error": "Internal server error", "success": false}));
    let link = world.api.get(&v2("/validate/email/submitToken?sid=x&client_secret=x&token=x&confirm=1")).send().await;
    assert_eq!((link.code(), link.header("content-type")), (500, Some("text/html; charset=utf-8")));
    client.batch_execute("alter table tokens rename to gone_too").await.unwrap();
    let refusal = world.api.post(&v2("/account/logout"), json!({})).bearer(&token).send().await.expect(500);
    assert_eq!(refusal, json!({"errcode": "M_UNKNOWN", "error": "Internal server error"}));
    // The log arrives through a pipe, after the response.
    let logged = || world.server.logs().matches("request failed with an internal error").count();
    wait_until("three lines of the log", DEADLINE, || logged() >= 3).await;
    assert_eq!(logged(), 3);
    client.batch_execute("alter table gone_too rename to tokens").await.unwrap();
    world.api.get(&v2("/account")).bearer(&token).send().await.expect(200);
}
