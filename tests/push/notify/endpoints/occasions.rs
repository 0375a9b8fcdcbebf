//! Calls, declines and nudges to browsers and UnifiedPush apps.

use harness::push_service::{ALLOW, PushService, Request, VAPID};
use harness::world::push::{World, endpoint_app, message, with};
use serde_json::{Value, json};
use shared::clock::Clock;

use super::{BELIEVING, UNIFIED, WEB, world};

/// A call in the room of the design's vector, which rings for `life` milliseconds and was sent `age` milliseconds ago.
fn call(age: i64, life: u64) -> Value {
    let sent = Clock::system().now().as_millis() - age;
    let content = json!({ "notification_type": "ring", "sender_ts": sent, "lifetime": life });
    let own = json!({ "type": "m.rtc.notification", "event_id": "$ring", "room_id": "!r:example.org", "prio": "low" });
    with(with(message(), own), json!({ "content": content }))
}

fn header(request: &Request, name: &str) -> String {
    request.header(name).unwrap_or_default().to_owned()
}

fn ttl(request: &Request) -> u64 {
    header(request, "ttl").parse().expect("seconds")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_lives_as_long_as_it_rings_and_its_decline_has_its_topic() {
    let (gateway, service) = world().await;
    let (browser, phone) = (service.browser(WEB), service.phone(UNIFIED));
    for (device, topic) in [(&browser, "g-98hC5dFt8RL3trrTZs0M6tv-ZFfVRf"), (&phone, "")] {
        gateway.deliver(call(5_000, 45_000), device).await;
        let ring = service.requests_for(device).remove(0);
        assert!((37..=40).contains(&ttl(&ring)), "{ring:?}");
        assert_eq!((header(&ring, "urgency"), header(&ring, "topic")), ("high".to_owned(), topic.to_owned()));

        let relation = json!({ "m.relates_to": { "rel_type": "m.reference", "event_id": "$ring" } });
        let decline =
            json!({ "type": "m.rtc.decline", "event_id": "$no", "room_id": "!r:example.org", "content": relation });
        gateway.deliver(with(message(), decline), device).await;
        let decline = service.requests_for(device).remove(1);
        assert_eq!((header(&decline, "urgency"), header(&decline, "topic")), ("normal".to_owned(), topic.to_owned()));
        assert!([900, 86_400].contains(&ttl(&decline)), "{decline:?}");
    }
    for (age, life, left) in [(0, 500, 1..=1), (0, 600_000, 118..=120), (-3_600_000, 30_000, 29..=30)] {
        let device = service.phone(UNIFIED);
        gateway.deliver(call(age, life), &device).await;
        let request = service.requests_for(&device).remove(0);
        assert!(left.contains(&ttl(&request)), "{age} {life}: {request:?}");
    }
    // Too late for a call, but not for a missed one.
    for device in [service.browser(WEB), service.phone(UNIFIED)] {
        gateway.deliver(call(40_000, 30_000), &device).await;
        let missed = service.requests_for(&device).remove(0);
        assert!([900, 86_400].contains(&ttl(&missed)), "{missed:?}");
        assert_eq!((header(&missed, "urgency"), header(&missed, "topic")), ("low".to_owned(), String::new()));
    }
    // Of a browser that wants the last message of a room, a call still has the topic of the call.
    let mut last = service.browser(WEB);
    last["data"]["only_last_per_room"] = json!(true);
    gateway.deliver(call(0, 30_000), &last).await;
    assert_eq!(header(&service.requests_for(&last)[0], "topic"), "g-98hC5dFt8RL3trrTZs0M6tv-ZFfVRf");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nudge_has_no_counts_and_low_urgency() {
    let nudge = "badge_updates = \"nudge\"\n";
    let web = format!("{VAPID}{nudge}");
    let apps = [endpoint_app("webpush", WEB, &web), endpoint_app("unifiedpush", UNIFIED, nudge)];
    let gateway = World::serving("", &format!("{ALLOW}{BELIEVING}"), &apps).await;
    let service = PushService::start(gateway.google.authority(), &[]).await;
    let (browser, phone) = (service.browser(WEB), service.phone(UNIFIED));
    for (device, expected) in
        [(&browser, json!({ "nudge": true })), (&phone, json!({ "notification": { "prio": "low" } }))]
    {
        for unread in [3, 2, 0] {
            gateway.deliver(json!({ "counts": { "unread": unread } }), device).await;
        }
        assert_eq!(service.messages_for(device), [expected]);
        let request = service.requests_for(device).remove(0);
        assert_eq!((header(&request, "urgency"), header(&request, "topic")), ("low".to_owned(), String::new()));
    }
    let mut events_only = service.browser(WEB);
    events_only["data"]["events_only"] = json!(true);
    gateway.deliver(json!({ "counts": { "unread": 1 } }), &events_only).await;
    assert!(service.requests_for(&events_only).is_empty());
}
