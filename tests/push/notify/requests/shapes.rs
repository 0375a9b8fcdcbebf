//! JSON that homeservers must send correctly, and the errors if they do not.
//!
//! Invariant: the error names the path and never a value, and no valid device of the request gets a push.

use harness::world::push::{NOTIFY, World, android_app, ids, with};
use serde_json::{Value, json};

const APP: &str = "org.example.android";

/// A value that no error may contain.
const SECRET: &str = "sEcReT";

/// Values that are not strings.
const NO_TEXTS: [&str; 9] =
    ["5", "-1.5", "true", "false", "[]", "[\"sEcReT\"]", "{}", "{\"sEcReT\":\"sEcReT\"}", "18446744073709551616"];

/// Values that are not integers.
const NO_INTEGERS: [&str; 9] = ["1.5", "1.0", "1e3", "true", "\"sEcReT\"", "\"5\"", "[5]", "{\"sEcReT\":5}", "-0.0"];

/// A body, and the start of its error.
fn rows(good: &Value) -> Vec<(String, String)> {
    let mut rows: Vec<(String, String)> = [
        ("null", "the body: expected an object"),
        ("5", "the body: expected an object"),
        ("\"notification\"", "the body: expected an object"),
        ("true", "the body: expected an object"),
        ("[]", "the body: expected an object"),
        ("[{\"notification\":{}}]", "the body: expected an object"),
        ("{}", "notification: expected an object"),
        ("{\"Notification\":{}}", "notification: expected an object"),
        ("{\"notification\":null}", "notification: expected an object"),
        ("{\"notification\":[]}", "notification: expected an object"),
        ("{\"notification\":\"sEcReT\"}", "notification: expected an object"),
        ("{\"notification\":5}", "notification: expected an object"),
    ]
    .map(|(body, error)| (body.to_owned(), error.to_owned()))
    .into();
    let devices = [
        ("null", "notification.devices"),
        ("{}", "notification.devices"),
        ("[]", "notification.devices"),
        ("\"sEcReT\"", "notification.devices"),
        ("5", "notification.devices"),
        ("[null]", "notification.devices[0]"),
        ("[5]", "notification.devices[0]"),
        ("[\"sEcReT\"]", "notification.devices[0]"),
        ("[[]]", "notification.devices[0]"),
    ];
    rows.extend(
        devices.map(|(devices, path)| (format!("{{\"notification\":{{\"devices\":{devices}}}}}"), path.to_owned())),
    );
    rows.push((String::from("{\"notification\":{\"event_id\":\"$x\"}}"), String::from("notification.devices")));

    let notification = |members: &str| format!("{{\"notification\":{{\"devices\":[{good}],{members}}}}}");
    for value in NO_TEXTS {
        for name in ["event_id", "room_id", "type"] {
            rows.push((
                notification(&format!("\"{name}\":{value}")),
                format!("notification.{name}: expected a string"),
            ));
        }
        if !value.starts_with('{') {
            let error = "notification.counts: expected an object";
            rows.push((notification(&format!("\"counts\":{value}")), error.to_owned()));
        }
    }
    for value in NO_INTEGERS {
        for name in ["unread", "missed_calls"] {
            let error = format!("notification.counts.{name}: expected an integer");
            rows.push((notification(&format!("\"counts\":{{\"{name}\":{value}}}")), error));
        }
    }

    let device =
        |members: &str| format!("{{\"notification\":{{\"event_id\":\"$x\",\"devices\":[{good},{{{members}}}]}}}}");
    let own = format!("\"app_id\":\"{APP}\",\"pushkey\":\"{SECRET}\"");
    let path = "notification.devices[1]";
    for value in NO_TEXTS.into_iter().chain(["null"]) {
        rows.push((
            device(&format!("\"app_id\":{value},\"pushkey\":\"{SECRET}\"")),
            format!("{path}.app_id: expected a string"),
        ));
        rows.push((
            device(&format!("\"app_id\":\"{APP}\",\"pushkey\":{value}")),
            format!("{path}.pushkey: expected a string"),
        ));
    }
    rows.push((device(&format!("\"pushkey\":\"{SECRET}\"")), format!("{path}.app_id: expected a string")));
    rows.push((device(&format!("\"app_id\":\"{APP}\"")), format!("{path}.pushkey: expected a string")));
    for value in ["true", "\"5\"", "[]", "{\"sEcReT\":1}"] {
        rows.push((device(&format!("{own},\"pushkey_ts\":{value}")), format!("{path}.pushkey_ts: expected a number")));
    }
    for value in ["true", "\"sEcReT\"", "[]", "5"] {
        rows.push((device(&format!("{own},\"data\":{value}")), format!("{path}.data: expected an object")));
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_wrong_shape_is_named_by_its_place_and_nothing_is_sent() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let good = gateway.phone(APP);
    let rows = rows(&good);
    assert!(rows.len() > 90, "{}", rows.len());
    for (body, expected) in rows {
        let answer = gateway.api.post(NOTIFY, Value::Null).body(body.clone()).send().await;
        let error = answer.refused(400, "M_BAD_JSON")["error"].take();
        let error = error.as_str().expect("a text");
        assert!(error.starts_with(&expected), "{body}: {error}");
        assert!(!error.contains(SECRET), "{body}: {error}");
    }
    assert!(gateway.google.messages().is_empty());
    assert!(!gateway.server.logs().contains(SECRET));
    gateway.deliver(ids(), &good).await;
    gateway.message(&good);
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_devices_may_be_named_and_one_of_them_five_hundred_times() {
    let limits = "[limits]\nper_pushkey = \"\"\n";
    let gateway = World::serving("", limits, &[android_app(APP, "")]).await;
    let device = gateway.phone(APP);
    let short = json!({ "app_id": APP, "pushkey": "k" });
    for devices in [vec![device.clone(); 501], vec![short; 10_000]] {
        let answer = gateway.notify(&with(ids(), json!({ "devices": devices }))).await;
        let error = answer.refused(400, "M_BAD_JSON")["error"].take();
        assert!(error.as_str().unwrap().starts_with("notification.devices:"), "{error}");
    }
    assert!(gateway.google.messages().is_empty());
    let copies = with(ids(), json!({ "devices": vec![device.clone(); 500] }));
    assert_eq!(gateway.notify(&copies).await.expect(200), json!({ "rejected": [] }));
    gateway.message(&device);

    let gone = gateway.phone(APP);
    gateway.google.unregister(gone["pushkey"].as_str().unwrap());
    let all: Vec<Value> =
        (0..500).map(|number| if number % 2 == 0 { gone.clone() } else { gateway.phone(APP) }).collect();
    let answer = gateway.notify(&with(ids(), json!({ "devices": all }))).await;
    assert_eq!(answer.expect(200), json!({ "rejected": [gone["pushkey"]] }));
    gateway.message(&gone);
    assert_eq!(gateway.google.messages().len(), 1 + 1 + 250);
}
