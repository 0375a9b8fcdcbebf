//! Invalid values from room members, push rules and users: the notification is delivered without them.
//!
//! Invariant: no text of a remote user causes an error.

use harness::world::push::{NOTIFY, World, android_app, ids, ios_app, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.android";
const IOS: &str = "org.example.ios";

/// Values of every kind, as text in the body.
const VALUES: [&str; 15] = [
    "null",
    "0",
    "-1.5",
    "true",
    "false",
    "[]",
    "{}",
    "\"\"",
    "1e400",
    "-1e999999",
    "18446744073709551616",
    "\"\\ud800\"",
    "[\"\\udc00\",1e999]",
    "{\"a\":{\"\\ud800\":1}}",
    "{\"b\":[[[[[[]]]]]]}",
];

/// The body of a request with further members of the notification and of its device, after the usual ones: of equal
/// names the last one applies.
fn body(notification: &Value, device: &Value, members: &str, of_device: &str) -> String {
    let object = |value: &Value, members: &str| {
        let text = value.to_string();
        let inside = &text[1..text.len() - 1];
        let comma = if inside.is_empty() || members.is_empty() { "" } else { "," };
        format!("{{{inside}{comma}{members}}}")
    };
    let devices = format!("\"devices\":[{}]", object(device, of_device));
    let members = if members.is_empty() { devices } else { format!("{members},{devices}") };
    format!("{{\"notification\":{}}}", object(notification, &members))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_the_wrong_type_is_absent_and_the_rest_is_delivered() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let names = ["sender", "sender_display_name", "room_name", "room_alias", "membership", "user_is_target", "content"];
    let optional = ["prio", "id", "event_id_only", "future", "ciphertext"];
    for name in names.into_iter().chain(optional) {
        for value in VALUES {
            let device = gateway.phone(APP);
            let text = body(&message(), &device, &format!("\"{name}\":{value}"), "");
            let answer = gateway.api.post(NOTIFY, Value::Null).body(text.clone()).send().await;
            let is_empty_ciphertext = name == "ciphertext" && value == "\"\"";
            assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{text}");
            if is_empty_ciphertext {
                continue;
            }
            let data = gateway.message(&device)["data"].take();
            let flag = if matches!(value, "true" | "false") { json!({ "user_is_target": value }) } else { json!({}) };
            let mut expected = with(
                json!({
                    "event_id": "$slate", "room_id": "!quarry:hs.example", "type": "m.room.message", "prio": "high",
                    "sender": "@wilma:hs.example", "sender_display_name": "Wilma", "room_name": "Quarry",
                    "content_msgtype": "m.text", "content_body": "Lunch?",
                }),
                if name == "user_is_target" { flag } else { json!({}) },
            );
            expected = match name {
                "content" => without(expected, &["content_msgtype", "content_body"]),
                _ if names.contains(&name) => without(expected, &[if name == "user_is_target" { "" } else { name }]),
                _ => expected,
            };
            assert_eq!(data, expected, "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_inside_content_data_and_tweaks_harms_nothing_but_itself() {
    let gateway = World::serving("", "", &[android_app(APP, ""), ios_app(IOS, "highlight_level = \"active\"")]).await;
    for value in VALUES {
        for device in [gateway.phone(APP), gateway.iphone(IOS)] {
            let content = format!("\"content\":{{\"msgtype\":\"m.text\",\"own\":{value},\"body\":{value}}}");
            let own = format!(
                "\"tweaks\":{{\"sound\":{value},\"highlight\":{value},\"x\":{value}}},\
                 \"data\":{{\"format\":{value},\"url\":{value},\"brand\":{value}}}"
            );
            let text = body(&message(), &device, &content, &own);
            let answer = gateway.api.post(NOTIFY, Value::Null).body(text.clone()).send().await;
            assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{text}");
            if device["app_id"] == APP {
                let data = &gateway.message(&device)["data"];
                assert_eq!((&data["content_msgtype"], data.get("content_body")), (&json!("m.text"), None), "{text}");
            } else {
                let alert = &gateway.push(&device).json()["aps"]["alert"];
                assert_eq!(alert["loc-key"], "MSG_FROM_USER_IN_ROOM", "{text}");
            }
        }
    }
    for value in VALUES {
        for device in [gateway.phone(APP), gateway.iphone(IOS)] {
            let own = format!("\"tweaks\":{value},\"data\":{{\"default_payload\":{value}}}");
            let text = body(&message(), &device, "", &own);
            let answer = gateway.api.post(NOTIFY, Value::Null).body(text.clone()).send().await;
            assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_low_is_low() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    for (prio, priority) in [
        (json!("low"), "normal"),
        (json!("high"), "high"),
        (json!("LOW"), "high"),
        (json!("normal"), "high"),
        (json!(""), "high"),
        (json!(["low"]), "high"),
        (json!(0), "high"),
        (json!(null), "high"),
    ] {
        let device = gateway.phone(APP);
        gateway.deliver(with(ids(), json!({ "prio": prio })), &device).await;
        let message = gateway.message(&device);
        assert_eq!((&message["data"]["prio"], &message["android"]["priority"]), (&json!(priority), &json!(priority)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_any_size_are_brought_into_measure() {
    let gateway = World::serving("", "", &[android_app(APP, ""), ios_app(IOS, "")]).await;
    let most = 2_147_483_647_u32;
    let enormous = "9".repeat(5000);
    for (count, expected) in [
        ("0", 0),
        ("-0", 0),
        ("-5", 0),
        ("2147483647", most),
        ("2147483648", most),
        ("4294967296", most),
        ("18446744073709551616", most),
        ("1180591620717411303424", most),
        ("-1180591620717411303424", 0),
        (enormous.as_str(), most),
        ("null", 0),
    ] {
        let device = gateway.iphone(IOS);
        let text =
            body(&json!({}), &device, &format!("\"counts\":{{\"unread\":{count},\"missed_calls\":0,\"x\":true}}"), "");
        let answer = gateway.api.post(NOTIFY, Value::Null).body(text).send().await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{count}");
        assert_eq!(gateway.push(&device).json(), json!({ "aps": { "badge": expected } }), "{count}");
    }
    let device = gateway.iphone(IOS);
    gateway.deliver(json!({ "counts": { "unread": most, "missed_calls": 1 } }), &device).await;
    assert_eq!(gateway.push(&device).json(), json!({ "aps": { "badge": most } }));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_equal_names_the_last_counts_null_is_absent_and_what_is_unknown_is_ignored() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let device = gateway.phone(APP);
    let key = device["pushkey"].as_str().unwrap();
    let text = format!(
        "{{\"notification\":{{\"event_id\":5}},\"x\":[],\"notification\":{{\
            \"event_id\":5,\"event_id\":\"$first\",\"\\u0065vent_id\":\"$slate\",\"room_id\":\"!first\",\"room_id\":null,\
            \"type\":null,\"counts\":{{\"unread\":true,\"unread\":3,\"missed_calls\":null,\"x\":\"y\"}},\"x\":{{\"y\":1}},\
            \"content\":{{\"body\":\"first\",\"body\":\"last\"}},\
            \"devices\":5,\"devices\":[{{\"app_id\":5,\"pushkey\":\"other\",\"pushkey\":\"{key}\",\"app_id\":\"{APP}\",\
                \"pushkey_ts\":\"x\",\"pushkey_ts\":null,\"data\":[],\"data\":null,\"tweaks\":null,\"x\":1}}]}}}}"
    );
    let answer = gateway.api.post(NOTIFY, Value::Null).body(text).send().await;
    assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    assert_eq!(gateway.message(&device)["data"], json!({ "event_id": "$slate", "prio": "high", "unread": "3" }));
    assert_eq!(gateway.google.messages().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushkeys_time_may_be_any_number() {
    let gateway = World::serving("", "", &[android_app(APP, "data_layout = \"json\"")]).await;
    for (number, sent) in [
        ("42", json!(42)),
        ("42.9", json!(42)),
        ("-42.9", json!(-42)),
        ("1e3", json!(1000)),
        ("1e-400", json!(0)),
        ("1e300", json!(i64::MAX)),
        ("-9223372036854775809", json!(i64::MIN)),
        ("null", Value::Null),
    ] {
        let device = without(gateway.phone(APP), &["pushkey_ts"]);
        let text = body(&ids(), &device, "", &format!("\"pushkey_ts\":{number}"));
        let answer = gateway.api.post(NOTIFY, Value::Null).body(text).send().await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{number}");
        let data = gateway.message(&device)["data"].take();
        let devices: Value = serde_json::from_str(data["devices"].as_str().unwrap()).unwrap();
        assert_eq!(devices[0]["pushkey_ts"], sent, "{number}");
    }
}
