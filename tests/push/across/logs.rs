//! What the log says about requests and devices, and what it never contains.
//!
//! Invariant: the search is shown to find what is there, so that finding nothing means something.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use harness::world::push::{DEADLINE, NOTIFY, World, android_device, ios_device, iphone, message_body, token};
use harness::{apns, fcm};
use serde_json::{Value, json};

/// Of a message, each with a word for the report.
const PRIVATE: [(&str, &str); 6] = [
    ("the message's text", "meet me at the old lighthouse"),
    ("the sender", "@alice-of-nowhere:hs.example"),
    ("a name", "Alice von Nowhere"),
    ("the room's name", "Conspirators' den"),
    ("the room's alias", "#conspiracy-alias:hs.example"),
    ("what the app registered", "CLIENT-IDENTIFIER-OF-THE-APP"),
];

/// Pushkeys: three of APNs, three of FCM, and one of an unknown app.
const IPHONES: [char; 3] = ['a', 'b', 'c'];
const PHONES: [&str; 4] =
    ["cPhoneGood:APA91bGood", "cPhoneGone:APA91bGone", "cPhoneEcho:APA91bEcho", "cPhoneBusy:APA91b"];
const UNKNOWN_APP: &str = "PUSHKEY-OF-AN-UNKNOWN-APP";

/// The forms in which a text may stand in a log.
fn forms(value: &str) -> Vec<String> {
    let json = json!(value).to_string();
    let mut forms = vec![value.to_owned(), json.trim_matches('"').to_owned(), format!("{value:?}").replace('"', "")];
    forms.push(value.bytes().map(|byte| format!("{byte:02x}")).collect());
    forms.extend([&STANDARD, &STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|engine| engine.encode(value)));
    forms
}

fn holds(text: &str, value: &str) -> bool {
    let text = text.to_lowercase();
    forms(value).iter().any(|form| text.contains(&form.to_lowercase()))
}

/// A message with every kind of private content.
fn private_message(event_id: &str, devices: Value) -> Value {
    let mut body = message_body(event_id, devices);
    let [(_, text), (_, sender), (_, name), (_, room), (_, alias), (_, identifier)] = PRIVATE;
    let notification = &mut body["notification"];
    notification["sender"] = json!(sender);
    notification["sender_display_name"] = json!(name);
    notification["room_name"] = json!(room);
    notification["room_alias"] = json!(alias);
    notification["content"]["body"] = json!(text);
    for device in notification["devices"].as_array_mut().expect("devices") {
        device["data"] = json!({ "default_payload": { "identifier": identifier, "cs": "x" } });
    }
    body
}

/// Everything that a homeserver and two push services can do, right and wrong.
async fn live(world: &World) {
    let notify =
        async |event_id: &str, devices: Value| world.api.post(NOTIFY, private_message(event_id, devices)).send().await;
    let [good, gone, echo, busy] = PHONES;
    let unknown = json!({ "app_id": "com.example.unknown", "pushkey": UNKNOWN_APP });
    world.google.unregister(gone);
    let all = json!([iphone('a'), android_device(good), android_device(gone), unknown]);
    let answer = notify("$first-event", all.clone()).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [gone, UNKNOWN_APP] }));
    notify("$first-event", all).await.expect(200);

    // Texts of FCM that repeat the request.
    let words = json!({ "error": { "status": "PERMISSION_DENIED", "message": format!("{echo} is\nnot for you") } });
    world.google.fault_times_for(echo, 1, fcm::Fault::json(403, words));
    notify("$e1", json!([android_device(echo)])).await.refused(502, "M_UNKNOWN");
    for fault in [fcm::Fault::html(400), fcm::Fault::internal(), fcm::Fault::quota_exceeded(), fcm::Fault::Reset(2)] {
        world.google.fault_times_for(busy, 1, fault);
        notify("$e2", json!([android_device(busy)])).await;
    }
    world.google.fault_times_for(good, 2, fcm::Fault::unauthenticated());
    notify("$e3", json!([android_device(good)])).await.refused(502, "M_UNKNOWN");

    for fault in [
        apns::Fault::error(403, "InvalidProviderToken"),
        apns::Fault::error(400, "Something\n\u{1b}[31mNew"),
        apns::Fault::gone("Unregistered", 1),
        apns::Fault::error(429, "TooManyRequests"),
        apns::Fault::Reset(2),
        apns::Fault::Cut,
    ] {
        world.apple.fault_times(&token('b'), 1, fault);
        notify("$e4", json!([iphone('b')])).await;
    }
    notify("$e5", json!([ios_device("NO-TOKEN-OF-APPLE'S-AT-ALL")])).await.expect(200);

    let secret = token('c');
    for body in [
        format!("{{\"notification\":{{\"devices\":[{{\"pushkey\":\"{secret}\""),
        format!("{{\"notification\":{{\"devices\":[{{\"app_id\":5,\"pushkey\":\"{secret}\"}}]}}}}"),
        format!("\"{secret}\""),
    ] {
        assert_eq!(world.api.request(http::Method::POST, NOTIFY).body(body).send().await.code(), 400);
    }
    let path = format!("/unknown/{secret}?pushkey={secret}");
    world
        .api
        .get(&path)
        .bearer(&secret)
        .header("x-request-id", &format!("{secret}!"))
        .send()
        .await
        .refused(404, "M_UNRECOGNIZED");
}

/// Keys and what was made of them.
fn credentials(world: &World) -> Vec<(&'static str, String)> {
    let pem = world.apple.key_pem();
    let account = world.google.service_account();
    let key = account["private_key"].as_str().expect("a key").to_owned();
    let line = |pem: &str| pem.lines().nth(1).expect("PEM")[..40].to_owned();
    let mut found = vec![("Apple's key", line(&pem)), ("Google's key", line(&key))];
    let apple =
        world.apple.requests().into_iter().filter_map(|request| request.header("authorization").map(str::to_owned));
    found.extend(apple.map(|value| ("a provider token", value.replace("bearer ", ""))));
    let google =
        world.google.messages().into_iter().filter_map(|request| request.header("authorization").map(str::to_owned));
    found.extend(google.map(|value| ("an access token", value.replace("Bearer ", ""))));
    let assertions =
        world.google.token_requests().into_iter().map(|request| String::from_utf8_lossy(&request.body).into_owned());
    found.extend(assertions.filter_map(|form| Some(("an assertion", form.split("assertion=").nth(1)?.to_owned()))));
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn at_no_level_does_the_log_tell_what_could_be_used_or_what_was_said() {
    for format in ["text", "json"] {
        let mut world = World::start(&format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\n")).await;
        live(&world).await;
        let mut secrets = credentials(&world);
        assert!(secrets.iter().any(|(what, _)| *what == "an access token") && secrets.len() > 8, "{}", secrets.len());
        secrets.extend(IPHONES.map(|digit| ("a pushkey", token(digit))));
        secrets.extend(PHONES.map(|pushkey| ("a pushkey", pushkey.to_owned())));
        secrets.extend([UNKNOWN_APP, "NO-TOKEN-OF-APPLE'S-AT-ALL"].map(|pushkey| ("a pushkey", pushkey.to_owned())));
        secrets.extend(PRIVATE.map(|(what, value)| (what, value.to_owned())));
        secrets.push(("a header", "authorization".to_owned()));
        secrets.push(("a query", "pushkey=".to_owned()));
        world.server.kill();
        let logs = world.server.logs();
        for there in ["notified", "InvalidProviderToken", "PERMISSION_DENIED", "com.example.ios", "first-event"] {
            assert!(holds(&logs, there), "the log was on, and the search finds {there}:\n{logs}");
        }
        assert!(!logs.contains('\u{1b}'), "control characters are escaped");
        for (what, value) in secrets {
            let line = logs.lines().find(|line| holds(line, &value));
            assert_eq!(line, None, "{what} is in the {format} log: {value}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_line_for_a_request_and_one_more_for_each_device_at_debug() {
    for level in ["info", "debug"] {
        let world = World::start(&format!("[log]\nlevel = \"{level}\"\nformat = \"json\"\n")).await;
        world.google.unregister("gone");
        world
            .notify_message("$the-event", json!([iphone('a'), android_device("phone"), android_device("gone")]))
            .await
            .expect(200);
        world.api.post(NOTIFY, json!({})).send().await.refused(400, "M_BAD_JSON");
        world.server.wait_for_log("\"code\":400", DEADLINE).await;
        let logs = world.server.logs();
        let lines: Vec<Value> = logs.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let of = |level: &str, message: &str| {
            let right = |line: &&Value| line["level"] == level && line["message"] == message;
            lines.iter().filter(right).cloned().collect::<Vec<_>>()
        };
        let notified = of("INFO", "notified");
        assert_eq!(notified.len(), 1, "{logs}");
        for (field, expected) in
            [("devices", 3), ("delivered", 2), ("rejected", 1), ("temporary", 0), ("permanent", 0), ("code", 200)]
        {
            assert_eq!(notified[0][field], expected, "{field}: {}", notified[0]);
        }
        assert!(notified[0]["ms"].is_number(), "{}", notified[0]);
        // The listener logs the other one.
        let answered = of("INFO", "answered");
        assert_eq!((answered.len(), &answered[0]["code"]), (1, &json!(400)), "{logs}");

        let devices = of("DEBUG", "device");
        if level == "info" {
            assert!(devices.is_empty() && !logs.contains("the-event") && !logs.contains("!r:hs.example"), "{logs}");
            continue;
        }
        assert_eq!(devices.len(), 3, "{logs}");
        let mut names = std::collections::HashSet::new();
        for line in &devices {
            let name = line["span"]["device"].as_str().unwrap_or_default().to_owned();
            assert!(name.len() == 8 && name.chars().all(|c| c.is_ascii_hexdigit()), "{line}");
            assert_eq!(line["event_id"], "$the-event");
            assert!(["delivered", "rejected"].contains(&line["outcome"].as_str().unwrap_or_default()), "{line}");
            assert!(line["span"]["upstream_status"].is_number(), "{line}");
            names.insert(name);
        }
        assert_eq!(names.len(), 3, "{logs}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_error_is_logged_in_words_and_throttled() {
    let world = World::start("").await;
    world.apple.fault(&token('a'), apns::Fault::error(403, "InvalidProviderToken"));
    world.google.fault(fcm::Fault::error(404, "NOT_FOUND"));
    for number in 0..3 {
        world
            .notify_message(&format!("$e{number}"), json!([iphone('a'), android_device("phone")]))
            .await
            .refused(502, "M_UNKNOWN");
    }
    world.server.wait_for_log("permanent=2", DEADLINE).await;
    let logs = world.server.logs();
    let errors: Vec<&str> = logs.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(errors.len(), 2, "{logs}");
    assert!(errors.iter().any(|line| line.contains("check key_file, key_id and team_id")), "{logs}");
    assert!(errors.iter().any(|line| line.contains("check project_id")), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_of_no_app_is_a_mistake_of_ours_if_the_operator_says_so() {
    let world = World::start("[routing]\nunknown_app = \"error\"\n").await;
    for _ in 0..3 {
        let device = json!({ "app_id": "com.example\n.forgotten", "pushkey": UNKNOWN_APP });
        world.notify_message("$e", json!([device])).await.refused(502, "M_UNKNOWN");
    }
    world.server.wait_for_log("permanent=1", DEADLINE).await;
    let logs = world.server.logs();
    let errors: Vec<&str> = logs.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        errors.len() == 1 && errors[0].contains(r"com.example\n.forgotten") && !logs.contains(UNKNOWN_APP),
        "{logs}"
    );
    let lines = crate::push::admin::measured(&world).await;
    let series = "push_config_error_total{app=\"unknown\",reason=\"unknown_app\"}";
    assert_eq!(crate::push::admin::value(&lines, series), Some(3.0), "{}", lines.join("\n"));
}
