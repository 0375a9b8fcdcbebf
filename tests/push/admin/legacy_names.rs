//! `[metrics] legacy_names`: the names that dashboards of older gateways ask for.

use harness::world::push::{ANDROID, IOS, NOTIFY, World, android_device, iphone};
use serde_json::json;

use super::{measured, value};

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_of_older_gateways_find_their_names() {
    let world = World::start("[metrics]\nlegacy_names = true\n").await;
    world.google.unregister("gone");
    world
        .notify_message("$one", json!([iphone('a'), android_device("phone"), android_device("gone")]))
        .await
        .expect(200);
    world.notify_message("$two", json!([iphone('a')])).await.expect(200);
    world.api.post(NOTIFY, json!({})).send().await.refused(400, "M_BAD_JSON");
    world.api.get("/nowhere").send().await.refused(404, "M_UNRECOGNIZED");
    let lines = measured(&world).await;
    for (series, expected) in [
        ("sygnal_notifications_received".to_owned(), 3.0),
        ("sygnal_notifications_received_total".to_owned(), 3.0),
        ("sygnal_notifications_devices_received".to_owned(), 4.0),
        (format!("sygnal_per_pushkin_type{{pushkin=\"{IOS}\"}}"), 2.0),
        (format!("sygnal_per_pushkin_type_total{{pushkin=\"{ANDROID}\"}}"), 2.0),
        ("sygnal_pushgateway_status_codes{code=\"200\"}".to_owned(), 2.0),
        ("sygnal_pushgateway_status_codes{code=\"400\"}".to_owned(), 1.0),
        ("sygnal_notify_time_count{code=\"200\"}".to_owned(), 2.0),
        ("sygnal_requests_in_flight{resource=\"notify\"}".to_owned(), 0.0),
        (format!("sygnal_apns_status_codes{{pushkin=\"{IOS}\",code=\"200\"}}"), 2.0),
        (format!("sygnal_gcm_status_codes{{pushkin=\"{ANDROID}\",code=\"200\"}}"), 1.0),
        (format!("sygnal_gcm_status_codes{{pushkin=\"{ANDROID}\",code=\"404\"}}"), 1.0),
        ("sygnal_apns_request_time_count".to_owned(), 2.0),
        ("sygnal_gcm_request_time_count".to_owned(), 2.0),
        ("sygnal_gcm_queue_time_count".to_owned(), 2.0),
        ("sygnal_active_apns_requests".to_owned(), 0.0),
        ("sygnal_active_gcm_requests".to_owned(), 0.0),
        ("push_requests_total{code=\"200\"}".to_owned(), 2.0),
        ("push_requests_total{code=\"404\"}".to_owned(), 1.0),
    ] {
        assert_eq!(value(&lines, &series), Some(expected), "{series}\n{}", lines.join("\n"));
    }
    assert_eq!(value(&lines, "sygnal_pushgateway_status_codes{code=\"404\"}"), None);
}
