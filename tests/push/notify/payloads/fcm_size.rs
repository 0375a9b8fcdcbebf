//! Messages that are too large for FCM: the order of removal, the length of each cut text, and the members that always
//! stay.
//!
//! Invariant: keys and values of `data` and the operator's `notification` never exceed 4096 bytes together; the fake
//! rejects a message that does.

use harness::world::push::{World, android_app, ids, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.android";

/// FCM's limit.
const BUDGET: usize = 4096;

/// The texts that may be cut.
const TEXTS: [&str; 4] = ["content_body", "room_name", "room_alias", "sender_display_name"];

fn size(data: &Value) -> usize {
    data.as_object()
        .expect("an object")
        .iter()
        .map(|(key, value)| key.len() + value.as_str().expect("a text").len())
        .sum()
}

fn x(bytes: usize) -> Value {
    Value::from("x".repeat(bytes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_ends_within_1024_bytes_with_a_mark() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    for (text, expected) in [
        ("a".repeat(1024), "a".repeat(1024)),
        ("a".repeat(1025), format!("{}…", "a".repeat(1021))),
        ("é".repeat(512), "é".repeat(512)),
        ("é".repeat(513), format!("{}…", "é".repeat(510))),
        (format!("a{}", "é".repeat(512)), format!("a{}…", "é".repeat(510))),
        ("🪨".repeat(257), format!("{}…", "🪨".repeat(255))),
        (format!("ab{}", "🪨".repeat(256)), format!("ab{}…", "🪨".repeat(254))),
    ] {
        let changes = json!({ "room_name": text, "sender": text, "content": { "msgtype": text } });
        let device = gateway.phone(APP);
        gateway.deliver(without(with(message(), changes), &["sender_display_name"]), &device).await;
        let data = &gateway.message(&device)["data"];
        for key in ["room_name", "sender", "content_msgtype"] {
            assert_eq!(data[key], expected, "{key}");
        }
    }
    for (bytes, stays) in [(1024, true), (1025, false)] {
        let device = gateway.phone(APP);
        gateway.deliver(with(message(), json!({ "content": { "ciphertext": x(bytes) } })), &device).await;
        assert_eq!(gateway.message(&device)["data"].get("content_ciphertext").is_some(), stays, "{bytes}");
    }
    let device = with(gateway.phone(APP), json!({ "data": { "default_payload": { "cs": x(1025) } } }));
    gateway.deliver(ids(), &device).await;
    assert_eq!(gateway.message(&device)["data"]["cs"], format!("{}…", "x".repeat(1021)));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_goes_first_the_largest_before_the_smaller() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let content = json!({ "msgtype": "m.text", "body": x(1000), "a": x(900), "b": x(1000), "c": x(950), "dd": x(70) });
    let device = with(gateway.phone(APP), json!({ "data": { "default_payload": { "cs": x(1000) } } }));
    gateway.deliver(with(message(), json!({ "content": content })), &device).await;
    let data = gateway.message(&device)["data"].take();
    let kept: Vec<&str> = data.as_object().unwrap().keys().filter_map(|key| key.strip_prefix("content_")).collect();
    assert_eq!(kept, ["a", "body", "dd", "msgtype"]);
    assert_eq!((data["cs"].as_str().unwrap().len(), data["content_body"].as_str().unwrap().len()), (1000, 1000));
    assert!(size(&data) <= BUDGET);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_thousands_of_keys_as_many_stay_as_fit() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    for number in [200, 300, 20_000] {
        // `content_` and a name of six digits take 14 bytes, and a larger one is removed first.
        let mut content: Value = (0..number).map(|key| (format!("{key:06}"), json!("v"))).collect();
        content["large"] = x(900);
        let device = gateway.phone(APP);
        gateway.deliver(with(message(), json!({ "content": content })), &device).await;
        let data = gateway.message(&device)["data"].take();
        let kept: Vec<&str> = data.as_object().unwrap().keys().filter_map(|key| key.strip_prefix("content_")).collect();
        let others =
            size(&data) - kept.iter().map(|key| 8 + key.len() + if *key == "large" { 900 } else { 1 }).sum::<usize>();
        let expected = if number == 200 { 201 } else { number.min((BUDGET - others) / 15) };
        assert_eq!((kept.len(), kept.contains(&"large")), (expected, number == 200), "{number}");
        let first = number - kept.len().min(number);
        assert!(kept.iter().all(|key| *key == "large" || key.parse::<usize>().unwrap() >= first), "the later stay");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_four_texts_are_cut_to_one_length_that_just_fits() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let rock = "🪨".repeat(300);
    for (body, room_name, defaults) in [
        (x(2000), x(2000), json!({ "cs": x(300) })),
        (x(2000), x(2000), json!({ "cs": x(1000), "b": x(1000), "c": x(1000) })),
        (rock.as_str().into(), rock.as_str().into(), json!({ "a": x(700) })),
        (x(2000), x(100), json!({ "a": x(1000), "b": x(1000) })),
    ] {
        let device = with(gateway.phone(APP), json!({ "data": { "default_payload": defaults } }));
        let content = json!({ "msgtype": "m.text", "body": body, "formatted_body": x(1000) });
        let texts = json!({
            "content": content, "room_name": room_name, "room_alias": x(2000), "sender_display_name": x(2000),
        });
        gateway.deliver(with(message(), texts.clone()), &device).await;
        let data = gateway.message(&device)["data"].take();
        assert!(size(&data) <= BUDGET, "{}", size(&data));
        for (key, value) in defaults.as_object().unwrap() {
            assert_eq!(&data[key], value);
        }
        assert_eq!(data.get("content_formatted_body"), None);
        let given = |key: &str| match key {
            "content_body" => body.as_str().unwrap(),
            _ => texts[key].as_str().unwrap(),
        };
        let limit = TEXTS.iter().map(|key| data[*key].as_str().unwrap().len()).max().unwrap();
        assert!((16..1024).contains(&limit), "{limit}");
        let mut growth = 0;
        for key in TEXTS {
            let (sent, given) = (data[key].as_str().unwrap(), given(key));
            if sent == given {
                continue;
            }
            let kept = sent.strip_suffix('…').expect("a mark");
            let next =
                given.strip_prefix(kept).and_then(|rest| rest.chars().next()).expect("the beginning of the text");
            assert!(sent.len() + next.len_utf8() > limit, "{key} could be longer");
            growth += next.len_utf8();
        }
        assert!(size(&data) + growth > BUDGET, "{} and {growth} bytes more would fit", size(&data));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_defaults_go_before_a_text_is_cut_below_sixteen_bytes_and_ids_and_counts_never() {
    let gateway = World::serving("", "", &[android_app(APP, "")]).await;
    let defaults = json!({ "a": x(1000), "b": x(1024), "c": x(1000), "d": x(1000), "e": x(1) });
    let device = with(gateway.phone(APP), json!({ "data": { "default_payload": defaults } }));
    let texts =
        json!({ "content": { "msgtype": "m.text", "body": x(1000) }, "counts": { "unread": 2, "missed_calls": 1 } });
    gateway.deliver(with(message(), texts.clone()), &device).await;
    let data = gateway.message(&device)["data"].take();
    let kept: Vec<&str> = ["a", "b", "c", "d", "e"].into_iter().filter(|key| data.get(*key).is_some()).collect();
    assert_eq!(kept, ["a", "c", "d", "e"], "the largest goes, and no more than is needed");
    assert!(data["content_body"].as_str().unwrap().ends_with('…') && size(&data) <= BUDGET);

    // Four values of 1024 bytes that may neither be removed nor cut further leave room only for IDs and counts.
    let device = gateway.phone(APP);
    let huge = json!({
        "event_id": x(1024), "sender": x(1024), "type": x(1024), "membership": x(1024), "counts": { "unread": 2, "missed_calls": 1 },
    });
    gateway.deliver(with(message(), huge), &device).await;
    let expected = json!({
        "event_id": x(1024), "room_id": "!quarry:hs.example", "prio": "high", "unread": "2", "missed_calls": "1",
    });
    assert_eq!(gateway.message(&device)["data"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_shows_takes_its_room_from_the_data() {
    let shown = "fcm_options = { notification = { title = \"Mail\" } }";
    let gateway = World::serving("", "", &[android_app(APP, shown)]).await;
    let room = BUDGET - "{\"title\":\"Mail\"}".len();
    let defaults = json!({ "a": x(1010), "b": x(1010), "c": x(1010) });
    let fixed =
        size(&with(defaults.clone(), json!({ "event_id": "$slate", "room_id": "!quarry:hs.example", "prio": "high" })));
    for (bytes, fits) in [(room - fixed - 1, true), (room - fixed, false)] {
        let defaults = with(defaults.clone(), json!({ "d": x(bytes) }));
        let device = with(gateway.phone(APP), json!({ "data": { "default_payload": defaults } }));
        gateway.deliver(ids(), &device).await;
        let data = &gateway.message(&device)["data"];
        assert_eq!(data.as_object().unwrap().len() == 7, fits, "{bytes}: {}", size(data));
        if fits {
            assert_eq!(size(data), room);
        }
    }
}
