//! The rules of parsing: what is refused and how, what is absent, and that nothing a stranger writes is ever an error.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ParseError, Request, parse};
use crate::notification::{Counts, Kind, MAX_COUNT, Notification, Priority};

const MAX_DEVICES: usize = 500;

fn read(body: &str) -> Result<Request, ParseError> {
    parse(body.as_bytes(), MAX_DEVICES)
}

/// A body with these members in `notification` beside one device.
fn with(members: &str) -> String {
    format!(r#"{{"notification":{{{members},"devices":[{{"app_id":"a","pushkey":"k"}}]}}}}"#)
}

fn notification(members: &str) -> Notification {
    read(&with(members)).unwrap_or_else(|error| panic!("{members}: {error}")).notification
}

fn device(members: &str) -> Result<super::Device, ParseError> {
    let body = format!(r#"{{"notification":{{"devices":[{{"app_id":"a","pushkey":"k",{members}}}]}}}}"#);
    read(&body).map(|mut request| request.devices.remove(0))
}

fn nested(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

#[track_caller]
fn assert_not_json(body: impl AsRef<[u8]>) {
    let error = parse(body.as_ref(), MAX_DEVICES).unwrap_err();
    assert!(matches!(error, ParseError::NotJson(_)), "{error}");
}

#[test]
fn invalid_json_and_json_of_another_shape_are_different_errors() {
    for body in [
        &b""[..],
        b" ",
        b"I am not JSON",
        b"{",
        b"{\"notification\":NaN}",
        b"{\"notification\":Infinity}",
        b"{\"notification\":\"\xff\"}",
        b"\xef\xbb\xbf{}",
        b"\x1f\x8b\x08\x00\x00",
        b"{} {}",
        b"\"\\ud800\"",
        b"1e400",
    ] {
        assert_not_json(body);
    }
    assert_not_json(with(r#""event_id":"$e","room_id":"\ud800""#));
    assert_not_json(with(r#""counts":{"unread":1e400}"#));
    assert!(matches!(device(r#""pushkey_ts":-1e400"#), Err(ParseError::NotJson(_))));
}

#[test]
fn the_error_names_the_path_and_never_the_value() {
    for (body, path) in [
        ("null", "the body"),
        ("5", "the body"),
        ("\"notification\"", "the body"),
        ("[]", "the body"),
        ("{}", "notification"),
        (r#"{"notification":null}"#, "notification"),
        (r#"{"notification":["secret"]}"#, "notification"),
        (r#"{"notification":{}}"#, "notification.devices"),
        (r#"{"notification":{"devices":{}}}"#, "notification.devices"),
        (r#"{"notification":{"devices":[]}}"#, "notification.devices"),
        (r#"{"notification":{"devices":[null]}}"#, "notification.devices[0]"),
        (r#"{"notification":{"devices":[{"app_id":"a","pushkey":"k"},"secret"]}}"#, "notification.devices[1]"),
        (r#"{"notification":{"devices":[{"pushkey":"secret"}]}}"#, "notification.devices[0].app_id"),
        (r#"{"notification":{"devices":[{"app_id":"secret"}]}}"#, "notification.devices[0].pushkey"),
        (r#"{"notification":{"devices":[{"app_id":"a","pushkey":["secret"]}]}}"#, "notification.devices[0].pushkey"),
        (&with(r#""event_id":5"#), "notification.event_id"),
        (&with(r#""room_id":true"#), "notification.room_id"),
        (&with(r#""type":{"a":"secret"}"#), "notification.type"),
        (&with(r#""counts":5"#), "notification.counts"),
        (&with(r#""counts":{"unread":"2"}"#), "notification.counts.unread"),
        (&with(r#""counts":{"unread":true}"#), "notification.counts.unread"),
        (&with(r#""counts":{"missed_calls":1.5}"#), "notification.counts.missed_calls"),
        (&with(r#""counts":{"missed_calls":2.0}"#), "notification.counts.missed_calls"),
    ] {
        let error = read(body).unwrap_err();
        let ParseError::Shape { path: found, .. } = &error else { panic!("{body}: {error}") };
        assert_eq!(found, path, "{body}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = device(r#""pushkey_ts":"1""#).unwrap_err().to_string();
    assert_eq!(error, "notification.devices[0].pushkey_ts: expected a number");
    assert_eq!(device(r#""data":[]"#).unwrap_err().to_string(), "notification.devices[0].data: expected an object");
}

#[test]
fn there_is_a_bound_to_the_number_of_devices() {
    let devices = |count: usize| {
        let devices = vec![json!({ "app_id": "a", "pushkey": "k" }); count];
        json!({ "notification": { "devices": devices } }).to_string()
    };
    assert_eq!(read(&devices(500)).unwrap().devices.len(), 500);
    let error = read(&devices(501)).unwrap_err().to_string();
    assert_eq!(error, "notification.devices: expected at most 500 devices");
}

#[test]
fn what_room_members_write_is_absent_if_it_is_wrong() {
    for wrong in ["null", "5", "1e400", "true", "[]", "{}", "\"\"", r#""\ud800""#] {
        for name in ["sender", "sender_display_name", "room_name", "room_alias", "membership"] {
            let found = notification(&format!(r#""{name}":{wrong},"event_id":"$e""#));
            let texts = [found.sender, found.sender_display_name, found.room_name, found.room_alias, found.membership];
            assert_eq!(texts, [None, None, None, None, None], "{name}: {wrong}");
        }
        if wrong != "{}" {
            assert_eq!(notification(&format!(r#""content":{wrong}"#)).content, None, "{wrong}");
            assert!(device(&format!(r#""tweaks":{wrong}"#)).unwrap().tweaks.is_empty(), "{wrong}");
        }
        assert_eq!(notification(&format!(r#""prio":{wrong}"#)).priority, Priority::High, "{wrong}");
        let target = notification(&format!(r#""user_is_target":{wrong}"#)).user_is_target;
        assert_eq!(target, (wrong == "true").then_some(true), "{wrong}");
    }
    assert_eq!(notification(r#""prio":"low""#).priority, Priority::Low);
    assert_eq!(notification(r#""prio":"LOW""#).priority, Priority::High);
    assert_eq!(notification(r#""user_is_target":false"#).user_is_target, Some(false));
    let content = notification(r#""content":{"body":"\ud800","msgtype":"m.text","n":1e400}"#).content.unwrap();
    assert_eq!(Value::from(content), json!({ "msgtype": "m.text" }));
}

#[test]
fn null_is_absent_and_empty_identifiers_too() {
    let found = notification(r#""event_id":null,"room_id":"","type":null,"counts":null,"id":"$old""#);
    assert_eq!((found.event_id, found.room_id, found.event_type, found.counts), (None, None, None, None));
    let found = device(r#""pushkey_ts":null,"data":null,"tweaks":null"#).unwrap();
    assert_eq!((found.pushkey_ts, found.data.len(), found.default_payload()), (None, 0, None));
}

#[test]
fn of_equal_keys_the_last_counts() {
    assert_eq!(notification(r#""room_id":5,"room_id":"!r""#).room_id.as_deref(), Some("!r"));
    let body = r#"{"notification":5,"notification":{"devices":[],"devices":[{"app_id":"a","pushkey":"k"}]}}"#;
    assert!(read(body).is_ok());
    assert_eq!(notification(r#""content":{"body":"a","body":"b"}"#).content.unwrap()["body"], "b");
    assert!(notification(r#""content":{"body":"a","body":"\udfff"}"#).content.unwrap().is_empty());
}

#[test]
fn counts_of_any_size_are_brought_into_their_range() {
    let unread = |text: &str| notification(&format!(r#""counts":{{"unread":{text}}}"#)).counts.unwrap().unread;
    let digits = "9".repeat(400);
    for (text, count) in [
        ("0", Some(0)),
        ("-0", Some(0)),
        ("-5", Some(0)),
        ("7", Some(7)),
        ("2147483647", Some(MAX_COUNT)),
        ("2147483648", Some(MAX_COUNT)),
        ("1180591620717411303424", Some(MAX_COUNT)),
        (&digits, Some(MAX_COUNT)),
        (&format!("-{digits}"), Some(0)),
        ("null", None),
    ] {
        assert_eq!(unread(text), count, "{text}");
    }
    let counts = notification(r#""counts":{"unread":2147483647,"missed_calls":2147483647}"#).counts.unwrap();
    assert_eq!(counts.total(), MAX_COUNT);
    assert_eq!(notification(r#""counts":{}"#).counts, Some(Counts::default()));
}

#[test]
fn seconds_lose_their_fraction_and_milliseconds_become_seconds() {
    let seconds = |text: &str| device(&format!(r#""pushkey_ts":{text}"#)).unwrap().pushkey_ts.unwrap();
    for (text, number) in [("42", 42), ("42.9", 42), ("-1.5", -1), ("1e3", 1000), ("1e300", i64::MAX)] {
        assert_eq!(seconds(text), number, "{text}");
    }
    assert_eq!((seconds("1700000000123"), seconds("1.7e12")), (1_700_000_000, 1_700_000_000));
    assert_eq!(seconds("100000000000"), 100_000_000_000);
}

#[test]
fn the_kind_follows_from_what_came() {
    for (members, kind) in [
        (r#""id":"","type":null,"sender":"","counts":{"unread":1}"#, Kind::Badge),
        (r#""room_id":"!r""#, Kind::Badge),
        (r#""event_id":"$e","type":"""#, Kind::Ids),
        (r#""event_id":"$e","type":"m.room.message""#, Kind::Full),
        (r#""type":"m.room.message""#, Kind::Full),
        (r#""type":"m.room.message","ciphertext":"abc""#, Kind::Encrypted),
        (r#""type":"m.room.message","ciphertext":5"#, Kind::Full),
    ] {
        assert_eq!(notification(members).kind, kind, "{members}");
    }
    let encrypted = notification(r#""ciphertext":"c","ephemeral":"e","mac":5"#).encrypted.unwrap();
    assert_eq!((encrypted.ephemeral.as_deref(), encrypted.mac), (Some("e"), None));
}

#[test]
fn membership_comes_from_beside_the_content_or_from_inside() {
    let membership = |members: &str| notification(members).membership;
    let inside = r#""content":{"membership":"invite"}"#;
    assert_eq!(membership(&format!(r#""type":"m.room.member",{inside}"#)).as_deref(), Some("invite"));
    assert_eq!(membership(&format!(r#""type":"m.room.member","membership":"join",{inside}"#)).as_deref(), Some("join"));
    assert_eq!(membership(&format!(r#""type":"m.room.other",{inside}"#)), None);
    assert_eq!(membership(r#""type":"m.room.member","content":{"membership":5}"#), None);
}

#[test]
fn counts_are_off_for_a_device_that_says_so_and_zero_for_a_badge_update_without_any() {
    let badge = notification(r#""counts":{}"#);
    let event = notification(r#""event_id":"$e","counts":{"unread":null}"#);
    for data in [r#"{"org.matrix.msc4076.disable_badge_count":true}"#, r#"{"disable_badge_count":true}"#] {
        let off = device(&format!(r#""data":{data}"#)).unwrap();
        assert!(off.counts_disabled, "{data}");
        assert_eq!(badge.counts_for(&off), None);
    }
    let on = device(r#""data":{"disable_badge_count":"true"}"#).unwrap();
    assert!(!on.counts_disabled);
    assert_eq!(badge.counts_for(&on), Some(Counts { unread: Some(0), missed_calls: None }));
    assert_eq!(event.counts_for(&on), None);
}

#[test]
fn a_default_payload_is_an_object_or_ignored() {
    let payload =
        |json: &str| device(&format!(r#""data":{{"default_payload":{json}}}"#)).unwrap().default_payload().cloned();
    for other in ["null", "5", "[]", "\"x\"", "true"] {
        assert_eq!(payload(other), None, "{other}");
    }
    assert_eq!(Value::from(payload(r#"{"aps":{"a":"x"}}"#).unwrap()), json!({ "aps": { "a": "x" } }));
}

#[test]
fn nesting_is_harmless_in_content_and_refused_elsewhere() {
    for levels in [65, 50_000] {
        let deep = nested(levels);
        let found = notification(&format!(r#""event_id":"$e","content":{{"a":{deep}}}"#));
        assert_eq!((found.content, found.event_id.as_deref()), (None, Some("$e")));
        for body in [
            deep.clone(),
            format!(r#"{{"x":{deep}}}"#),
            with(&format!(r#""x":{deep}"#)),
            with(&format!(r#""room_name":{deep}"#)),
            format!(r#"{{"notification":{deep}}}"#),
            format!(r#"{{"notification":{{"devices":{deep}}}}}"#),
            format!(r#"{{"notification":{{"devices":[{deep}]}}}}"#),
        ] {
            assert_not_json(&body);
        }
        for members in [
            format!(r#""x":{deep}"#),
            format!(r#""tweaks":{deep}"#),
            format!(r#""data":{deep}"#),
            format!(r#""data":{{"x":{deep}}}"#),
            format!(r#""data":{{"default_payload":{deep}}}"#),
        ] {
            assert!(matches!(device(&members), Err(ParseError::NotJson(_))), "{levels}");
        }
    }
    assert!(notification(&format!(r#""content":{{"a":{}}}"#, nested(63))).content.is_some());
    assert!(notification(&format!(r#""content":{{"a":{}}}"#, nested(64))).content.is_none());
    let payload = format!(r#""data":{{"default_payload":{{"a":{}}}}}"#, nested(63));
    assert!(device(&payload).unwrap().default_payload().is_some());
    assert!(
        read(&format!(r#"{{"x":{},"notification":{{"devices":[{{"app_id":"a","pushkey":"k"}}]}}}}"#, nested(63)))
            .is_ok()
    );
}

/// Any JSON value.
fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        any::<f64>().prop_filter("JSON has none", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        any::<String>().prop_map(|text| json!(text).to_string()),
        Just(r#""\ud800""#.to_owned()),
        Just("1e400".to_owned()),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-z_.]{0,12}", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, MAX_DEVICES);
    }

    #[test]
    fn nothing_that_a_stranger_writes_is_an_error(
        name in prop::sample::select(vec![
            "sender", "sender_display_name", "room_name", "room_alias", "membership", "content", "user_is_target",
            "prio", "ciphertext", "ephemeral", "mac", "unknown",
        ]),
        value in any_json(),
    ) {
        let body = with(&format!(r#""event_id":"$e","{name}":{value}"#));
        prop_assert_eq!(read(&body).map(|request| request.devices.len()), Ok(1), "{}", body);
    }

    #[test]
    fn every_shape_is_either_taken_or_refused(
        name in prop::sample::select(vec![
            "event_id", "room_id", "type", "counts", "devices", "content",
        ]),
        value in any_json(),
    ) {
        let body = format!(
            r#"{{"notification":{{"devices":[{{"app_id":"a","pushkey":"k","data":{value},"tweaks":{value}}}],"{name}":{value}}}}}"#
        );
        let _ = read(&body);
    }
}
