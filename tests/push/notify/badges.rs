//! Badge updates: counts without an event, sent, reduced to a silent push, or left out.

use harness::api::Api;
use harness::world::push::{World, android_app, ids, ios_app, with};
use serde_json::{Value, json};

const APP: &str = "org.example.app";

fn counts(unread: u32) -> Value {
    json!({ "counts": { "unread": unread } })
}

/// The number of dropped deliveries of the app with this reason.
async fn dropped(world: &World, app: &str, reason: &str) -> usize {
    let text = Api::new(&world.server.admin_url()).get("/metrics").send().await.text();
    let labels = [format!("app=\"{app}\""), format!("reason=\"{reason}\"")];
    let is_it = |line: &&str| line.starts_with("push_deliveries_total{") && labels.iter().all(|own| line.contains(own));
    text.lines().find(is_it).map_or(0, |line| line.rsplit(' ').next().expect("a count").parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_chooses_the_badge_updates_that_it_gets() {
    let apps = [
        ios_app("all", ""),
        ios_app("clear", "badge_updates = \"clear_only\""),
        ios_app("none", "badge_updates = \"off\""),
        android_app("none too", "badge_updates = \"off\""),
    ];
    let world = World::serving("", "", &apps).await;
    for (app, unread) in [("all", 2), ("all", 0), ("clear", 0)] {
        let device = world.iphone(app);
        world.deliver(counts(unread), &device).await;
        assert_eq!(world.push(&device).json(), json!({ "aps": { "badge": unread } }), "{app}");
    }
    world.drops(counts(2), &world.iphone("clear")).await;
    world.drops(counts(0), &world.iphone("none")).await;
    world.drops(counts(0), &world.phone("none too")).await;
    assert_eq!(dropped(&world, "none", "badge_update").await, 1);
    let device = world.phone("none too");
    world.deliver(with(ids(), counts(2)), &device).await;
    assert_eq!(world.message(&device)["data"]["unread"], "2", "counts of an event are no badge update");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nudge_wakes_the_app_without_counts_once_in_an_interval() {
    let nudge = "badge_updates = \"nudge\"";
    let world = World::serving("", "", &[ios_app("ios", nudge), android_app("android", nudge)]).await;
    let data = json!({ "default_payload": { "cs": "mine", "aps": { "alert": "x" } } });
    let (iphone, phone) =
        (with(world.iphone("ios"), json!({ "data": data })), with(world.phone("android"), json!({ "data": data })));
    for unread in [3, 2, 0] {
        world.deliver(counts(unread), &iphone).await;
        world.deliver(counts(unread), &phone).await;
    }
    let push = world.push(&iphone);
    assert_eq!(push.json(), json!({ "aps": { "content-available": 1 }, "cs": "mine" }));
    for (name, value) in [("apns-push-type", "background"), ("apns-priority", "5"), ("apns-collapse-id", "nudge")] {
        assert_eq!(push.header(name), Some(value));
    }
    let message = world.message(&phone);
    assert_eq!(message["data"], json!({ "cs": "mine", "nudge": "1" }));
    assert_eq!(message["android"], json!({ "priority": "normal", "collapse_key": "badge", "ttl": "3600s" }));
    for app in ["ios", "android"] {
        assert_eq!(dropped(&world, app, "nudge_throttled").await, 2);
    }
    // Another device has an interval of its own.
    let other = world.phone("android");
    world.deliver(counts(0), &other).await;
    world.message(&other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_without_counts_gets_a_nudge_if_the_app_wants_one() {
    let apps = [android_app(APP, ""), android_app("nudged", "badge_nudge = true\nnudge_interval = \"1ms\"")];
    let world = World::serving("", "", &apps).await;
    for key in ["disable_badge_count", "org.matrix.msc4076.disable_badge_count"] {
        let with_data = |device| with(device, json!({ "data": { key: true } }));
        world.drops(counts(2), &with_data(world.phone(APP))).await;
        let device = with_data(world.phone("nudged"));
        world.deliver(counts(2), &device).await;
        assert_eq!(world.message(&device)["data"], json!({ "nudge": "1" }));
        let device = with_data(world.phone("nudged"));
        world.deliver(with(ids(), counts(2)), &device).await;
        assert!(world.message(&device)["data"].get("unread").is_none());
    }
    assert_eq!(dropped(&world, APP, "badge_disabled").await, 2);
}
