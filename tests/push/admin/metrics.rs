//! What is measured, under which names, and what `/ready` says of it.

use harness::world::push::{
    ANDROID, DEADLINE, IOS, NOTIFY, Settings, World, android_device, iphone, message_body, token,
};
use std::collections::{BTreeMap, BTreeSet};

use harness::certificates::Authority;
use harness::process::new_folder;
use serde_json::{Value, json};

use super::{measured, ready, value};

/// Every metric that operators may count on, with its labels.
const METRICS: [(&str, &[&str]); 19] = [
    ("push_requests_total", &["code"]),
    ("push_request_seconds_count", &["code"]),
    ("push_deliveries_total", &["app", "outcome", "reason", "type"]),
    ("push_upstream_seconds_count", &["app", "type"]),
    ("push_upstream_status_total", &["app", "code"]),
    ("push_attempts_total", &["app", "result"]),
    ("push_in_flight", &["app"]),
    ("push_queue_seconds_count", &["app"]),
    ("push_dedup_hits_total", &["kind"]),
    ("push_rejected_memory_hits_total", &[]),
    ("push_truncated_total", &["app"]),
    ("push_payload_degraded_total", &["app"]),
    ("push_default_payload_ignored_total", &["app"]),
    ("push_breaker_open", &["app", "kind"]),
    ("push_token_refresh_total", &["app", "result"]),
    ("push_credential_expiry_seconds", &["app"]),
    ("push_apns_connections", &["app"]),
    ("push_config_error_total", &["app", "reason"]),
    ("push_config_reload_failed", &[]),
];

/// The names of the series, each with the names of its labels.
fn names(lines: &[String]) -> BTreeMap<String, BTreeSet<String>> {
    let mut names = BTreeMap::<String, BTreeSet<String>>::new();
    for line in lines.iter().filter(|line| !line.is_empty()) {
        let series = line.rsplit_once(' ').expect("a series and its value").0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        // No label's value has a comma or a quote in it here.
        let labels =
            labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        names.entry(name.to_owned()).or_default().extend(labels);
    }
    names
}

/// A world in which a third app goes by a certificate, to an address without a listener.
async fn world_with_a_certificate() -> World {
    let folder = new_folder();
    let file = folder.path().join("client.pem");
    std::fs::write(&file, Authority::new("developers").issue_client_pem("com.example.cert")).expect("a file");
    let table = format!(
        "[apps.\"com.example.cert\"]\ntype = \"apns\"\ntopic = \"x\"\ncert_file = {file:?}\nendpoint = \"https://127.0.0.1:1\"\n"
    );
    World::start(&table).await
}

/// Something of everything.
async fn traffic(world: &World) {
    use harness::fcm::Fault;
    world.google.unregister("gone");
    world.google.fault_times_for("lesser", 1, Fault::html(400));
    world.google.fault_times_for("forbidden", 1, Fault::error(403, "PERMISSION_DENIED"));
    for event in ["$one", "$one", "$two"] {
        let devices = json!([iphone('a'), android_device("phone"), android_device("gone")]);
        world.notify_message(event, devices).await.expect(200);
    }
    world.notify_message("$three", json!([android_device("lesser")])).await.expect(200);
    world.notify_message("$four", json!([android_device("forbidden")])).await.refused(502, "M_UNKNOWN");
    let mut odd = android_device("odd");
    odd["data"] = json!({ "default_payload": ["not an object"] });
    world.notify_message("$five", json!([odd])).await.expect(200);
    let mut long = message_body("$six", json!([iphone('a'), android_device("phone")]));
    long["notification"]["content"]["body"] = json!("long ".repeat(2000));
    world.api.post(NOTIFY, long).send().await.expect(200);
    for number in 0..5 {
        let strange = json!({ "app_id": format!("strange.{number}"), "pushkey": "k" });
        world.notify_message("$seven", json!([strange])).await.expect(200);
    }
    world.api.post(NOTIFY, json!(5)).send().await.refused(400, "M_BAD_JSON");
    world.api.get("/health").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_its_name_and_its_labels_and_no_others() {
    let world = world_with_a_certificate().await;
    traffic(&world).await;
    let lines = measured(&world).await;
    let names = names(&lines);
    for (name, labels) in METRICS {
        let found = names.get(name).unwrap_or_else(|| panic!("{name} is not there:\n{}", lines.join("\n")));
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), labels, "{name}");
    }
    let of_app = |app: &str, rest: &str| format!("push_deliveries_total{{app=\"{app}\",{rest}}}");
    for (series, expected) in [
        (of_app(IOS, r#"type="apns",outcome="delivered",reason="""#), 4.0),
        (of_app(ANDROID, r#"type="fcm",outcome="rejected",reason="UNREGISTERED""#), 3.0),
        (of_app(ANDROID, r#"type="fcm",outcome="permanent",reason="PERMISSION_DENIED""#), 1.0),
        (of_app("unknown", r#"type="unknown",outcome="rejected",reason="unknown_app""#), 5.0),
        (r#"push_dedup_hits_total{kind="done"}"#.to_owned(), 2.0),
        ("push_rejected_memory_hits_total".to_owned(), 2.0),
        (r#"push_requests_total{code="200"}"#.to_owned(), 11.0),
        (r#"push_requests_total{code="400"}"#.to_owned(), 1.0),
        (r#"push_requests_total{code="502"}"#.to_owned(), 1.0),
        (format!("push_apns_connections{{app=\"{IOS}\"}}"), 1.0),
        (format!("push_in_flight{{app=\"{IOS}\"}}"), 0.0),
        (format!("push_breaker_open{{app=\"{IOS}\",kind=\"circuit\"}}"), 0.0),
        (format!("push_token_refresh_total{{app=\"{IOS}\",result=\"success\"}}"), 1.0),
        (format!("push_token_refresh_total{{app=\"{ANDROID}\",result=\"success\"}}"), 1.0),
        (format!("push_config_error_total{{app=\"{ANDROID}\",reason=\"PERMISSION_DENIED\"}}"), 1.0),
        (format!("push_payload_degraded_total{{app=\"{ANDROID}\"}}"), 1.0),
        (format!("push_default_payload_ignored_total{{app=\"{ANDROID}\"}}"), 1.0),
        (format!("push_truncated_total{{app=\"{IOS}\"}}"), 1.0),
        (format!("push_truncated_total{{app=\"{ANDROID}\"}}"), 1.0),
    ] {
        assert_eq!(value(&lines, &series), Some(expected), "{series}\n{}", lines.join("\n"));
    }
    // Seconds since the Unix epoch; the year is 2999 or so.
    assert!(value(&lines, "push_credential_expiry_seconds{app=\"com.example.cert\"}") > Some(3e10));
    assert!(!lines.join("\n").contains("strange"), "an app_id from outside became a label");
    assert!(!lines.join("\n").contains("sygnal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_is_composed_once_for_all_attempts_of_a_delivery() {
    const WAITS: &str = "retry_waits = [\"10ms\", \"10ms\"]\n";
    let world = World::with(Settings { ios: WAITS, android: WAITS, ..Settings::default() }).await;
    world.apple.fault_times(&token('a'), 2, harness::apns::Fault::error(503, "ServiceUnavailable"));
    world.google.fault_times_for("phone", 2, harness::fcm::Fault::error(503, "UNAVAILABLE"));
    let mut long = message_body("$long", json!([iphone('a'), android_device("phone")]));
    long["notification"]["content"]["body"] = json!("long ".repeat(2000));
    world.api.post(NOTIFY, long).send().await.expect(200);
    let lines = measured(&world).await;
    for app in [IOS, ANDROID] {
        let attempts = format!("push_upstream_status_total{{app=\"{app}\",code=\"503\"}}");
        assert_eq!(value(&lines, &attempts), Some(2.0), "{}", lines.join("\n"));
        assert_eq!(value(&lines, &format!("push_truncated_total{{app=\"{app}\"}}")), Some(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_and_the_gauges_name_the_breakers_that_are_open() {
    let world = World::start("[rejection_breaker]\nmin = 5\n").await;
    let open = async |app: &str, kind: &str| {
        value(&measured(&world).await, &format!("push_breaker_open{{app=\"{app}\",kind=\"{kind}\"}}"))
    };
    harness::wait::wait_for("an access token", DEADLINE, async || {
        let answer = harness::api::Api::new(&world.server.admin_url()).get("/ready").send().await;
        (answer.code() == 200).then_some(())
    })
    .await;
    assert_eq!(ready(&world).await, json!({ "status": "ready" }));

    world.apple.fault(&token('e'), harness::apns::Fault::error(503, "ServiceUnavailable"));
    for number in 0..10 {
        world.notify_message(&format!("$e{number}"), json!([iphone('e')])).await.refused(502, "M_UNKNOWN");
    }
    let notes = |ready: Value| serde_json::from_value::<Vec<String>>(ready["notes"].clone()).unwrap_or_default();
    let noted = notes(ready(&world).await);
    assert!(noted.len() == 1 && noted[0].starts_with(IOS) && noted[0].contains("only probes are sent"), "{noted:?}");
    assert_eq!((open(IOS, "circuit").await, open(ANDROID, "circuit").await), (Some(1.0), Some(0.0)));

    world.google.fault(harness::fcm::Fault::sender_id_mismatch());
    for number in 0..5 {
        world.notify_message("$r", json!([android_device(&format!("phone{number}"))])).await;
    }
    let noted = notes(ready(&world).await);
    assert!(noted.iter().any(|note| note.starts_with(ANDROID) && note.contains("SENDER_ID_MISMATCH")), "{noted:?}");
    assert_eq!((open(ANDROID, "mass_rejection").await, open(IOS, "mass_rejection").await), (Some(1.0), Some(0.0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_what_is_dropped_in_a_busy_app_is_counted() {
    let ios = "retry_waits = []\nmax_concurrent = 1\n";
    let world =
        World::with(Settings { ios, tables: "[limits]\nqueue_wait = \"100ms\"\n", ..Settings::default() }).await;
    world.apple.fault(&token('b'), harness::apns::Fault::Silence);
    let (_slow, second) = tokio::join!(world.notify_message("$slow", json!([iphone('b')])), async {
        harness::wait::wait_until("the first push", DEADLINE, || !world.apple.requests_for(&token('b')).is_empty())
            .await;
        let during = value(&measured(&world).await, &format!("push_in_flight{{app=\"{IOS}\"}}"));
        assert_eq!(during, Some(1.0));
        world.notify_message("$second", json!([iphone('c')])).await
    });
    second.refused(503, "M_UNKNOWN");
    let lines = measured(&world).await;
    let series =
        format!("push_deliveries_total{{app=\"{IOS}\",type=\"apns\",outcome=\"temporary\",reason=\"overloaded\"}}");
    assert_eq!(value(&lines, &series), Some(1.0), "{}", lines.join("\n"));
    assert_eq!(value(&lines, &format!("push_in_flight{{app=\"{IOS}\"}}")), Some(0.0));
}
