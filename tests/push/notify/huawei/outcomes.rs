//! Every answer of Push Kit: the response to the homeserver, and the number of messages.
//!
//! Invariant: every row has its own device, and Push Kit stays in use after every row.

use harness::api::Api;
use harness::huawei::Fault;
use harness::world::push::{DEADLINE, World, huawei_app, ids, message, with};
use serde_json::{Value, json};

use super::{HARMONY, HMS, world};

/// The response to the homeserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Done,
    Rejected,
    Owed,
}

use Heard::{Done, Owed, Rejected};

/// The answer, how often (always with `None`), the response to the homeserver, the number of messages.
type Row = (&'static str, Fault, Option<usize>, Heard, usize);

async fn heard(world: &World, device: &Value, event: &str) -> Heard {
    let event = with(message(), json!({ "event_id": event, "devices": [device] }));
    let answer = world.notify(&event).await;
    match answer.code() {
        200 if answer.json()["rejected"] == json!([]) => Done,
        200 => {
            assert_eq!(answer.json()["rejected"], json!([device["pushkey"]]));
            Rejected
        }
        502 => Owed,
        _ => panic!("{answer}"),
    }
}

fn rows(pushkey: &str) -> Vec<Row> {
    let illegal = |token: &str| json!({ "success": 0, "failure": 1, "illegal_tokens": [token] }).to_string();
    let code = |code: &str| Fault::code(code, "an error");
    vec![
        ("80000000", code("80000000"), None, Done, 1),
        ("tokenFormatError", Fault::code("80300007", "tokenFormatError"), None, Rejected, 1),
        ("tokenPlatformNotSupport", Fault::code("80100000", "tokenPlatformNotSupport"), None, Rejected, 1),
        ("noRight", Fault::code("80100000", "{\"noRight\":1}"), None, Rejected, 1),
        ("noPushTypeRight", Fault::code("80300007", "noPushTypeRight"), None, Owed, 1),
        ("countryNotSupport", Fault::code("80100000", "countryNotSupport"), None, Owed, 1),
        ("notSupportPlayVoice", Fault::code("80100000", "notSupportPlayVoice"), None, Owed, 1),
        ("live", Fault::code("80100000", "noRightToSendThisLiveNotificationEvent"), None, Owed, 1),
        ("illegal token", Fault::code("80100000", &illegal(pushkey)), None, Rejected, 1),
        ("all illegal", code("80300007"), None, Rejected, 1),
        ("another token", Fault::code("80100000", &illegal("xxx")), None, Done, 1),
        ("80100001", code("80100001"), None, Done, 2),
        ("80100003", Fault::code_with(400, "80100003", "Illegal payload"), None, Done, 2),
        ("80100003 once", code("80100003"), Some(1), Done, 2),
        ("80100004", code("80100004"), None, Done, 1),
        ("80300002", code("80300002"), None, Owed, 1),
        ("80300036", Fault::code_with(400, "80300036", "token"), None, Owed, 1),
        ("80300037", code("80300037"), None, Owed, 1),
        ("80300008", code("80300008"), None, Done, 2),
        ("80300008 once", code("80300008"), Some(1), Done, 2),
        ("80300008, then 80100003", code("80300008"), Some(1), Done, 2),
        ("80300010", code("80300010"), None, Owed, 1),
        ("80300029", code("80300029"), None, Owed, 1),
        ("80300030", code("80300030"), None, Owed, 1),
        ("80600003", code("80600003"), None, Owed, 3),
        ("81000001 twice", code("81000001"), Some(2), Done, 3),
        ("500", Fault::status(500), None, Owed, 3),
        ("502 once", Fault::status(502), Some(1), Done, 2),
        ("404", Fault::status(404), None, Owed, 1),
        ("302", Fault::status(302), None, Owed, 1),
        ("400", Fault::status(400), None, Done, 2),
        ("200 without a code", Fault::status(200), Some(1), Done, 2),
        ("an unknown code", code("12345678"), None, Owed, 1),
        ("closed", Fault::Close, Some(1), Done, 2),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_answer_has_its_outcome_in_both_versions() {
    let world = world().await;
    for app in [HARMONY, HMS] {
        let number = rows("").len();
        for row in 0..number {
            let device = world.huawei_phone(app);
            let pushkey = device["pushkey"].as_str().expect("a pushkey").to_owned();
            let (name, fault, times, expected, messages) = rows(&pushkey).remove(row);
            world.huawei.fault_for(&pushkey, times, fault);
            assert_eq!(heard(&world, &device, &format!("${name}")).await, expected, "{app} {name}");
            assert_eq!(world.huawei.messages_for(&pushkey).len(), messages, "{app} {name}");
            world.huawei.mend();
            // One success keeps the circuit closed.
            assert_eq!(heard(&world, &world.huawei_phone(app), "$healthy").await, Done, "{app} {name}");
        }
    }
    let metrics = Api::new(&world.server.admin_url()).get("/metrics").send().await.text();
    for (outcome, reason) in [
        ("delivered", ""),
        ("rejected", "noRight"),
        ("rejected", "illegal_token"),
        ("dropped", "bad_payload"),
        ("dropped", "expired"),
        ("dropped", "too_large"),
        ("permanent", "noPushTypeRight"),
        ("temporary", "test_quota"),
    ] {
        let labels = format!("type=\"huawei\",outcome=\"{outcome}\",reason=\"{reason}\"");
        assert!(metrics.contains(&labels), "{labels}: {metrics}");
    }
    let logs = world.server.logs();
    assert!(logs.contains("rejected the message after every reduction"), "{logs}");
    assert!(!logs.contains("IQAAAACy0aYTAAA"), "a token is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_sent_again_with_identifiers_alone_or_smaller() {
    let world = world().await;
    let ids = json!({ "event_id": "$slate", "room_id": "!quarry:hs.example" });
    let (harmony, hms) = (world.huawei_phone(HARMONY), world.huawei_phone(HMS));
    world.huawei.fault(Some(1), Fault::code("80100003", "Illegal payload"));
    world.deliver(with(message(), json!({ "counts": { "unread": 2 } })), &harmony).await;
    let last = world.huawei.messages().pop().expect("a message");
    let shown = json!({ "category": "IM", "title": "New message", "body": "Open the app to read it",
        "clickAction": { "actionType": 0, "data": ids } });
    assert_eq!(last.json()["payload"]["notification"], shown);
    world.huawei.fault(Some(1), Fault::code("80100001", "parameters"));
    world.deliver(with(message(), json!({ "counts": { "unread": 2 } })), &hms).await;
    let last = world.huawei.messages().pop().expect("a message");
    let data = last.json()["message"]["data"].clone();
    assert_eq!(serde_json::from_str::<Value>(data.as_str().expect("text")).expect("JSON"), ids);
    assert!(last.is_accepted);

    for app in [HARMONY, HMS] {
        let device = world.huawei_phone(app);
        world.huawei.fault(Some(1), Fault::code("80300008", "too large"));
        let long =
            json!({ "content": { "msgtype": "m.text", "body": "x".repeat(3500) }, "room_name": "r".repeat(1500) });
        world.deliver(with(message(), long), &device).await;
        let sizes: Vec<usize> = world
            .huawei
            .messages_for(device["pushkey"].as_str().expect("a pushkey"))
            .iter()
            .map(|message| message.body.len())
            .collect();
        assert!(matches!(sizes[..], [first, second] if first > 2300 && second < 2048 + 80), "{app}: {sizes:?}");
    }
    // A badge update has no identifiers.
    let device = world.huawei_phone(HARMONY);
    world.huawei.fault(None, Fault::code("80100003", "Illegal payload"));
    world.deliver(json!({ "counts": { "unread": 2 } }), &device).await;
    world.huawei_message(&device);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_503_pauses_the_app_for_longer_each_time() {
    let world = world().await;
    // Other tests show what follows within one request.
    let apps = [huawei_app(3, HARMONY, ""), huawei_app(1, HMS, "")];
    let slow = World::serving("", "[limits]\nrequest_deadline = \"4s\"\n", &apps).await;
    slow.huawei.fault(Some(1), Fault::status(503));
    let paused = |device: &Value, event: &str| with(ids(), json!({ "event_id": event, "devices": [device] }));
    let one = slow.huawei_phone(HARMONY);
    let answer = slow.notify(&paused(&one, "$1")).await;
    answer.refused(502, "M_UNKNOWN");
    assert_eq!(answer.header("retry-after"), Some("2"));
    let other = slow.huawei_phone(HARMONY);
    slow.notify(&paused(&other, "$2")).await.refused(502, "M_UNKNOWN");
    assert_eq!(slow.huawei.messages().len(), 1, "the pause is the app's");
    let unaffected = slow.huawei_phone(HMS);
    assert_eq!(slow.notify(&paused(&unaffected, "$3")).await.code(), 200, "not of another app");

    let device = world.huawei_phone(HARMONY);
    world.huawei.fault(Some(1), Fault::status(503));
    world.deliver(ids(), &device).await;
    let pushkey = device["pushkey"].as_str().expect("a pushkey");
    assert_eq!(world.huawei.messages_for(pushkey).len(), 2, "a short pause fits into the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_project_opens_the_guard_and_costs_no_pushers() {
    let world = World::serving("", "", &[huawei_app(3, HARMONY, "")]).await;
    world.huawei.fault(None, Fault::code("80300007", "noRight"));
    let mut devices = Vec::new();
    for _ in 0..60 {
        devices.push(world.huawei_phone(HARMONY));
    }
    let mut rejected = 0;
    for device in &devices {
        let answer = world.notify(&with(ids(), json!({ "devices": [device] }))).await;
        rejected += usize::from(answer.code() == 200);
    }
    assert!(rejected < 60, "{rejected}");
    world.server.wait_for_log("rejections of this app are withheld", DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_push_kit_costs_the_event_its_time_and_no_pusher() {
    let world = world().await;
    let device = world.huawei_phone(HARMONY);
    world.huawei.fault_for(device["pushkey"].as_str().expect("a pushkey"), Some(1), Fault::Silence);
    assert_eq!(heard(&world, &device, "$silent").await, Done);
    assert_eq!(world.huawei.messages_for(device["pushkey"].as_str().expect("a pushkey")).len(), 2);
}
