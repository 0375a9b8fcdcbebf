//! Bodies that are not valid JSON, and bodies that are too large.
//!
//! Invariant: the Content-Type does not change the error.

use harness::world::push::{NOTIFY, World, android_app, ids, ios_app, with};
use serde_json::{Value, json};

const APP: &str = "org.example.android";

/// Lists within lists.
fn lists(levels: usize) -> String {
    format!("{}{}", "[".repeat(levels), "]".repeat(levels))
}

/// Objects within objects.
fn objects(levels: usize) -> String {
    format!("{}0{}", "{\"a\":".repeat(levels), "}".repeat(levels))
}

/// A request for `device` with further members of the notification.
fn with_members(device: &Value, members: &str) -> String {
    format!("{{\"notification\":{{\"event_id\":\"$slate\",{members},\"devices\":[{device}]}}}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_refused_before_anything_is_sent() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let device = gateway.phone(APP);
    let good = json!({ "notification": with(ids(), json!({ "devices": [device] })) }).to_string();
    let mut bodies: Vec<Vec<u8>> =
        ["", " ", "{", "}", "I am not JSON", "{}{}", "{\"a\"", "[1,]", "'x'", "nul", "\u{feff}{}", "\0"]
            .map(|body| body.as_bytes().to_vec())
            .into();
    bodies.push(format!("{good}x").into_bytes());
    bodies.push(format!("\u{feff}{good}").into_bytes());
    bodies.push(good.as_bytes()[..good.len() - 1].to_vec());
    bodies.push(good.encode_utf16().flat_map(u16::to_le_bytes).collect());
    for broken in
        ["NaN", "Infinity", "-Infinity", "01", "+1", ".5", "1.", "0x10", "tru", "\"\t\"", "\"\\x\"", "\"\\ud8\""]
    {
        bodies.push(with_members(&device, &format!("\"content\":{{\"body\":{broken}}}")).into_bytes());
        bodies.push(with_members(&device, &format!("\"room_id\":{broken}")).into_bytes());
    }
    // The homeserver writes these parts, so an unreadable one is its error.
    for (name, value) in [
        ("event_id", "\"\\ud800\""),
        ("room_id", "\"a\\udc00\\ud800\""),
        ("type", "\"\\udfff\""),
        ("counts", "{\"unread\":1e400}"),
        ("counts", "{\"unread\":-1e999}"),
    ] {
        bodies.push(with_members(&device, &format!("\"{name}\":{value}")).into_bytes());
    }
    for broken in [b"\xff".as_slice(), b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"] {
        for (before, after) in [("\"content\":{\"body\":\"", "\"}"), ("\"room_id\":\"", "\""), ("\"x\":\"", "\"")] {
            let text = with_members(&device, &format!("{before}§{after}"));
            let (start, end) = text.split_once('§').unwrap();
            bodies.push([start.as_bytes(), broken, end.as_bytes()].concat());
        }
    }
    // {"a":1} in gzip, which the gateway does not accept.
    bodies.push(b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xabVJT\xb22\xac\x05\0\xb5\x1d\x1d\x1a\x07\0\0\0".to_vec());
    for body in &bodies {
        for content_type in
            ["application/json", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
        {
            let call = gateway.api.request(hyper::Method::POST, NOTIFY).header("content-type", content_type);
            call.body(body.clone()).send().await.refused(400, "M_NOT_JSON");
        }
    }
    let call = gateway.api.request(hyper::Method::POST, NOTIFY).header("content-encoding", "gzip");
    call.body(bodies.last().unwrap().clone()).send().await.refused(400, "M_NOT_JSON");
    assert!(gateway.google.messages().is_empty());
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "\u{ff}", ""] {
        let device = gateway.phone(APP);
        let good = json!({ "notification": with(ids(), json!({ "devices": [device] })) });
        let call = gateway.api.request(hyper::Method::POST, NOTIFY).header("content-type", content_type);
        assert_eq!(call.body(good.to_string()).send().await.expect(200), json!({ "rejected": [] }));
        gateway.message(&device);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nesting_ends_at_64_levels_but_for_content_which_is_then_absent() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    // Body, notification and the member itself are levels too.
    for (members, levels, fits) in [
        ("\"x\":@", 62, true),
        ("\"x\":@", 63, false),
        ("\"x\":@", 50_000, false),
        ("\"room_id\":@", 50_000, false),
        ("\"counts\":@", 50_000, false),
        ("\"sender\":@", 62, true),
        ("\"sender\":@", 50_000, false),
        ("\"content\":@", 50_000, true),
        ("\"content\":{\"body\":@}", 50_000, true),
        ("\"content\":[@]", 50_000, true),
    ] {
        for nested in [lists(levels), objects(levels)] {
            let device = gateway.phone(APP);
            let text = with_members(&device, &members.replace('@', &nested));
            let answer = gateway.api.request(hyper::Method::POST, NOTIFY).body(text).send().await;
            if fits {
                assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{members} {levels}");
                let data = gateway.message(&device)["data"].take();
                assert_eq!(data, json!({ "event_id": "$slate", "prio": "high" }), "{members}");
            } else {
                answer.refused(400, "M_NOT_JSON");
            }
        }
    }
    for nested in [lists(50_000), objects(50_000)] {
        for text in [
            nested.clone(),
            format!("{{\"notification\":{nested}}}"),
            format!("{{\"x\":{nested}}}"),
            format!("{{\"notification\":{{\"devices\":{nested}}}}}"),
            format!("{{\"notification\":{{\"devices\":[{nested}]}}}}"),
            format!(
                "{{\"notification\":{{\"devices\":[{{\"app_id\":\"{APP}\",\"pushkey\":\"k\",\"data\":{nested}}}]}}}}"
            ),
            format!(
                "{{\"notification\":{{\"devices\":[{{\"app_id\":\"{APP}\",\"pushkey\":\"k\",\"tweaks\":{nested}}}]}}}}"
            ),
            // Opened and never closed.
            nested[..nested.len() / 2].to_owned(),
        ] {
            gateway.api.request(hyper::Method::POST, NOTIFY).body(text).send().await.refused(400, "M_NOT_JSON");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_payload_may_be_64_levels_deep_by_itself() {
    let gateway = World::serving("", "", &[android_app(APP, ""), ios_app("org.example.ios", "")]).await;
    for (levels, fits) in [(63, true), (64, false), (5_000, false)] {
        for nested in [lists(levels), objects(levels)] {
            for device in [gateway.phone(APP), gateway.iphone("org.example.ios")] {
                let of_device = device.to_string().replacen(
                    '{',
                    &format!("{{\"data\":{{\"default_payload\":{{\"x\":{nested}}}}},"),
                    1,
                );
                let text = format!("{{\"notification\":{{\"event_id\":\"$slate\",\"devices\":[{of_device}]}}}}");
                let answer = gateway.api.request(hyper::Method::POST, NOTIFY).body(text).send().await;
                if !fits {
                    answer.refused(400, "M_NOT_JSON");
                    continue;
                }
                assert_eq!(answer.expect(200), json!({ "rejected": [] }), "{levels}");
                if device["app_id"] == APP {
                    assert_eq!(gateway.message(&device)["data"]["x"], nested);
                } else {
                    let body = String::from_utf8(gateway.push(&device).body.to_vec()).unwrap().replace(' ', "");
                    assert!(body.contains(&format!("\"x\":{nested}")), "{body}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_may_be_as_long_as_the_limit_and_not_a_byte_longer() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let limit = 512 * 1024;
    for (length, fits) in [(limit, true), (limit + 1, false), (1_100_000, false)] {
        let device = gateway.phone(APP);
        let frame = with_members(&device, "\"content\":{\"body\":\"\"}").len();
        let text = with_members(&device, &format!("\"content\":{{\"body\":\"{}\"}}", "x".repeat(length - frame)));
        assert_eq!(text.len(), length);
        let answer = gateway.api.request(hyper::Method::POST, NOTIFY).body(text).send().await;
        if fits {
            assert_eq!(answer.expect(200), json!({ "rejected": [] }));
            gateway.message(&device);
        } else {
            answer.refused(413, "M_TOO_LARGE");
            assert!(gateway.google.messages_for(device["pushkey"].as_str().unwrap()).is_empty());
        }
    }
}
