//! Which routes each profile has, and which versions the server says that it speaks.
//!
//! Invariant: a path that a profile does not have is as unknown as any other, whatever is sent to it.

use hyper::Method;
use serde_json::json;

use super::v1;
use harness::world::identity::{Settings, World};

/// The profiles, each with all that the one before it has.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum From {
    Invites,
    Delegate,
    Full,
    Never,
}

/// Every route of v1, and some that were never there, with the first profile that has it.
const ROUTES: [(&str, &str, From); 23] = [
    ("GET", "", From::Invites),
    ("GET", "/", From::Invites),
    ("GET", "/pubkey/ed25519:0", From::Invites),
    ("GET", "/pubkey/isvalid?public_key=x", From::Invites),
    ("GET", "/pubkey/ephemeral/isvalid?public_key=x", From::Invites),
    ("POST", "/sign-ed25519", From::Invites),
    ("GET", "/validate/email/submitToken", From::Invites),
    ("GET", "/validate/msisdn/submitToken", From::Invites),
    ("POST", "/validate/msisdn/submitToken", From::Delegate),
    ("GET", "/3pid/getValidated3pid", From::Delegate),
    ("POST", "/validate/msisdn/requestToken", From::Delegate),
    ("POST", "/validate/email/requestToken", From::Full),
    ("POST", "/validate/email/submitToken", From::Full),
    ("POST", "/3pid/bind", From::Full),
    ("POST", "/3pid/unbind", From::Full),
    ("POST", "/store-invite", From::Full),
    ("GET", "/lookup?medium=email&address=a%40b", From::Full),
    ("POST", "/bulk_lookup", From::Full),
    ("POST", "/account/register", From::Never),
    ("GET", "/account", From::Never),
    ("GET", "/terms", From::Never),
    ("GET", "/hash_details", From::Never),
    ("GET", "/unknown", From::Never),
];

/// The settings of each profile, seen from this machine, and the last routes that it then has.
const PROFILES: [(&str, Option<From>); 6] = [
    ("profile = \"off\"", None),
    ("", Some(From::Invites)),
    ("profile = \"invites\"", Some(From::Invites)),
    ("profile = \"delegate\"\ndelegate_allow_ips = [\"10.0.0.5\", \"127.0.0.2\", \"::1\"]", Some(From::Invites)),
    ("profile = \"delegate\"\ndelegate_allow_ips = [\"10.0.0.5\", \"127.0.0.1\"]", Some(From::Delegate)),
    ("profile = \"full\"", Some(From::Full)),
];

/// What a method should find at a path.
#[derive(Debug, PartialEq)]
enum Found {
    Route,
    /// With these methods.
    OtherMethods(String),
    Nothing,
}

fn expected(last: Option<From>, method: &str, path: &str) -> Found {
    let is_there = |from: From| last.is_some_and(|last| from <= last && from != From::Never);
    let rows = || ROUTES.into_iter().filter(|(_, known, _)| *known == path);
    let served: Vec<&str> = rows().filter(|(.., from)| is_there(*from)).map(|(method, ..)| method).collect();
    let is_row = rows().any(|(known, ..)| known == method);
    if served.contains(&method) {
        Found::Route
    } else if is_row || served.is_empty() {
        Found::Nothing
    } else {
        let methods = [("GET", ", GET, HEAD"), ("POST", ", POST")].into_iter();
        let methods: String = methods.filter(|(method, _)| served.contains(method)).map(|(_, names)| names).collect();
        Found::OtherMethods(format!("OPTIONS{methods}"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_profile_serves_its_routes_and_no_other() {
    for (profile, last) in PROFILES {
        let tables = format!("[legacy_v1]\n{profile}\n");
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let token = world.register("@alice:hs.example").await;
        let unknown = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
        for (_, path, _) in ROUTES {
            for method in ["GET", "POST", "PUT"] {
                for body in ["", "{}"] {
                    let call = world.api.request(method.parse().unwrap(), &v1(path)).bearer(&token).body(body);
                    let answer = call.send().await;
                    assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
                    match expected(last, method, path) {
                        Found::Route => assert!([200, 400].contains(&answer.code()), "{profile}: {answer}"),
                        Found::OtherMethods(allow) => {
                            assert_eq!(answer.expect(405), unknown, "{profile}: {answer}");
                            assert_eq!(answer.header("allow"), Some(allow.as_str()), "{profile}: {answer}");
                        }
                        Found::Nothing => {
                            assert_eq!(answer.expect(404), unknown, "{profile}: {answer}");
                            assert_eq!(answer.header("allow"), None, "{profile}: {answer}");
                        }
                    }
                }
            }
            let options = world.api.request(Method::OPTIONS, &v1(path)).send().await;
            assert_eq!((options.code(), options.body.len()), (200, 0), "{profile}: {options}");
            let is_known = ["GET", "POST"].iter().any(|method| expected(last, method, path) == Found::Route);
            assert_eq!(options.header("allow") == Some("OPTIONS"), !is_known, "{profile}: {options}");
        }
        if last.is_some() {
            assert_eq!(world.api.get(&v1("")).send().await.expect(200), json!({}));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_server_with_all_of_it_says_that_it_speaks_the_removed_versions() {
    let current = (1..=19).map(|minor| format!("v1.{minor}"));
    let removed = ["r0.1.0", "r0.2.0", "r0.2.1", "r0.3.0"].map(str::to_owned);
    for (profile, last) in PROFILES {
        let tables = format!("[legacy_v1]\n{profile}\n");
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let versions: Vec<String> = match last {
            Some(From::Full) => removed.iter().cloned().chain(current.clone()).collect(),
            _ => current.clone().collect(),
        };
        let answer = world.api.get("/_matrix/identity/versions").send().await;
        assert_eq!(answer.expect(200), json!({ "versions": versions }), "{profile}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_tell_the_routes_and_not_what_was_asked() {
    let world = super::world_with("").await;
    super::look_up(&world, "email", "private@example.com").await.expect(200);
    super::form(&world, "/3pid/bind", &[]).send().await.refused(400, "M_MISSING_PARAMS");
    let text = harness::metrics::of(&world.server).await;
    for line in [
        "identity_http_requests_total{route=\"/_matrix/identity/api/v1/lookup\",method=\"GET\",code=\"200\"} 1",
        "identity_http_requests_total{route=\"/_matrix/identity/api/v1/3pid/bind\",method=\"POST\",code=\"400\"} 1",
        "identity_lookups_total{algorithm=\"none\"} 1",
        "identity_lookup_addresses_total{result=\"not_found\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
    }
    assert!(!text.contains("private"), "{text}");
}
