//! HTTP in front of the endpoints' rules: routes, methods, headers, versions.
//!
//! Invariant: a rule about all responses is checked on every kind of response.

use harness::api::{Answer, Api};
use hyper::Method;
use serde_json::json;

use harness::world::identity::{DEADLINE, Settings, World, v2};

/// The endpoints and their methods as the specification lists them.
const ENDPOINTS: [(&str, &[Method]); 17] = [
    ("/_matrix/identity/versions", &[Method::GET]),
    ("/_matrix/identity/v2", &[Method::GET]),
    ("/_matrix/identity/v2/account", &[Method::GET]),
    ("/_matrix/identity/v2/account/register", &[Method::POST]),
    ("/_matrix/identity/v2/account/logout", &[Method::POST]),
    ("/_matrix/identity/v2/terms", &[Method::GET, Method::POST]),
    ("/_matrix/identity/v2/hash_details", &[Method::GET]),
    ("/_matrix/identity/v2/lookup", &[Method::POST]),
    ("/_matrix/identity/v2/validate/email/requestToken", &[Method::POST]),
    ("/_matrix/identity/v2/validate/email/submitToken", &[Method::GET, Method::POST]),
    ("/_matrix/identity/v2/validate/msisdn/requestToken", &[Method::POST]),
    ("/_matrix/identity/v2/validate/msisdn/submitToken", &[Method::GET, Method::POST]),
    ("/_matrix/identity/v2/3pid/getValidated3pid", &[Method::GET]),
    ("/_matrix/identity/v2/3pid/bind", &[Method::POST]),
    ("/_matrix/identity/v2/3pid/unbind", &[Method::POST]),
    ("/_matrix/identity/v2/pubkey/isvalid", &[Method::GET]),
    ("/_matrix/identity/v2/pubkey/ed25519:0", &[Method::GET]),
];

const ALL_METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"];

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_a_path_does_not_know_is_refused_with_those_it_knows() {
    let world = World::start().await;
    for (path, methods) in ENDPOINTS {
        let mut known: Vec<&str> = methods.iter().map(Method::as_str).collect();
        known.push("OPTIONS");
        if methods.contains(&Method::GET) {
            known.push("HEAD");
        }
        known.sort_unstable();
        for method in ALL_METHODS.iter().filter(|method| !known.contains(method)) {
            let answer = world.api.request(method.parse().unwrap(), path).send().await;
            assert_eq!(answer.code(), 405, "{answer}");
            let mut allow: Vec<&str> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
            allow.sort_unstable();
            assert_eq!(allow, known, "{method} {path}");
            if *method != "HEAD" {
                assert_eq!(answer.json(), json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slashes_in_a_row_are_one() {
    let world = World::start().await;
    for path in ["//_matrix/identity/v2", "/_matrix//identity///v2/", "/_matrix/identity//versions"] {
        let answer = world.api.get(path).send().await;
        assert_eq!(answer.code(), 200, "{path}: {answer}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    }
    world.api.get("/_matrix//identity//v2/account").send().await.refused(401, "M_UNAUTHORIZED");
    world.api.get("//nowhere").send().await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_path_is_not_found_by_any_method() {
    let world = World::start().await;
    for path in [
        "/",
        "/_matrix",
        "/_matrix/identity",
        "/_matrix/identity/v3",
        "/_matrix/identity/v2/",
        "/_matrix/identity/v2/accounts",
        "/_matrix/identity/v2/account/",
        "/_matrix/identity/V2/account",
        "/_matrix/identity/v2/pubkey/",
        "/_matrix/identity/v2/pubkey/ed25519/0",
        "/_matrix/identity/v2/validate/fax/requestToken",
        "/_matrix/client/versions",
    ] {
        for method in ["GET", "POST", "PUT", "PROPFIND"] {
            if path.ends_with("/v2/") {
                continue;
            }
            let answer = world.api.request(method.parse().unwrap(), path).send().await;
            assert_eq!(answer.expect(404), json!({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}));
            assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
        }
        assert_eq!(world.api.request(Method::HEAD, path).send().await.body.len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_on_any_path_is_an_empty_yes_on_both_listeners() {
    let world = World::start().await;
    for (api, is_operators) in [(&world.api, false), (&Api::new(&world.server.admin_url()), true)] {
        for path in ["/", "/nowhere", "/_matrix/identity/v2/lookup", "/_matrix/identity/v2/pubkey/%ff", "/health"] {
            let answer = api.request(Method::OPTIONS, path).header("origin", "https://app.example").send().await;
            assert_eq!((answer.code(), answer.body.len()), (200, 0), "{answer}");
            if is_operators {
                is_for_no_browser(&answer);
            } else {
                has_common_headers(&answer);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_the_body() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    for (path, methods) in ENDPOINTS.iter().filter(|(_, methods)| methods.contains(&Method::GET)) {
        if methods.contains(&Method::POST) && path.ends_with("submitToken") {
            continue;
        }
        let get = world.api.get(path).bearer(&token).send().await;
        let head = world.api.request(Method::HEAD, path).bearer(&token).send().await;
        assert_eq!((head.code(), head.body.len()), (get.code(), 0), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
        assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn head_on_the_link_of_a_mail_validates_nothing() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    let session = world.request_token(&token, "alice@example.com").await;
    let link = |method: Method| {
        let call = world.api.request(method, &v2("/validate/email/submitToken")).query("sid", &session.sid);
        call.query("client_secret", &session.client_secret).query("token", &session.token).query("confirm", "1")
    };
    let head = link(Method::HEAD).send().await;
    assert_eq!((head.code(), head.body.len()), (200, 0), "{head}");
    assert_eq!(head.header("content-type"), Some("text/html; charset=utf-8"));
    let state = world.api.get(&v2("/3pid/getValidated3pid")).query("sid", &session.sid);
    let state = state.query("client_secret", &session.client_secret).bearer(&token);
    state.clone().send().await.refused(400, "M_SESSION_NOT_VALIDATED");
    assert_eq!(link(Method::GET).send().await.code(), 200);
    state.send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_answer_but_the_operators_can_be_read_by_browsers_of_any_origin_and_has_a_request_id() {
    let world = World::with(Settings {
        http: "max_body = \"2KiB\"",
        tables: "[sessions]\nnext_link_hosts = \"*\"\n[limits]\nregister_per_ip = { burst = 2, every = \"1h\" }\n",
        ..Settings::default()
    })
    .await;
    let (api, admin) = (&world.api, &Api::new(&world.server.admin_url()));
    let token = world.register("@alice:hs.example").await;
    let session = world.request_token(&token, "alice@example.com").await;
    let secret = "secret_with_next_link";
    let with_link =
        json!({"client_secret": secret, "email": "b@c.d", "send_attempt": 1, "next_link": "https://app.example/"});
    let sid = api.post(&v2("/validate/email/requestToken"), with_link).bearer(&token).send().await.expect(200);
    let mail = world.mail.wait_for("b@c.d", 1, DEADLINE).await;
    let link = |sid: &str, secret: &str, token: &str| {
        let call = api.get(&v2("/validate/email/submitToken")).query("sid", sid);
        call.query("client_secret", secret).query("token", token).query("confirm", "1")
    };
    let stranger = json!({"access_token": "unknown", "matrix_server_name": "hs.example"});
    let huge = vec![b' '; 4096];
    let rows = [
        (200, api.get(&v2(""))),
        (200, api.get("/_matrix/identity/versions")),
        (200, api.request(Method::OPTIONS, "/x")),
        (200, api.request(Method::HEAD, &v2("/terms"))),
        (400, api.post(&v2("/terms"), json!([])).bearer(&token)),
        (401, api.get(&v2("/account"))),
        (401, api.post(&v2("/account/register"), stranger.clone())),
        (429, api.post(&v2("/account/register"), stranger)),
        (404, api.get("/nowhere")),
        (404, api.get(&v2("/pubkey/ed25519:none"))),
        (405, api.get(&v2("/lookup"))),
        (405, api.request("BREW".parse().unwrap(), &v2("/lookup"))),
        (413, api.request(Method::POST, &v2("/lookup")).bearer(&token).body(huge.clone())),
        (200, link(&session.sid, &session.client_secret, &session.token)),
        (400, link(&session.sid, &session.client_secret, "wrong")),
        (302, link(sid["sid"].as_str().unwrap(), secret, &mail.message().validation_parameter("token"))),
    ];
    for (status, call) in rows {
        let answer = call.send().await;
        assert_eq!(answer.code(), status, "{answer}");
        has_common_headers(&answer);
    }
    let rows = [
        (200, admin.get("/health")),
        (200, admin.get("/ready")),
        (200, admin.get("/metrics")),
        (200, admin.request(Method::OPTIONS, "/x")),
        (404, admin.get("/nowhere")),
        (405, admin.post("/health", json!({}))),
        (413, admin.request(Method::GET, "/health").body(huge)),
    ];
    for (status, call) in rows {
        let answer = call.send().await;
        assert_eq!(answer.code(), status, "{answer}");
        is_for_no_browser(&answer);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_bears_the_request_id_it_came_with_if_that_is_harmless() {
    let world = World::start().await;
    let asked = |id: String| {
        let call = world.api.get(&v2("")).header("x-request-id", &id);
        async move { call.send().await.header("x-request-id").unwrap().to_owned() }
    };
    for id in ["a", "0191-abc_D.e", &"x".repeat(64)] {
        assert_eq!(asked(id.to_owned()).await, id);
    }
    for id in ["", "a b", "a\"b", "{}", "a;b", &"x".repeat(65)] {
        let given = asked(id.to_owned()).await;
        assert_ne!(given, id);
        assert!(!given.is_empty() && given.bytes().all(|b| b.is_ascii_alphanumeric()), "{given}");
    }
    assert_ne!(asked(String::new()).await, asked(String::new()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_says_that_it_is_there_and_which_versions_it_speaks() {
    let world = World::start().await;
    for path in ["/_matrix/identity/v2", "/_matrix/identity/v2/"] {
        assert_eq!(world.api.get(path).send().await.expect(200), json!({}));
    }
    let versions: Vec<String> = (1..=19).map(|minor| format!("v1.{minor}")).collect();
    let answer = world.api.get("/_matrix/identity/versions").send().await;
    assert_eq!(answer.expect(200), json!({ "versions": versions }));
}

/// The cross-origin headers, once each, and a request id.
pub(super) fn has_common_headers(answer: &Answer) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, PUT, DELETE, OPTIONS"),
        ("access-control-allow-headers", "Origin, X-Requested-With, Content-Type, Accept, Authorization"),
        ("access-control-max-age", "86400"),
    ] {
        let values: Vec<_> = answer.headers.get_all(name).iter().collect();
        assert_eq!(values, [value], "{name}\n{answer}");
    }
    has_request_id(answer);
}

/// A response of the operator's listener: no script of a web page may read it.
fn is_for_no_browser(answer: &Answer) {
    let is_cross_origin = |name: &str| name.starts_with("access-control-");
    assert!(!answer.headers.keys().any(|name| is_cross_origin(name.as_str())), "{answer}");
    has_request_id(answer);
}

fn has_request_id(answer: &Answer) {
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty()), "{answer}");
    if answer.code() >= 400
        && answer.header("content-type") == Some("application/json")
        && answer.method != Method::HEAD
    {
        let body = answer.json();
        assert!(body["errcode"].is_string() && body["error"].is_string(), "{answer}");
    }
}
