//! What Google is asked to deliver, for every kind of notification and every setting.

use serde_json::{Value, json};
use shared::clock::Timestamp;

use super::{MessageTemplate, installation_id, looks_like_fid};
use crate::notification::call::Occasion;
use crate::notification::parse::{Request, parse};
use crate::providers::fcm::settings::Settings;

const NOW: Timestamp = Timestamp::from_millis(1_764_338_400_000);

const TOKEN: &str = "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1";

fn request(notification: &Value, device: &Value) -> Request {
    let mut device = device.clone();
    device["app_id"] = json!("org.example.android");
    if device.get("pushkey").is_none() {
        device["pushkey"] = json!(TOKEN);
    }
    let mut notification = notification.clone();
    notification["devices"] = json!([device]);
    parse(json!({"notification": notification}).to_string().as_bytes(), 1).unwrap()
}

fn form(settings: Value) -> MessageTemplate {
    MessageTemplate::new(&Settings::of_table("apps.\"x\"", settings).unwrap())
}

/// The message for `device` with these settings.
fn message(settings: Value, notification: &Value, device: &Value) -> Value {
    let Request { notification, devices } = request(notification, device);
    let settings = Settings::of_table("apps.\"x\"", settings).unwrap();
    let occasion = notification.occasion(&settings.delivery.call_types, NOW);
    let message = MessageTemplate::new(&settings).message(&notification, &devices[0], occasion).unwrap();
    let body: Value = serde_json::from_slice(&message.body).unwrap();
    body["message"].clone()
}

fn data(settings: Value, notification: &Value, device: &Value) -> Value {
    message(settings, notification, device)["data"].clone()
}

fn event() -> Value {
    json!({
        "event_id": "$tea", "room_id": "!kitchen:example.org", "type": "m.room.message",
        "sender": "@ann:example.org", "sender_display_name": "Ann", "room_name": "Kitchen",
        "room_alias": "#kitchen:example.org", "prio": "high",
        "content": {"msgtype": "m.text", "body": "Tea?", "m.mentions": {"room": true}, "n": 3, "b": true, "empty": ""},
        "counts": {"unread": 4, "missed_calls": 2},
    })
}

fn with(mut value: Value, key: &str, member: Value) -> Value {
    value[key] = member;
    value
}

#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
fn defaults(defaults: Value) -> Value {
    json!({"data": {"default_payload": defaults}})
}

/// Keys and values.
fn size(data: &Value) -> usize {
    data.as_object().unwrap().iter().map(|(key, value)| key.len() + value.as_str().unwrap().len()).sum()
}

#[test]
fn an_event_becomes_flat_strings() {
    assert_eq!(
        message(json!({}), &event(), &json!({})),
        json!({
            "data": {
                "event_id": "$tea", "room_id": "!kitchen:example.org", "type": "m.room.message",
                "sender": "@ann:example.org", "sender_display_name": "Ann", "room_name": "Kitchen",
                "room_alias": "#kitchen:example.org", "content_msgtype": "m.text", "content_body": "Tea?",
                "prio": "high", "unread": "4", "missed_calls": "2",
            },
            "android": {"priority": "high"},
            "token": TOKEN,
        })
    );
}

#[test]
fn a_notification_with_identifiers_alone_contains_only_them() {
    let ids = json!({"event_id": "$tea", "room_id": "!k:x", "prio": "low", "counts": {"unread": 0, "missed_calls": 1},
        "sender": "@ann:example.org", "content": {"body": "not theirs to know"}});
    assert_eq!(
        message(json!({}), &ids, &defaults(json!({"cs": "secret"}))),
        json!({
            "data": {"event_id": "$tea", "room_id": "!k:x", "prio": "normal", "missed_calls": "1", "cs": "secret"},
            "android": {"priority": "normal"},
            "token": TOKEN,
        })
    );
}

#[test]
fn membership_and_target_are_added_if_present() {
    let invite = json!({"event_id": "$i", "type": "m.room.member", "content": {"membership": "invite"}, "user_is_target": false});
    assert_eq!(
        data(json!({}), &invite, &json!({})),
        json!({"event_id": "$i", "type": "m.room.member", "membership": "invite", "user_is_target": "false",
            "content_membership": "invite", "prio": "high"})
    );
}

#[test]
fn sound_and_highlight_come_from_the_tweaks_if_they_have_their_form() {
    for (tweaks, sound, highlight) in [
        (json!({"sound": "default", "highlight": true}), Some("default"), true),
        (json!({"sound": "", "highlight": false}), None, false),
        (json!({"sound": true, "highlight": null}), None, false),
        (json!({"sound": ["x"], "highlight": 1}), None, true),
        (json!({}), None, false),
    ] {
        let data = data(json!({}), &json!({"event_id": "$e"}), &json!({"tweaks": tweaks}));
        assert_eq!(data.get("sound").and_then(Value::as_str), sound, "{tweaks}");
        assert_eq!(data.get("highlight").is_some_and(|value| value == "true"), highlight, "{tweaks}");
    }
}

#[test]
fn scalars_of_content_are_added_only_on_request() {
    let flat = data(json!({"flatten": "scalars"}), &event(), &json!({}));
    assert_eq!((&flat["content_n"], &flat["content_b"]), (&json!("3"), &json!("true")));
    assert!(flat.get("content_m.mentions").is_none() && flat.get("content_empty").is_none());
    assert!(data(json!({}), &event(), &json!({})).get("content_n").is_none());
}

#[test]
fn defaults_become_strings_and_never_win() {
    let found = data(
        json!({}),
        &event(),
        &defaults(json!({
            "cs": "a b", "n": 1.5, "o": {"b": [1, "x"], "a": null}, "t": true, "nothing": null, "empty": "",
            "event_id": "$evil", "unread": "99", "content_body": "evil",
            "from": "x", "message_type": "x", "gcm": "x", "gcm.n.e": "1", "google": "x", "google.sent_time": "x",
            "googler": "x", "fromage": "brie", "gcmx": "y", "Google": "z",
        })),
    );
    assert_eq!((&found["cs"], &found["n"], &found["t"]), (&json!("a b"), &json!("1.5"), &json!("true")));
    assert_eq!(found["o"], r#"{"a":null,"b":[1,"x"]}"#);
    assert_eq!(
        (&found["event_id"], &found["unread"], &found["content_body"]),
        (&json!("$tea"), &json!("4"), &json!("Tea?"))
    );
    for key in ["nothing", "empty", "from", "message_type", "gcm", "gcm.n.e", "google", "google.sent_time", "googler"] {
        assert!(found.get(key).is_none(), "{key}");
    }
    assert_eq!((&found["fromage"], &found["gcmx"], &found["Google"]), (&json!("brie"), &json!("y"), &json!("z")));
}

#[test]
fn what_google_would_refuse_of_the_defaults_is_counted() {
    for (default_payload, ignored) in [
        (json!({"cs": "x"}), false),
        (json!({"from": "x"}), true),
        (json!({"aps": {"alert": "x"}}), false),
        (json!({"aps": "x"}), true),
        (json!({"aps": {"alert": "x".repeat(5000)}}), true),
    ] {
        let Request { notification, devices } = request(&event(), &defaults(default_payload.clone()));
        let message = form(json!({})).message(&notification, &devices[0], Occasion::Ordinary).unwrap();
        assert_eq!(message.has_ignored_defaults, ignored, "{default_payload}");
    }
}

#[test]
fn aps_goes_to_apples_part_over_the_operators() {
    let options =
        json!({"fcm_options": {"apns": {"headers": {"apns-priority": "5"}, "payload": {"aps": {"badge": 1}, "x": 1}}}});
    let device = defaults(json!({"aps": {"mutable-content": 1}, "cs": "s"}));
    let found = message(options.clone(), &event(), &device);
    assert_eq!(
        found["apns"],
        json!({"headers": {"apns-priority": "5"}, "payload": {"aps": {"mutable-content": 1, "badge": 6}, "x": 1}})
    );
    assert!(found["data"].get("aps").is_none());
    assert_eq!(message(json!({}), &event(), &device)["apns"], json!({"payload": {"aps": {"mutable-content": 1}}}));
    for unusable in [json!({"aps": "x"}), json!({"aps": null}), json!({"aps": []})] {
        let found = message(options.clone(), &event(), &defaults(unusable));
        assert_eq!(found["apns"]["payload"]["aps"], json!({"badge": 6}), "the counts win");
    }
}

#[test]
fn a_badge_update_says_its_counts_and_shows_nothing() {
    let options = json!({"ttl": "1h", "collapse": "room", "fcm_options": {
        "notification": {"title": "New message"},
        "android": {"priority": "high", "restricted_package_name": "org.example", "notification": {"body": "New"}},
        "apns": {"payload": {"aps": {"alert": "New", "sound": "x", "content-available": 1}}},
        "webpush": {"notification": {"title": "x"}, "headers": {"TTL": "1"}},
    }});
    let device = defaults(json!({"cs": "s", "aps": {"alert": "x"}, "unread": "7"}));
    for (counts, unread, missed_calls) in [
        (json!({"unread": 3}), "3", None),
        (json!({"unread": 0, "missed_calls": 0}), "0", None),
        (json!({"missed_calls": 2}), "0", Some("2")),
        (json!({}), "0", None),
        (json!(null), "0", None),
    ] {
        let badge = json!({"event_id": "", "type": null, "prio": "high", "counts": counts});
        let found = message(json!({}), &badge, &device);
        let mut expected = json!({"cs": "s", "unread": unread, "prio": "normal"});
        if let Some(missed_calls) = missed_calls {
            expected["missed_calls"] = json!(missed_calls);
        }
        let android = json!({"priority": "normal", "collapse_key": "badge"});
        assert_eq!(found, json!({"data": expected, "android": android, "token": TOKEN}), "{counts}");
    }
    let found = message(options, &json!({"counts": {"unread": 1}}), &device);
    let android = json!({"priority": "normal", "collapse_key": "badge", "ttl": "3600s", "restricted_package_name": "org.example"});
    assert_eq!(found["android"], android);
    assert_eq!(found["apns"], json!({"payload": {"aps": {"content-available": 1, "badge": 1}}}));
    assert_eq!(found["webpush"], json!({"headers": {"TTL": "1"}}));
    assert!(found.get("notification").is_none());
}

#[test]
fn without_counts_there_may_be_nothing_to_say() {
    let off = json!({"data": {"org.matrix.msc4076.disable_badge_count": true}});
    let refusal = |notification: Value, device: &Value| {
        let Request { notification, devices } = request(&notification, device);
        form(json!({})).message(&notification, &devices[0], Occasion::Ordinary).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(json!({"counts": {"unread": 1}}), &off), "badge_disabled");
    assert_eq!(refusal(json!({}), &off), "badge_disabled");
    assert_eq!(refusal(json!({"type": "m.room.message"}), &json!({})), "nothing_to_send");
    assert_eq!(refusal(json!({"type": "m.room.message", "counts": {"unread": 1}}), &off), "nothing_to_send");
    assert_eq!(data(json!({}), &json!({"type": "t", "counts": {"unread": 1}}), &json!({}))["unread"], "1");
    let found = data(json!({}), &event(), &off);
    assert!(found.get("unread").is_none() && found.get("missed_calls").is_none());
}

#[test]
fn an_encrypted_notification_is_sent_whole_or_not_at_all() {
    let encrypted = |length: usize| {
        json!({"ciphertext": "c".repeat(length), "ephemeral": "e".repeat(43), "mac": "m".repeat(11),
            "event_id": "$e", "counts": {"unread": 1}})
    };
    let found = data(json!({}), &encrypted(2000), &defaults(json!({"cs": "s"})));
    let mut expected = encrypted(2000);
    expected.as_object_mut().unwrap().retain(|key, _| !matches!(key.as_str(), "event_id" | "counts"));
    for (key, value) in [("cs", "s"), ("unread", "1"), ("prio", "high")] {
        expected[key] = json!(value);
    }
    assert_eq!(found, expected);
    let rest = size(&data(json!({}), &encrypted(1), &json!({}))) - 1;
    assert_eq!(size(&data(json!({}), &encrypted(4096 - rest), &json!({}))), 4096);
    let Request { notification, devices } = request(&encrypted(4097 - rest), &json!({}));
    assert_eq!(form(json!({})).message(&notification, &devices[0], Occasion::Ordinary).unwrap_err(), "too_large");
}

#[test]
fn a_value_is_cut_at_1024_bytes_and_a_ciphertext_is_not_cut() {
    let long = with(
        event(),
        "content",
        json!({"body": "é".repeat(600), "ciphertext": "x".repeat(1025), "k": "y".repeat(1024)}),
    );
    let found = data(json!({}), &with(long, "sender", json!("z".repeat(1025))), &json!({}));
    assert_eq!(found["content_body"], format!("{}…", "é".repeat(510)));
    assert_eq!(found["sender"], format!("{}…", "z".repeat(1021)));
    assert_eq!(found["content_k"].as_str().unwrap().len(), 1024);
    assert!(found.get("content_ciphertext").is_none());
    let short = with(event(), "content", json!({"ciphertext": "x".repeat(1024)}));
    assert_eq!(data(json!({}), &short, &json!({}))["content_ciphertext"].as_str().unwrap().len(), 1024);
}

#[test]
fn everything_together_fits_into_4096_bytes_less_what_the_system_shows() {
    let big = with(
        event(),
        "content",
        json!({"body": "b".repeat(2000), "msgtype": "m.text", "x": "x".repeat(900), "y": "y"}),
    );
    let big = with(big, "room_name", json!("r".repeat(1000)));
    let big = with(big, "sender_display_name", json!("s".repeat(1000)));
    let device = defaults(json!({"cs": "c".repeat(1000), "d": "d"}));
    let found = data(json!({}), &big, &device);
    assert!(size(&found) <= 4096 && size(&found) > 4090, "{}", size(&found));
    assert!(found.get("content_x").is_none() && found.get("content_y").is_none());
    assert_eq!((found["cs"].as_str().unwrap().len(), &found["d"]), (1000, &json!("d")));
    let lengths = |data: &Value| {
        ["content_body", "room_name", "sender_display_name"].map(|key| data[key].as_str().unwrap().len())
    };
    let [body, room, sender] = lengths(&found);
    assert!(body == room && room == sender && body < 1000, "{body} {room} {sender}");

    let shown = json!({"title": "t".repeat(1000)});
    let found = data(json!({"fcm_options": {"notification": shown}}), &big, &device);
    assert!(size(&found) + shown.to_string().len() <= 4096);
    assert!(lengths(&found)[0] < body);

    // Nothing but the identifiers, the counts and the priority is left.
    let found = data(json!({"fcm_options": {"notification": {"title": "t".repeat(3960)}}}), &big, &device);
    assert_eq!(
        found,
        json!({"event_id": "$tea", "room_id": "!kitchen:example.org", "prio": "high", "unread": "4", "missed_calls": "2"})
    );
}

#[test]
fn half_a_megabyte_of_members_costs_little_and_fits() {
    let content: serde_json::Map<String, Value> = (0..40_000).map(|n| (format!("k{n}"), json!("vvv"))).collect();
    let device = defaults(Value::Object((0..10_000).map(|n| (format!("d{n}"), json!([n]))).collect()));
    let found = data(json!({}), &with(event(), "content", Value::Object(content)), &device);
    assert!(size(&found) <= 4096);
    assert_eq!(found["event_id"], "$tea");
}

#[test]
fn time_to_live_and_collapsing_are_the_operators_choice() {
    let settings = json!({"ttl": "2h", "collapse": "room", "fcm_options": {"android": {"ttl": "5s", "priority": "normal", "direct_boot_ok": true}}});
    let android = message(settings.clone(), &event(), &json!({}))["android"].clone();
    assert_eq!(android["ttl"], "7200s");
    assert_eq!((&android["priority"], &android["direct_boot_ok"]), (&json!("high"), &json!(true)));
    // SHA-256 of "!kitchen:example.org", in base64url.
    let key = android["collapse_key"].as_str().unwrap();
    assert_eq!((key.len(), key.contains(['+', '/', '='])), (43, false));
    let other = message(settings, &with(event(), "room_id", json!("!other")), &json!({}));
    assert_ne!(other["android"]["collapse_key"], key);
    let plain = json!({"fcm_options": {"android": {"ttl": "5s"}}});
    assert_eq!(message(plain, &event(), &json!({}))["android"], json!({"ttl": "5s", "priority": "high"}));
}

#[test]
fn a_call_lives_as_long_as_it_rings_and_its_decline_replaces_it() {
    let call = |event_type: &str, content: Value| with(with(event(), "type", json!(event_type)), "content", content);
    let ring = json!({"notification_type": "ring", "sender_ts": 1_764_338_398_000_i64, "lifetime": 30000});
    let android =
        |event: Value| message(json!({"ttl": "2h", "collapse": "room"}), &event, &json!({}))["android"].clone();
    let invite = android(with(call("m.call.invite", json!({})), "prio", json!("low")));
    assert_eq!((&invite["ttl"], &invite["priority"]), (&json!("30s"), &json!("high")));
    let rtc = android(call("m.rtc.notification", ring));
    assert_eq!(
        (&rtc["ttl"], &rtc["priority"], &rtc["collapse_key"]),
        (&json!("28s"), &json!("high"), &invite["collapse_key"])
    );
    let relation = json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$tea"}});
    let decline = android(with(call("m.rtc.decline", relation), "event_id", json!("$later")));
    assert_eq!((&decline["ttl"], &decline["collapse_key"]), (&json!("7200s"), &rtc["collapse_key"]));
    let over = json!({"notification_type": "ring", "sender_ts": 1, "lifetime": 30000});
    let missed = android(with(call("m.rtc.notification", over), "prio", json!("low")));
    assert_eq!((&missed["ttl"], &missed["priority"]), (&json!("7200s"), &json!("normal")));
    assert_ne!(missed["collapse_key"], rtc["collapse_key"]);
    let own = json!({"call_types": ["org.example.ring"]});
    assert_eq!(
        message(own.clone(), &with(event(), "type", json!("org.example.ring")), &json!({}))["android"]["ttl"],
        "30s"
    );
    assert!(message(own, &with(event(), "type", json!("m.call.invite")), &json!({}))["android"].get("ttl").is_none());
}

#[test]
fn a_nudge_has_the_apps_own_data_and_no_counts() {
    let defaults = json!({"default_payload": {"cs": "mine", "n": 5, "aps": {"alert": "x"}}});
    let Request { notification, devices } = request(&json!({"counts": {"unread": 3}}), &json!({"data": defaults}));
    let options =
        json!({"fcm_options": {"notification": {"title": "t"}, "apns": {"payload": {"aps": {"alert": "x"}}}}});
    let nudge = |settings: &Value| -> Value {
        let form = form(settings.clone());
        let message = form.message(&notification, &devices[0], Occasion::Nudge).unwrap();
        assert_eq!(form.reduced(&notification, &devices[0], Occasion::Nudge).unwrap(), message.body);
        serde_json::from_slice::<Value>(&message.body).unwrap()["message"].clone()
    };
    let found = nudge(&options);
    assert_eq!(found["data"], json!({"cs": "mine", "n": "5", "nudge": "1"}));
    assert_eq!(found["android"], json!({"priority": "normal", "collapse_key": "badge", "ttl": "3600s"}));
    assert_eq!(found["apns"], json!({"payload": {"aps": {}}}));
    assert!(found.get("notification").is_none());
    assert!(nudge(&json!({"data_layout": "json"}))["data"]["devices"].is_string());
}

#[test]
fn a_pushkey_is_taken_for_what_it_looks_like_unless_the_operator_knows() {
    for (pushkey, is_fid) in [
        ("cNqf9J3pTjGx2Vb_0ZL-aA", true),
        ("fAAAAAAAAAAAAAAAAAAAAA", true),
        ("gAAAAAAAAAAAAAAAAAAAAA", false),
        ("CAAAAAAAAAAAAAAAAAAAAA", false),
        ("cAAAAAAAAAAAAAAAAAAAA", false),
        ("cAAAAAAAAAAAAAAAAAAAAAA", false),
        ("cAAAAAAAAAA:AAAAAAAAAA", false),
        ("cAAAAAAAAAAAAAAAAAAAé", false),
        (TOKEN, false),
    ] {
        assert_eq!(looks_like_fid(pushkey), is_fid, "{pushkey}");
        for (target, key) in [("auto", if is_fid { "fid" } else { "token" }), ("token", "token"), ("fid", "fid")] {
            let found = message(json!({"target": target}), &event(), &json!({"pushkey": pushkey}));
            assert_eq!(found[key], pushkey, "{target}");
            assert!(found.get(if key == "fid" { "token" } else { "fid" }).is_none());
        }
    }
}

#[test]
fn options_are_in_every_message_as_they_are() {
    let options = json!({"fcm_options": {
        "notification": {"title": "New"}, "webpush": {"headers": {"TTL": "1"}}, "fcm_options": {"analytics_label": "x"},
    }});
    let found = message(options.clone(), &event(), &json!({}));
    for key in ["notification", "webpush", "fcm_options"] {
        assert_eq!(found[key], options["fcm_options"][key], "{key}");
    }
}

#[test]
fn the_json_layout_has_counts_content_and_the_device_as_text() {
    let device = json!({"pushkey_ts": 12, "tweaks": {"highlight": true}, "data": {"client_name": "App", "default_payload": {"cs": "s"}}});
    let found = data(json!({"data_layout": "json"}), &with(event(), "counts", json!({"unread": 0})), &device);
    let text = |key: &str| serde_json::from_str::<Value>(found[key].as_str().unwrap()).unwrap();
    assert_eq!(text("counts"), json!({"unread": 0}));
    assert_eq!(text("content"), event()["content"]);
    assert_eq!(
        text("devices"),
        json!([{"app_id": "org.example.android", "pushkey_ts": 12, "tweaks": {"highlight": true},
            "data": {"client_name": "App", "default_payload": {"cs": "s"}}}])
    );
    let mut keys: Vec<&String> = found.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "content",
            "counts",
            "cs",
            "devices",
            "event_id",
            "prio",
            "room_alias",
            "room_id",
            "room_name",
            "sender",
            "sender_display_name",
            "type"
        ]
    );
    let long = with(event(), "content", json!({"body": "b".repeat(1024)}));
    assert!(data(json!({"data_layout": "json"}), &long, &device).get("content").is_none());
    let badge = data(json!({"data_layout": "json"}), &json!({"counts": {"missed_calls": 1}}), &device);
    assert_eq!(badge["counts"], r#"{"missed_calls":1,"unread":0}"#);
}

#[test]
fn a_too_large_device_is_shortened_in_the_json_layout() {
    let devices = |data_of_device: Value| {
        let found = data(json!({"data_layout": "json"}), &event(), &json!({"data": data_of_device}));
        serde_json::from_str::<Value>(found["devices"].as_str().unwrap()).unwrap()
    };
    let found = devices(json!({"a": "x", "default_payload": {"k": "y".repeat(1000)}}));
    assert_eq!(found[0]["data"], json!({"a": "x"}));
    assert_eq!(devices(json!({"a": "x".repeat(1000)})), json!([{"app_id": "org.example.android"}]));
}

#[test]
fn the_reduced_form_holds_what_an_app_cannot_do_without() {
    let device = defaults(
        json!({"cs": "c", "ok": "x".repeat(256), "long": "x".repeat(257), "n": 1, "from": "x", "aps": {"badge": 1}}),
    );
    let Request { notification, devices } = request(&event(), &device);
    let body = form(json!({"ttl": "1h"})).reduced(&notification, &devices[0], Occasion::Ordinary).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap()["message"],
        json!({
            "data": {"event_id": "$tea", "room_id": "!kitchen:example.org", "prio": "high", "unread": "4",
                "missed_calls": "2", "cs": "c", "ok": "x".repeat(256)},
            "android": {"priority": "high", "ttl": "3600s"},
            "token": TOKEN,
        })
    );
}

#[test]
fn a_registration_token_and_its_installation_id_are_one_installation() {
    let id = "cAAAAAAAAAAAAAAAAAAA-_";
    let token = format!("{id}:APA91bAAAA");
    for (pushkey, installation) in [
        (id, id),
        (&token, id),
        ("bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1", "bk3RNwTe3H0"),
        ("APA91bAAAA", "APA91bAAAA"),
        ("user:1", "user:1"),
        ("zAAAAAAAAAAAAAAAAAAAAA:1", "zAAAAAAAAAAAAAAAAAAAAA:1"),
        (":1", ":1"),
    ] {
        assert_eq!(installation_id(pushkey), installation, "{pushkey}");
    }
}
