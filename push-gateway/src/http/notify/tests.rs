//! The endpoints as a homeserver sees them: status, headers, body. No test reaches a push service: a device has no app, or
//! its app an unreachable endpoint.

use std::sync::Arc;
use std::time::Duration;

use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::web::Data;
use serde_json::{Value, json};
use shared::clock::Clock;
use shared::http::body::BodyLimits;
use shared::http::body_budget::Budget;
use shared::http::observe::{Activity, KnownSeries, Labels, Observer, observe};
use shared::random::Random;

use crate::config::Config;
use crate::delivery::state::State;
use crate::http::notify::configure;

const NOTIFY: &str = "/_matrix/push/v1/notify";

/// A gateway with one APNs app whose endpoint is a closed port.
fn state(more: &str) -> Arc<State> {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    std::fs::write(folder.path().join("key.p8"), key).unwrap();
    let config = folder.path().join("config.toml");
    let app = "[apps.'com.example.*']\ntype = 'apns'\ntopic = 'com.example'\nkey_file = 'key.p8'\nkey_id = 'ABC1234567'\n\
               team_id = 'DEF1234567'\nendpoint = 'https://127.0.0.1:1'\nretry_waits = []\n";
    std::fs::write(&config, format!("{more}\n{app}")).unwrap();
    Arc::new(State::new(Config::load(Some(&config)).unwrap(), Clock::system(), Random).unwrap())
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn call(state: &Arc<State>, request: TestRequest) -> Answer {
    let http = state.setup().config.http.clone();
    let limits = BodyLimits {
        max: http.max_body.get(),
        may_be_large: |_| true,
        timeout: Duration::from_secs(5),
        budget: Budget::new(http.body_budget.get(), http.max_body.get()),
    };
    let observer = Observer {
        requests_total: "requests_total",
        duration_seconds: "duration_seconds",
        labels: Labels::Code,
        headers: &[],
        may_be_large: |_| true,
        activity: Arc::new(Activity::default()),
        known: KnownSeries::default(),
    };
    let app = App::new()
        .wrap(from_fn(observe))
        .app_data(Data::new(observer))
        .app_data(Data::new(limits))
        .app_data(Data::from(Arc::clone(state)))
        .configure(configure);
    let response = call_service(&init_service(app).await, request.to_request()).await;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: to_bytes(response.into_body()).await.unwrap().to_vec() }
}

async fn post(state: &Arc<State>, body: impl Into<Vec<u8>>) -> Answer {
    call(state, TestRequest::post().uri(NOTIFY).set_payload(body.into())).await
}

fn notify(devices: &Value) -> String {
    json!({ "notification": { "event_id": "$e", "room_id": "!r", "devices": devices } }).to_string()
}

#[actix_web::test]
async fn other_methods_and_paths_are_refused_in_matrix_json() {
    let state = state("");
    for (method, path, status, allow) in [
        ("GET", NOTIFY, 405, Some("OPTIONS, POST")),
        ("HEAD", NOTIFY, 405, Some("OPTIONS, POST")),
        ("PUT", NOTIFY, 405, Some("OPTIONS, POST")),
        ("DELETE", "/_matrix/push/v1/notify/", 405, Some("OPTIONS, POST")),
        ("BREW", NOTIFY, 405, Some("OPTIONS, POST")),
        ("GET", "/", 404, None),
        ("POST", "/_matrix/push/v1", 404, None),
        ("POST", "/_matrix/push/v1/notify/x", 404, None),
        ("OPTIONS", NOTIFY, 200, Some("OPTIONS, POST")),
        ("OPTIONS", "/nowhere", 200, Some("OPTIONS")),
        ("GET", "/health", 200, None),
    ] {
        let answer = call(&state, TestRequest::with_uri(path).method(method.parse().unwrap())).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{method} {path}");
        if status >= 400 && method != "HEAD" {
            assert_eq!(answer.json(), json!({ "errcode": "M_UNRECOGNIZED", "error": "Unrecognized request" }));
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[actix_web::test]
async fn an_invalid_body_is_refused() {
    let state = state("[http]\nmax_body = '4KiB'\n[limits]\nmax_devices = 2");
    let devices = json!([{ "app_id": "a", "pushkey": "k" }]);
    let three = json!([devices[0], devices[0], devices[0]]);
    for (body, status, errcode) in [
        ("I am not JSON".to_owned(), 400, "M_NOT_JSON"),
        (String::new(), 400, "M_NOT_JSON"),
        ("null".to_owned(), 400, "M_BAD_JSON"),
        ("{}".to_owned(), 400, "M_BAD_JSON"),
        (notify(&json!([{ "app_id": "a", "pushkey": 5 }])), 400, "M_BAD_JSON"),
        (notify(&three), 400, "M_BAD_JSON"),
        (" ".repeat(4097), 413, "M_TOO_LARGE"),
    ] {
        let answer = post(&state, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["errcode"]), (status, &json!(errcode)), "{body:.80}");
    }
    let answer = post(&state, notify(&json!([{ "app_id": "a", "pushkey": 5 }]))).await;
    assert_eq!(answer.json()["error"], "notification.devices[0].pushkey: expected a string");
}

#[actix_web::test]
async fn any_content_type_and_a_trailing_slash_are_accepted() {
    let state = state("");
    let body = notify(&json!([{ "app_id": "org.unknown", "pushkey": "k" }]));
    for path in [NOTIFY, "/_matrix/push/v1/notify/"] {
        for content_type in ["application/json", "text/plain", "application/x-www-form-urlencoded"] {
            let request = TestRequest::post().uri(path).insert_header(("content-type", content_type));
            let answer = call(&state, request.set_payload(body.clone())).await;
            assert_eq!((answer.status, answer.json()), (200, json!({ "rejected": ["k"] })), "{path} {content_type}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[actix_web::test]
async fn devices_without_an_app_are_rejected_in_order_each_once() {
    let state = state("");
    let long = "x".repeat(2049);
    let devices = json!([
        { "app_id": "b", "pushkey": "2" },
        { "app_id": "a", "pushkey": "1" },
        { "app_id": "c", "pushkey": "2" },
        { "app_id": "com.example.ios", "pushkey": "" },
        { "app_id": "com.example.ios", "pushkey": long },
        { "app_id": "com.example.ios", "pushkey": "no token" },
    ]);
    let answer = post(&state, notify(&devices)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({ "rejected": ["2", "1", "", long, "no token"] })));
}

#[actix_web::test]
async fn an_unreachable_push_service_is_502_and_rejects_no_pushkey() {
    let state = state("");
    let token = "ab".repeat(32);
    let devices = json!([{ "app_id": "unknown", "pushkey": "k" }, { "app_id": "com.example.ios", "pushkey": token }]);
    let answer = post(&state, notify(&devices)).await;
    assert_eq!(answer.status, 502);
    let body = json!({ "errcode": "M_UNKNOWN", "error": "Push service unavailable, try again later" });
    assert_eq!(answer.json(), body);
}

#[actix_web::test]
async fn unknown_app_error_rejects_no_pushkey() {
    let state = state("[routing]\nunknown_app = 'error'");
    assert_eq!(post(&state, notify(&json!([{ "app_id": "a", "pushkey": "k" }]))).await.status, 502);
}

#[actix_web::test]
async fn requests_over_max_in_flight_are_refused_at_once() {
    let state = state("[limits]\nmax_in_flight = 1");
    let body = notify(&json!([{ "app_id": "a", "pushkey": "k" }]));
    let setup = state.setup();
    let busy = setup.in_flight.enter(state.device_keys.client("other")).unwrap();
    let answer = post(&state, body.clone()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.json()["errcode"], "M_UNKNOWN");
    drop(busy);
    assert_eq!(post(&state, body).await.status, 200);
}

#[actix_web::test]
async fn a_local_rejection_does_not_count_as_an_answer_of_the_push_service() {
    let state = state("");
    for number in 0..10 {
        for (pushkey, status) in [("0".repeat(64), 502), ("unreadable".to_owned(), 200)] {
            let body = json!({ "notification": {
                "event_id": format!("${number}"), "devices": [{ "app_id": "com.example.ios", "pushkey": pushkey }],
            } });
            let answer = post(&state, body.to_string()).await;
            // The tenth failure opens the circuit for both.
            assert!(answer.status == status || number == 9, "{number} {}", answer.status);
        }
    }
    assert_eq!(state.circuits.open().len(), 1);
}

#[actix_web::test]
async fn junk_pushkeys_push_out_no_rate_of_a_device_that_had_a_delivery() {
    let state = state("[rejection_breaker]\nenabled = false");
    let junk: Vec<_> =
        (0..100).map(|n| json!({ "app_id": "com.example.ios", "pushkey": format!("junk{n}") })).collect();
    assert_eq!(post(&state, notify(&json!(junk))).await.status, 200);
    let setup = state.setup();
    assert_eq!((setup.per_pushkey.len(), setup.per_unproven_pushkey.len()), (0, 100));
    let token = "ab".repeat(32);
    assert!(state.proven_pushkeys.insert(state.device_keys.pushkey(&token)));
    post(&state, notify(&json!([{ "app_id": "com.example.ios", "pushkey": token }]))).await;
    assert_eq!((setup.per_pushkey.len(), setup.per_unproven_pushkey.len()), (1, 100));
}
