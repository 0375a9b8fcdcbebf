//! One `app_id` for Firebase, UnifiedPush and browsers: the form of the pushkey decides.
//!
//! Invariant: a URL never reaches Google, and a token never becomes a connection to a host that it names.

use harness::push_service::{ALLOW, PushService, Reply, VAPID, VAPID_PUBLIC};
use harness::world::push::{NOTIFY, World, android_app, endpoint_app, ids, ios_app, with};
use serde_json::{Value, json};

use super::{BELIEVING, PHONES, UNIFIED, WEB, world};

async fn rejected(gateway: &World, device: &Value) -> Value {
    let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
    answer.expect(200)["rejected"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_of_the_pushkey_leads_to_its_push_service() {
    let (gateway, service) = world().await;
    let (url, token) = (service.phone(PHONES), json!({ "app_id": PHONES, "pushkey": "abc:APA91b_x-1" }));
    let fid = json!({ "app_id": PHONES, "pushkey": "cAbCdEfGhIjKlMnOpQrStU" });
    let browser = service.browser(PHONES);
    let answer = gateway.notify(&with(ids(), json!({ "devices": [url, token, fid, browser] }))).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    assert_eq!([&url, &browser].map(|device| service.messages_for(device).len()), [1, 1]);
    assert_eq!(gateway.message(&token)["token"], token["pushkey"]);
    assert_eq!(gateway.message(&fid)["fid"], fid["pushkey"]);
    let metrics = harness::api::Api::new(&gateway.server.admin_url()).get("/metrics").send().await.text();
    for type_name in ["fcm", "unifiedpush", "webpush"] {
        let labels = [format!("type=\"{type_name}\""), "outcome=\"delivered\"".to_owned()];
        let mut lines = metrics.lines().filter(|line| line.starts_with("push_deliveries_total{"));
        assert!(lines.any(|line| labels.iter().all(|label| line.contains(label))), "{type_name}: {metrics}");
    }
    let whole = {
        let [_, p256dh, auth] = service.keys_of(&browser);
        json!({ "endpoint": browser["data"]["endpoint"], "keys": { "p256dh": p256dh, "auth": auth } }).to_string()
    };
    let device = json!({ "app_id": WEB, "pushkey": whole });
    assert_eq!(rejected(&gateway, &device).await, json!([]));
    assert_eq!(service.messages_for(&browser).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_push_service_takes_is_rejected_unchanged_and_nothing_is_sent() {
    let (gateway, service) = world().await;
    for pushkey in [
        " https://ntfy.sh/up",
        "https:/ntfy.sh/up",
        "https:x",
        "https:\\\\ntfy.sh",
        "ftp://x/y",
        "unix://x",
        "tok en",
        "a/b",
        "é",
        "{}",
        "{\"endpoint\":\"https://127.0.0.1/\"}",
    ] {
        for app in [PHONES, WEB, UNIFIED] {
            let device = json!({ "app_id": app, "pushkey": pushkey });
            assert_eq!(rejected(&gateway, &device).await, json!([pushkey]), "{app}");
        }
    }
    let token = json!({ "app_id": UNIFIED, "pushkey": "abc:APA91b_x-1" });
    assert_eq!(rejected(&gateway, &token).await, json!(["abc:APA91b_x-1"]));
    let mut half = service.phone(PHONES);
    half["data"] = json!({ "p256dh": VAPID_PUBLIC });
    assert_eq!(rejected(&gateway, &half).await, json!([half["pushkey"]]));
    assert!(service.requests().is_empty() && gateway.google.messages().is_empty());
    // The rejection was about the keys: the same endpoint without them is served.
    half["data"] = json!({});
    assert_eq!(rejected(&gateway, &half).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_unifiedpush_a_url_is_no_token_and_is_not_sent_to() {
    let keys = "unifiedpush = false\n";
    let web = format!("{VAPID}{keys}");
    let apps = [android_app(PHONES, keys), endpoint_app("webpush", WEB, &web), ios_app("ios", "")];
    let gateway = World::serving("", &format!("{ALLOW}{BELIEVING}"), &apps).await;
    let service = PushService::start(gateway.google.authority(), &[]).await;
    for app in [PHONES, WEB, "ios"] {
        let phone = service.phone(app);
        assert_eq!(rejected(&gateway, &phone).await, json!([phone["pushkey"]]), "{app}");
    }
    assert_eq!((service.connections(), gateway.google.messages().len()), (0, 0));
    gateway.api.get(NOTIFY).send().await.refused(405, "M_UNRECOGNIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_and_a_token_of_one_app_have_independent_outcomes() {
    let (gateway, service) = world().await;
    let (url, token) = (service.phone(PHONES), gateway.phone(PHONES));
    service.answer(&url, None, Reply::new(429, ""));
    let notify = |device: &Value| with(ids(), json!({ "devices": [device] }));
    assert_eq!(gateway.notify(&notify(&url)).await.code(), 502);
    assert_eq!(gateway.notify(&notify(&token)).await.expect(200), json!({ "rejected": [] }));
    service.answer(&url, None, Reply::new(404, ""));
    let other = service.phone(PHONES);
    service.answer(&other, None, Reply::new(404, ""));
    assert_eq!(rejected(&gateway, &other).await, json!([other["pushkey"]]));
    assert_eq!(gateway.message(&token)["token"], token["pushkey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_one_endpoint_are_one_device_and_come_back_as_they_came() {
    let (gateway, service) = world().await;
    let phone = service.phone(UNIFIED);
    let url = phone["pushkey"].as_str().unwrap();
    let loud = json!({ "app_id": UNIFIED, "pushkey": format!("{}#frag", url.replace("https", "HTTPS")) });
    let answer = gateway.notify(&with(ids(), json!({ "devices": [phone, loud] }))).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    let requests = service.requests_for(&phone);
    assert_eq!((requests.len(), requests[0].target.contains('#')), (1, false));
    service.answer(&phone, None, Reply::new(404, ""));
    let event = with(ids(), json!({ "event_id": "$2", "devices": [loud] }));
    assert_eq!(gateway.notify(&event).await.expect(200)["rejected"], json!([loud["pushkey"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_is_discovered_and_gives_the_key_to_web_pages() {
    let (gateway, _service) = world().await;
    let answer = gateway.api.get(NOTIFY).send().await;
    assert_eq!(answer.expect(200), json!({ "unifiedpush": { "gateway": "matrix" } }));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for app in [WEB, PHONES] {
        let call = gateway.api.get("/_push/v1/vapid").query("app_id", app).header("origin", "https://app.example.org");
        let answer = call.send().await;
        assert_eq!(answer.expect(200), json!({ "app_id": app, "vapid": VAPID_PUBLIC }));
        let header = |name| answer.header(name);
        assert_eq!(header("access-control-allow-origin"), Some("*"));
        assert_eq!(header("cache-control"), Some("max-age=3600"));
    }
    for app in [UNIFIED, "com.example.unknown"] {
        let call = gateway.api.get("/_push/v1/vapid").query("app_id", app).header("origin", "https://app.example.org");
        let answer = call.send().await;
        answer.refused(404, "M_NOT_FOUND");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "the page shows why");
    }
    let long = format!("?app_id={}", "a".repeat(65));
    for query in ["", "?app_id=", "?app_id=a&app_id=b", &long] {
        gateway.api.get(&format!("/_push/v1/vapid{query}")).send().await.refused(400, "M_INVALID_PARAM");
    }
}
