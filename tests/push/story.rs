//! A notification on its way from a homeserver to Apple and Google, through the real binary.

use harness::api::{Answer, Api};
use harness::binary;
use harness::certificates::Authority;
use harness::fcm::Google;
use harness::process::{Server, new_folder};
use serde_json::{Value, json};

const IOS: &str = "com.example.ios";
const ANDROID: &str = "com.example.android";

/// A gateway between a homeserver and two push services.
struct World {
    _server: Server,
    apple: harness::apns::Apple,
    google: Google,
    api: Api,
}

impl World {
    async fn start(settings: &str) -> Self {
        let folder = new_folder();
        let google = Google::start().await;
        let authority: &Authority = google.authority();
        let apple = harness::apns::Apple::start_at("127.0.0.1:0", authority).await;
        let ca = authority.write_pem(folder.path());
        let config = format!(
            "[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n[outbound]\nextra_ca_file = {ca:?}\n{settings}\n\
             [apps.{IOS:?}]\nretry_waits = []\n{}{}retry_waits = []\n",
            apple.config(folder.path(), "com.example.app"),
            google.config(ANDROID, folder.path()),
        );
        let server = Server::start_in(folder, binary::push_gateway(), &config, &[]).await;
        let api = Api::new(&server.url());
        Self { _server: server, apple, google, api }
    }

    async fn notify(&self, event_id: &str, devices: Value) -> Answer {
        let body = json!({ "notification": {
            "event_id": event_id, "room_id": "!r:hs.example", "type": "m.room.message", "sender": "@a:hs.example",
            "sender_display_name": "Alice", "room_name": "Mission Control", "prio": "high",
            "content": { "msgtype": "m.text", "body": "I'm floating" }, "counts": { "unread": 2 }, "devices": devices,
        }});
        self.api.post("/_matrix/push/v1/notify", body).send().await
    }
}

/// A device token as iOS gives it, in hexadecimal.
fn token(digit: char) -> String {
    digit.to_string().repeat(64)
}

fn iphone(digit: char) -> Value {
    json!({ "app_id": IOS, "pushkey": token(digit), "pushkey_ts": 42 })
}

fn android(pushkey: &str) -> Value {
    json!({ "app_id": ANDROID, "pushkey": pushkey, "pushkey_ts": 42 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_both_push_services_and_a_dead_pushkey_comes_back() {
    let world = World::start("").await;
    world.google.unregister("gone");
    let answer = world.notify("$one", json!([iphone('a'), android("phone"), android("gone")])).await;
    assert_eq!(answer.expect(200), json!({ "rejected": ["gone"] }));
    let pushed = world.apple.requests_for(&token('a'));
    assert_eq!(pushed.len(), 1);
    assert_eq!(pushed[0].header("apns-topic"), Some("com.example.app"));
    assert_eq!(pushed[0].json()["aps"]["badge"], 2);
    assert_eq!(pushed[0].json()["aps"]["alert"]["loc-key"], "MSG_FROM_USER_IN_ROOM_WITH_CONTENT");
    let messages = world.google.messages_for("phone");
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["message"]["data"]["event_id"], "$one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_push_service_did_not_take_is_all_that_the_retry_sends() {
    let world = World::start("").await;
    let busy = harness::apns::Fault::error(503, "ServiceUnavailable");
    world.apple.fault(&token('a'), busy);
    let devices = json!([iphone('a'), android("phone")]);
    world.notify("$two", devices.clone()).await.refused(502, "M_UNKNOWN");
    world.notify("$two", devices.clone()).await.refused(502, "M_UNKNOWN");
    world.apple.mend();
    let before = world.apple.requests_for(&token('a')).len();
    assert_eq!(world.notify("$two", devices.clone()).await.expect(200), json!({ "rejected": [] }));
    assert_eq!(world.notify("$two", devices).await.expect(200), json!({ "rejected": [] }));
    assert_eq!(world.apple.requests_for(&token('a')).len(), before + 1);
    assert_eq!(world.google.messages_for("phone").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_many_rejections_that_the_fault_must_be_ours_unregister_nobody_more() {
    let world = World::start("").await;
    let answer = |number: usize| {
        let device = json!({ "app_id": "com.example.nobody", "pushkey": format!("key{number}") });
        world.notify("$three", json!([device]))
    };
    for number in 0..19 {
        assert_eq!(answer(number).await.expect(200), json!({ "rejected": [format!("key{number}")] }));
    }
    answer(19).await.refused(502, "M_UNKNOWN");
    answer(20).await.refused(502, "M_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_device_twice_is_one_push_and_a_badge_update_is_never_suppressed() {
    let world = World::start("").await;
    world.notify("$four", json!([iphone('b'), iphone('b')])).await.expect(200);
    assert_eq!(world.apple.requests_for(&token('b')).len(), 1);
    for _ in 0..2 {
        let badge = json!({ "notification": { "counts": { "unread": 0 }, "devices": [iphone('b')] } });
        world.api.post("/_matrix/push/v1/notify", badge).send().await.expect(200);
    }
    assert_eq!(world.apple.requests_for(&token('b')).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_not_be_pushed_to_without_end() {
    let world = World::start("[limits]\nper_pushkey = \"2/h\"").await;
    for event in ["$5", "$6"] {
        world.notify(event, json!([iphone('c')])).await.expect(200);
    }
    world.notify("$7", json!([iphone('c')])).await.refused(429, "M_LIMIT_EXCEEDED");
    world.notify("$7", json!([iphone('d')])).await.expect(200);
}
