//! Payloads, table by table.

use serde_json::{Value, json};
use shared::clock::Timestamp;

use super::{Composed, SMALLER_LIMIT, compose};
use crate::notification::call::Occasion;
use crate::providers::apns::settings::Settings;
use crate::providers::apns::testing::{device, notification};

const NOW: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// An event with every field.
fn event() -> Value {
    json!({
        "event_id": "$ev", "room_id": "!rm:a.example", "type": "m.room.message", "sender": "@ann:a.example",
        "sender_display_name": "Ann", "room_name": "Kitchen", "counts": {"unread": 2, "missed_calls": 1},
        "content": {"msgtype": "m.text", "body": "Tea?"},
    })
}

/// The identifiers of an event.
fn ids() -> Value {
    json!({"event_id": "$ev", "room_id": "!rm:a.example", "counts": {"unread": 2}})
}

fn settings(table: Value) -> Settings {
    Settings::of_table("apps.\"x\"", table).unwrap()
}

fn build(event: &Value, fields: &Value, table: Value) -> Result<Composed, &'static str> {
    let (notification, settings) = (notification(event, &Value::Null), settings(table));
    let occasion = notification.occasion(&settings.delivery.call_types, NOW);
    compose(&notification, &device("", fields), &settings, occasion, None)
}

fn text(event: &Value, fields: &Value, table: Value) -> Result<String, &'static str> {
    build(event, fields, table).map(|payload| String::from_utf8(payload.bytes).unwrap())
}

fn default_payload(payload: &Value) -> Value {
    json!({"data": {"default_payload": payload}})
}

const ALERT: &str = r#""loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", "loc-args": ["Ann", "Kitchen", "Tea?"]"#;

#[test]
fn each_kind_has_its_form_to_the_byte() {
    let alert =
        format!(r#"{{"aps": {{"alert": {{{ALERT}}}, "badge": 3}}, "room_id": "!rm:a.example", "event_id": "$ev"}}"#);
    for (event, expected) in [
        (event(), alert.as_str()),
        (ids(), r#"{"room_id": "!rm:a.example", "event_id": "$ev", "unread_count": 2}"#),
        (json!({"event_id": "$ev"}), r#"{"event_id": "$ev"}"#),
        (
            json!({"event_id": "$ev", "counts": {"unread": 0, "missed_calls": 0}}),
            r#"{"event_id": "$ev", "unread_count": 0, "missed_calls": 0}"#,
        ),
        (json!({"counts": {"unread": 2}}), r#"{"aps": {"badge": 2}}"#),
        (json!({"counts": {"unread": 2, "missed_calls": 3}}), r#"{"aps": {"badge": 5}}"#),
        (json!({"counts": {}}), r#"{"aps": {"badge": 0}}"#),
        (json!({}), r#"{"aps": {"badge": 0}}"#),
        (
            json!({"ciphertext": "c", "ephemeral": "e", "mac": "m", "counts": {"unread": 1}}),
            r#"{"ciphertext": "c", "ephemeral": "e", "mac": "m", "unread_count": 1}"#,
        ),
    ] {
        assert_eq!(text(&event, &json!({}), json!({})).as_deref(), Ok(expected));
    }
}

#[test]
fn a_badge_is_the_sum_of_the_counts_and_never_more_than_a_device_takes() {
    for (counts, badge) in [
        (json!({"unread": 2, "missed_calls": 1}), json!(3)),
        (json!({"missed_calls": 4}), json!(4)),
        (json!({"unread": 0}), json!(0)),
        (json!({"unread": 2_147_483_600, "missed_calls": 2_147_483_600}), json!(2_147_483_647)),
        (json!({}), Value::Null),
        (Value::Null, Value::Null),
    ] {
        let mut event = event();
        event["counts"] = counts;
        let built = build(&event, &json!({}), json!({})).unwrap();
        let built: Value = serde_json::from_slice(&built.bytes).unwrap();
        assert_eq!(built["aps"]["badge"], badge, "{event}");
    }
}

#[test]
fn without_counts_there_is_no_badge_anywhere() {
    let off = json!({"data": {"org.matrix.msc4076.disable_badge_count": true}});
    let alert = format!(r#"{{"aps": {{"alert": {{{ALERT}}}}}, "room_id": "!rm:a.example", "event_id": "$ev"}}"#);
    assert_eq!(text(&event(), &off, json!({})).as_deref(), Ok(alert.as_str()));
    let plain = r#"{"room_id": "!rm:a.example", "event_id": "$ev"}"#;
    assert_eq!(text(&ids(), &off, json!({})).as_deref(), Ok(plain));
    assert_eq!(text(&ids(), &off, json!({"event_id_only_badge": true})).as_deref(), Ok(plain));
    assert_eq!(text(&json!({"counts": {"unread": 2}}), &off, json!({})), Err("badge_disabled"));
}

#[test]
fn an_event_without_an_alert_only_sets_the_badge() {
    let membership = json!({"type": "m.room.member", "membership": "join", "counts": {"unread": 2}, "event_id": "$ev"});
    let fields = default_payload(&json!({"aps": {"alert": "x"}, "k": 1}));
    assert_eq!(text(&membership, &fields, json!({})).as_deref(), Ok(r#"{"aps": {"badge": 2}}"#));
    let mut silent = membership;
    silent["counts"] = Value::Null;
    assert_eq!(text(&silent, &fields, json!({})), Err("nothing_to_send"));
}

#[test]
fn what_the_app_wants_is_in_the_payload_and_ours_wins() {
    let tail = r#""room_id": "!rm:a.example", "event_id": "$ev""#;
    for (given, expected) in [
        (json!({"aps": "x", "k": 1}), format!(r#"{{"k": 1, "aps": {{"alert": {{{ALERT}}}, "badge": 3}}, {tail}}}"#)),
        (
            json!({"aps": {"alert": "hello", "mutable-content": 1}}),
            format!(
                r#"{{"aps": {{"alert": {{"body": "hello", {ALERT}}}, "mutable-content": 1, "badge": 3}}, {tail}}}"#
            ),
        ),
        (
            json!({"aps": {"alert": {"loc-args": [], "loc-key": "X", "title": "t"}, "badge": 99}}),
            format!(
                r#"{{"aps": {{"alert": {{"loc-args": ["Ann", "Kitchen", "Tea?"], "loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", "title": "t"}}, "badge": 3}}, {tail}}}"#
            ),
        ),
        (json!({"aps": {"alert": 5}}), format!(r#"{{"aps": {{"alert": {{{ALERT}}}, "badge": 3}}, {tail}}}"#)),
        (
            json!({"event_id": "evil", "from": {"a": ["x"]}}),
            format!(
                r#"{{"event_id": "$ev", "from": {{"a": ["x"]}}, "aps": {{"alert": {{{ALERT}}}, "badge": 3}}, "room_id": "!rm:a.example"}}"#
            ),
        ),
    ] {
        let built = text(&event(), &default_payload(&given), json!({})).unwrap();
        assert_eq!(built, expected, "{given}");
    }
    for given in [json!([]), json!("x"), json!(null), json!(7)] {
        let built = text(&event(), &default_payload(&given), json!({}));
        assert_eq!(built, text(&event(), &json!({}), json!({})), "{given}");
    }
}

#[test]
fn identifiers_come_with_what_the_app_wants() {
    let given = json!({
        "aps": {"alert": {"loc-args": [], "loc-key": "Notification"}, "mutable-content": 1}, "pusher": "p1", "room_id": 5,
    });
    let expected = concat!(
        r#"{"aps": {"alert": {"loc-args": [], "loc-key": "Notification"}, "mutable-content": 1}, "pusher": "p1", "#,
        r#""room_id": "!rm:a.example", "event_id": "$ev", "unread_count": 2}"#
    );
    assert_eq!(text(&ids(), &default_payload(&given), json!({})).as_deref(), Ok(expected));
    let badge = json!({"event_id_only_badge": true});
    let expected = r#"{"room_id": "!rm:a.example", "event_id": "$ev", "unread_count": 2, "aps": {"badge": 2}}"#;
    assert_eq!(text(&ids(), &json!({}), badge).as_deref(), Ok(expected));
    // Apple would refuse it, and it is the app's mistake.
    let expected = r#"{"room_id": "!rm:a.example", "event_id": "$ev", "unread_count": 2}"#;
    assert_eq!(text(&ids(), &default_payload(&json!({"aps": "x"})), json!({})).as_deref(), Ok(expected));
}

#[test]
fn the_operators_payload_lies_under_the_apps() {
    let table = json!({"payload": {"aps": {"mutable-content": 1, "category": "c"}, "k": {"a": 1, "b": 2}}});
    let given = json!({"aps": {"category": "mine"}, "k": {"b": 3}});
    let built: Value =
        serde_json::from_slice(&build(&ids(), &default_payload(&given), table.clone()).unwrap().bytes).unwrap();
    assert_eq!(built["aps"], json!({"mutable-content": 1, "category": "mine"}));
    assert_eq!(built["k"], json!({"a": 1, "b": 3}));
    let built: Value = serde_json::from_slice(
        &build(&ids(), &default_payload(&json!({"aps": 1, "k": 2})), table.clone()).unwrap().bytes,
    )
    .unwrap();
    assert_eq!((&built["aps"], &built["k"]), (&json!({"mutable-content": 1, "category": "c"}), &json!(2)));
    assert_eq!(text(&json!({}), &json!({}), table).as_deref(), Ok(r#"{"aps": {"badge": 0}}"#));
}

#[test]
fn a_sound_is_passed_on_if_it_can_be_a_file_name() {
    let sound = |sound: Value, table: Value| {
        let built = build(&event(), &json!({"tweaks": {"sound": sound}}), table).unwrap();
        serde_json::from_slice::<Value>(&built.bytes).unwrap()["aps"]["sound"].clone()
    };
    for name in ["default", "ring_1.caf", &"a".repeat(64)] {
        assert_eq!(sound(json!(name), json!({})), json!(name));
        assert_eq!(sound(json!(name), json!({"tweak_sound": false})), Value::Null);
    }
    for wrong in [json!("../x y"), json!(""), json!("a".repeat(65)), json!("é"), json!("a/b"), json!(true), json!(null)]
    {
        assert_eq!(sound(wrong.clone(), json!({})), Value::Null, "{wrong}");
    }
    assert!(!text(&ids(), &json!({"tweaks": {"sound": "default"}}), json!({})).unwrap().contains("sound"));
}

#[test]
fn a_highlight_raises_the_level_if_the_operator_wants_it() {
    let level = |highlight: Value, table: Value| {
        let built = build(&event(), &json!({"tweaks": {"highlight": highlight}}), table).unwrap();
        serde_json::from_slice::<Value>(&built.bytes).unwrap()["aps"]["interruption-level"].clone()
    };
    let wanted = json!({"highlight_level": "time-sensitive"});
    for (highlight, expected) in [
        (json!(true), json!("time-sensitive")),
        (json!({}), json!("time-sensitive")),
        (json!("x"), json!("time-sensitive")),
        (json!(false), Value::Null),
        (json!(null), Value::Null),
    ] {
        assert_eq!(level(highlight.clone(), wanted.clone()), expected, "{highlight}");
        assert_eq!(level(highlight, json!({})), Value::Null);
    }
}

#[test]
fn threads_are_rooms_if_the_operator_wants_it() {
    let thread = |event: &Value| {
        let built = build(event, &json!({}), json!({"thread_id": true})).unwrap();
        serde_json::from_slice::<Value>(&built.bytes).unwrap()["aps"]["thread-id"].clone()
    };
    assert_eq!((thread(&event()), thread(&ids())), (json!("!rm:a.example"), json!("!rm:a.example")));
    assert_eq!(thread(&json!({"event_id": "$ev"})), Value::Null);
    assert!(!text(&event(), &json!({}), json!({})).unwrap().contains("thread-id"));
}

#[test]
fn a_voip_app_is_woken_for_calls_alone() {
    let voip = || json!({"push_type": "voip"});
    let call = |event_type: &str, content: Value| json!({"type": event_type, "sender": "@a:b", "event_id": "$ev", "content": content});
    let ring = || json!({"notification_type": "ring", "lifetime": 30000});
    for event_type in ["m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification"] {
        let built = text(&call(event_type, ring()), &json!({}), voip()).unwrap();
        assert!(built.ends_with(&format!(r#""event_id": "$ev", "type": "{event_type}"}}"#)), "{built}");
    }
    let over = call("m.rtc.notification", json!({"notification_type": "ring", "sender_ts": 1, "lifetime": 30000}));
    assert_eq!(text(&over, &json!({}), voip()), Err("call_expired"));
    for (event_type, content) in [
        ("m.rtc.notification", json!({"notification_type": "notification", "lifetime": 30000})),
        ("org.matrix.msc3401.call.member", ring()),
        ("m.rtc.decline", json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$call"}})),
    ] {
        assert_eq!(text(&call(event_type, content), &json!({}), voip()), Err("not_a_call"), "{event_type}");
    }
    for other in [event(), ids(), json!({"counts": {"unread": 0}}), json!({"ciphertext": "c"})] {
        assert_eq!(text(&other, &json!({}), voip()), Err("not_a_call"), "{other}");
        let all = json!({"push_type": "voip", "voip_events": "all"});
        assert!(text(&other, &json!({}), all).is_ok(), "{other}");
    }
    let own = json!({"push_type": "voip", "call_types": ["org.example.call"]});
    assert!(text(&json!({"type": "org.example.call"}), &json!({}), own.clone()).is_ok());
    assert_eq!(text(&json!({"type": "m.call.invite"}), &json!({}), own), Err("not_a_call"));
}

#[test]
fn a_nudge_has_the_texts_of_the_app_and_no_counts() {
    let payload = json!({"cs": "mine", "n": 5, "aps": {"alert": "x"}, "id": "a/b"});
    let device = device("", &default_payload(&payload));
    let badge = notification(&json!({"counts": {"unread": 3}}), &Value::Null);
    let built = compose(&badge, &device, &settings(json!({})), Occasion::Nudge, None).unwrap();
    let expected = r#"{"aps": {"content-available": 1}, "cs": "mine", "id": "a/b"}"#;
    assert_eq!((std::str::from_utf8(&built.bytes).unwrap(), built.is_background), (expected, true));
    let voip = settings(json!({"push_type": "voip"}));
    assert_eq!(compose(&badge, &device, &voip, Occasion::Nudge, None), Err("not_a_call"));
}

#[test]
fn a_silent_payload_is_one_for_the_background() {
    for (aps, expected) in [
        (json!({"content-available": 1}), true),
        (json!({"content-available": 1, "mutable-content": 1}), true),
        (json!({"content-available": 1, "sound": "default"}), false),
        (json!({"content-available": 1, "alert": "x"}), false),
        (json!({"content-available": 1, "badge": 0}), false),
        (json!({"mutable-content": 1}), false),
    ] {
        let built = build(&ids(), &default_payload(&json!({"aps": aps})), json!({})).unwrap();
        assert_eq!(built.is_background, expected, "{aps}");
    }
    assert!(!build(&ids(), &json!({}), json!({})).unwrap().is_background);
    assert!(!build(&json!({}), &json!({}), json!({})).unwrap().is_background);
}

#[test]
fn payloads_are_cut_to_apples_limit_and_to_a_smaller_one_on_demand() {
    let mut long = event();
    long["content"]["body"] = json!("x".repeat(500_000));
    let built = build(&long, &json!({}), json!({})).unwrap();
    assert_eq!((built.bytes.len(), built.is_truncated), (4096, true));
    let all = json!({"push_type": "voip", "voip_events": "all"});
    assert_eq!(build(&long, &json!({}), all).unwrap().bytes.len(), 5120);
    let smaller = compose(
        &notification(&long, &Value::Null),
        &device("", &json!({})),
        &settings(json!({})),
        Occasion::Ordinary,
        Some(SMALLER_LIMIT),
    );
    assert_eq!(smaller.unwrap().bytes.len(), 2048);
    assert!(!build(&event(), &json!({}), json!({})).unwrap().is_truncated);
}

#[test]
fn what_cannot_be_cut_and_does_not_fit_is_not_sent() {
    let encrypted = |length: usize| json!({"ciphertext": "c".repeat(length)});
    let frame = r#"{"ciphertext": ""}"#.len();
    assert_eq!(build(&encrypted(4096 - frame), &json!({}), json!({})).unwrap().bytes.len(), 4096);
    assert_eq!(build(&encrypted(4097 - frame), &json!({}), json!({})), Err("too_large"));
    let with_junk = build(&encrypted(10), &default_payload(&json!({"junk": "x".repeat(5000)})), json!({}));
    assert_eq!(with_junk, Err("too_large"));
    let mut huge = event();
    huge["event_id"] = json!("$".repeat(5000));
    assert_eq!(build(&huge, &json!({}), json!({})), Err("too_large"));
    huge["event_id"] = json!("$".repeat(3990));
    assert_eq!(
        build(&huge, &json!({}), json!({})).unwrap().bytes.len(),
        3990 + r#"{"room_id": "!rm:a.example", "event_id": ""}"#.len()
    );
}

#[test]
fn a_payload_of_half_a_megabyte_takes_milliseconds_whatever_is_in_it() {
    let letters = ["x", "é", "🐇", "\"", "\n", "\u{1}", "aé\"\u{1}🐇"];
    let bodies = letters.map(|letter| {
        let mut long = event();
        let half = letter.repeat(262_144 / letter.len());
        long["content"]["body"] = json!(half);
        long["sender_display_name"] = json!(half);
        (long, json!({}))
    });
    let many: Vec<String> = (0..60_000).map(|number| number.to_string()).collect();
    let keys: serde_json::Map<String, Value> = many.iter().map(|key| (key.clone(), json!("v"))).collect();
    let hostile = [
        (ids(), default_payload(&json!({"aps": {"alert": {"loc-args": many}}}))),
        (ids(), default_payload(&json!({"aps": {"alert": {"loc-args": ["a".repeat(250_000), "b".repeat(250_000)]}}}))),
        (ids(), default_payload(&Value::Object(keys.clone()))),
        (ids(), default_payload(&json!({"aps": keys}))),
        (ids(), default_payload(&json!({"aps": {"alert": keys}}))),
        (event(), default_payload(&json!({"aps": {"alert": keys}}))),
    ];
    for (event, fields) in bodies.into_iter().chain(hostile) {
        let (notification, device, settings) =
            (notification(&event, &Value::Null), device("", &fields), settings(json!({})));
        let before = processor_time();
        let built = compose(&notification, &device, &settings, Occasion::Ordinary, None).unwrap();
        let took = processor_time() - before;
        assert!(built.bytes.len() <= 4096);
        // A quadratic way would take minutes; the rest is for machines that are slow, and builds that are not optimised.
        assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    }
}

/// What this thread has used of the processor; other than the time of day, it does not depend on how busy the machine is.
fn processor_time() -> std::time::Duration {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = used.split(' ').next().and_then(|number| number.parse().ok());
    std::time::Duration::from_nanos(nanoseconds.unwrap_or_default())
}
