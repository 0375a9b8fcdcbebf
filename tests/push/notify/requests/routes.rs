//! Paths and methods, with any body.
//!
//! Invariant: every response is JSON with its length, except the empty ones to HEAD and OPTIONS.

use harness::api::Answer;
use harness::world::push::{NOTIFY, World, android_app, ids, with};
use hyper::Method;
use serde_json::json;

const APP: &str = "org.example.android";
const NO_PATHS: [&str; 11] = [
    "/",
    "/_matrix",
    "/_matrix/push/v1",
    "/_matrix/push/v1/",
    "/_matrix/push/v1/notify//",
    "/_matrix/push/v1//notify",
    "/_matrix/push/v1/notify/x",
    "/_matrix/push/v2/notify",
    "/_matrix/push/v1/Notify",
    "/_matrix/push/v1/notify%2f",
    "/metrics",
];

fn sorted(allow: Option<&str>) -> Vec<String> {
    let mut methods: Vec<String> = allow.unwrap_or_default().split(',').map(|name| name.trim().to_owned()).collect();
    methods.sort_unstable();
    methods
}

#[track_caller]
fn is_complete(answer: &Answer) {
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn notify_takes_post_alone_with_and_without_a_slash_at_the_end() {
    let gateway = World::serving("", "", &[android_app(APP, "unifiedpush = false\n")]).await;
    for path in [NOTIFY.to_owned(), format!("{NOTIFY}/"), format!("{NOTIFY}?access_token=x")] {
        for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "post"] {
            let device = gateway.phone(APP);
            let body = json!({ "notification": with(ids(), json!({ "devices": [device] })) });
            let answer = gateway.api.request(method.parse().unwrap(), &path).json(&body).send().await;
            assert_eq!(answer.code(), 405, "{answer}");
            assert_eq!(sorted(answer.header("allow")), ["OPTIONS", "POST"], "{answer}");
            if method == "HEAD" {
                assert!(answer.body.is_empty());
            } else {
                let unrecognized = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
                assert_eq!(answer.json(), unrecognized, "{answer}");
                is_complete(&answer);
            }
        }
        let answer = gateway.api.request(Method::OPTIONS, &path).send().await;
        assert_eq!((answer.code(), answer.body.len()), (200, 0), "{answer}");
        assert_eq!(sorted(answer.header("allow")), ["OPTIONS", "POST"]);
        assert!(gateway.google.messages().is_empty());
    }
    for path in [NOTIFY.to_owned(), format!("{NOTIFY}/"), format!("{NOTIFY}?x=y")] {
        let device = gateway.phone(APP);
        let body = json!({ "notification": with(ids(), json!({ "devices": [device] })) });
        let answer = gateway.api.post(&path, body).send().await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }));
        is_complete(&answer);
        gateway.message(&device);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_other_path_is_not_found_by_any_method() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    for path in NO_PATHS {
        for method in ["GET", "POST", "PUT", "DELETE", "PROPFIND"] {
            let answer = gateway.api.request(method.parse().unwrap(), path).send().await;
            let unrecognized = json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" });
            assert_eq!(answer.expect(404), unrecognized, "{answer}");
            is_complete(&answer);
        }
        let head = gateway.api.request(Method::HEAD, path).send().await;
        assert_eq!((head.code(), head.body.len()), (404, 0));
        let options = gateway.api.request(Method::OPTIONS, path).send().await;
        assert_eq!((options.code(), options.body.len()), (200, 0));
        assert_eq!(options.header("allow"), Some("OPTIONS"));
    }
    gateway.api.get("/health").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_prefix_nothing_is_found_without_it() {
    let gateway = World::serving("base_path = \"/push\"", "", &[android_app(APP, "")]).await;
    let device = gateway.phone(APP);
    let body = json!({ "notification": with(ids(), json!({ "devices": [device] })) });
    gateway.api.post(NOTIFY, body.clone()).send().await.refused(404, "M_UNRECOGNIZED");
    assert!(gateway.google.messages().is_empty());
    let answer = gateway.api.post(&format!("/push{NOTIFY}"), body).send().await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    gateway.message(&device);
}
