//! Payloads that are too large for APNs: which members are removed, and at which character each text ends, byte for
//! byte.
//!
//! Invariant: the expected payload is found by removing one character after another and writing the whole payload
//! again, which is too slow for a server and too simple to be wrong.

use harness::generator::{Generator, seed};
use harness::world::push::{World, ids, ios_app, message, with, without};
use serde_json::{Value, json};

const APP: &str = "org.example.ios";
const VOIP: &str = "org.example.voip";

/// Apple's limits in bytes.
const LIMIT: usize = 4096;
const VOIP_LIMIT: usize = 5120;

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_text_loses_letter_after_letter_until_the_payload_fits() {
    let gateway =
        World::serving("", "", &[ios_app(APP, ""), ios_app(VOIP, "push_type = \"voip\"\nvoip_events = \"all\"")]).await;
    let mut cases: Vec<(&str, [String; 3])> = Vec::new();
    // Characters by their length in the text and in its JSON: 1 and 1, 1 and 2, 1 and 6, 2, 3, 4, mixtures.
    for letters in ["a", "\"", "\\", "\n", "\u{8}", "\u{1}", "\u{7f}", "é", "✓", "\u{2028}", "🪨", "a\n", "é\"🪨\u{1f}"]
    {
        let body: String = letters.chars().cycle().take(6000).collect();
        cases.push((APP, ["Wilma".into(), "Quarry".into(), body.clone()]));
        cases.push((VOIP, ["Wilma".into(), "Quarry".into(), body]));
    }
    // Texts of equal length, texts that become shorter than others, names at their own limit.
    for [from, room, body] in [
        [("a", 1024), ("b", 1024), ("c", 5000)],
        [("🪨", 1024), ("b", 1024), ("c", 5000)],
        [("a", 1000), ("é", 1000), ("🪨", 2000)],
        [("\n", 1024), ("\u{1}", 1024), ("\"", 1024)],
        [("🪨", 1024), ("🪨", 1024), ("🪨", 1024)],
        [("🪨", 1100), ("✓", 1500), ("a", 1)],
    ] {
        cases.push((APP, [from, room, body].map(|(letter, times)| letter.repeat(times))));
    }
    let body = |bytes: usize| "x".repeat(bytes);
    let spare = LIMIT - length(&expected(APP, ["Wilma", "Quarry", ""]));
    for bytes in [spare - 1, spare, spare + 1, spare + 2] {
        cases.push((APP, ["Wilma".into(), "Quarry".into(), body(bytes)]));
    }
    for (app, [from, room, body]) in &cases {
        check(&gateway, app, [from, room, body], "").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_any_letters_are_cut_where_the_rule_says() {
    const LETTERS: [char; 14] =
        ['a', 'Z', ' ', '"', '\\', '/', '\n', '\u{b}', '\0', 'é', 'ß', '\u{2029}', '\u{fffd}', '🪨'];
    let gateway =
        World::serving("", "", &[ios_app(APP, ""), ios_app(VOIP, "push_type = \"voip\"\nvoip_events = \"all\"")]).await;
    let seed = seed();
    let mut generator = Generator(seed);
    for _ in 0..150 {
        let [from, room, body] = [1100, 1100, 5000].map(|most| {
            let few: Vec<char> = (0..=generator.below(4)).map(|_| LETTERS[generator.below(LETTERS.len())]).collect();
            (0..=generator.below(most)).map(|_| few[generator.below(few.len())]).collect::<String>()
        });
        let app = if generator.below(3) == 0 { VOIP } else { APP };
        check(&gateway, app, [&from, &room, &body], &format!("GATEHOUSE_SEED={seed}")).await;
    }
}

/// Checks that the payload of a message with these texts follows the rule.
async fn check(gateway: &World, app: &str, texts @ [from, room, body]: [&str; 3], hint: &str) {
    let device = gateway.iphone(app);
    let content = json!({ "msgtype": "m.text", "body": body });
    let names = json!({ "sender_display_name": from, "room_name": room, "content": content });
    gateway.deliver(with(message(), names), &device).await;
    let push = gateway.push(&device);
    let mut right = expected(app, texts);
    let limit = if app == VOIP { VOIP_LIMIT } else { LIMIT };
    let mut total = length(&right);
    while total > limit {
        let args = right["aps"]["alert"]["loc-args"].as_array_mut().expect("the texts");
        let bytes = |place: &usize| args[*place].as_str().map_or(0, str::len);
        // Of equal ones the first, which `max_by_key` finds only in reverse order.
        let longest = (0..args.len()).rev().max_by_key(bytes).expect("there are texts");
        let Value::String(text) = &mut args[longest] else { panic!("a text") };
        let letter = text.pop().expect("the longest has letters");
        total -= spaced(&json!(letter)).len() - 2;
    }
    assert_eq!(length(&right), total, "{hint}");
    let found = push.json();
    assert!(found == right, "{hint}: {} bytes for {total} of {}", push.body.len(), right["aps"]["alert"]["loc-args"]);
    assert_eq!(push.body.len(), total, "{hint}");
}

/// The payload of [`message`] with these texts, with only the names cut.
fn expected(app: &str, [from, room, body]: [&str; 3]) -> Value {
    let name = |name: &str| name.chars().take(1024).collect::<String>();
    let alert = json!({
        "loc-key": "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", "loc-args": [name(from), name(room), body],
    });
    let payload = with(ids(), json!({ "aps": { "alert": alert } }));
    if app == VOIP { with(payload, json!({ "type": "m.room.message" })) } else { payload }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_devices_members_go_largest_first_and_ours_stay() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let text = |bytes: usize| Value::from("x".repeat(bytes));
    let counts = json!({ "counts": { "unread": 2 } });
    let in_payload = with(ids(), json!({ "unread_count": 2 }));
    for (what, defaults, expected) in [
        ("the largest", json!({ "a": text(2000), "b": text(3000), "c": 1 }), json!({ "a": text(2000), "c": 1 })),
        (
            "the first of two as large, and no more than is needed",
            json!({ "a": text(2000), "b": text(2000), "c": text(10) }),
            json!({ "b": text(2000), "c": text(10) }),
        ),
        (
            "measured as it is written",
            json!({ "quotes": "\"".repeat(1900), "letters": text(2900) }),
            json!({ "letters": text(2900) }),
        ),
        (
            "every member before anything of aps",
            json!({ "a": text(1), "aps": { "mutable-content": 1, "alert": { "loc-key": "N" }, "own": text(4000) } }),
            json!({ "aps": { "mutable-content": 1, "alert": { "loc-key": "N" } } }),
        ),
        (
            "then what the alert can do without",
            json!({ "aps": { "alert": { "loc-key": "N", "title": text(3000), "subtitle": text(3001) }, "b": 1 } }),
            json!({ "aps": { "alert": { "loc-key": "N", "title": text(3000) } } }),
        ),
        ("then aps as a whole", json!({ "aps": { "alert": { "loc-key": text(5000) }, "badge": 1 } }), json!({})),
        ("ids over those of the device", json!({ "event_id": text(5000), "room_id": [], "z": 1 }), json!({ "z": 1 })),
    ] {
        let device = with(gateway.iphone(APP), json!({ "data": { "default_payload": defaults } }));
        gateway.deliver(with(ids(), counts.clone()), &device).await;
        let push = gateway.push(&device);
        assert!(push.json() == with(expected, in_payload.clone()), "{what}: {:.300}", push.json().to_string());
        assert!(push.body.len() <= LIMIT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn room_for_256_bytes_of_text_is_made_before_texts_are_cut() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    // The length of the payload without texts, and with a member `k` that fills it to the limit.
    let bare = length(&with(expected(APP, ["", "", ""]), json!({ "k": "" })));
    let edge = LIMIT - 256 - bare;
    for (bytes, stays) in [(edge, true), (edge + 1, false)] {
        let defaults = json!({ "k": "k".repeat(bytes) });
        let device = with(gateway.iphone(APP), json!({ "data": { "default_payload": defaults } }));
        let content = json!({ "content": { "msgtype": "m.text", "body": "b".repeat(5000) } });
        gateway.deliver(with(message(), content), &device).await;
        let push = gateway.push(&device);
        assert_eq!((push.body.len(), push.json().get("k").is_some()), (LIMIT, stays), "{bytes}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_the_devices_own_alert_are_cut_too() {
    let gateway = World::serving("", "", &[ios_app(APP, "")]).await;
    let alert = json!({ "loc-key": "N", "body": "b".repeat(6000), "loc-args": ["c".repeat(3000), 5, "d".repeat(10)] });
    for (alert, rest) in [(alert, json!([5, "d".repeat(10)])), (json!("e".repeat(6000)), json!(null))] {
        let device = with(gateway.iphone(APP), json!({ "data": { "default_payload": { "aps": { "alert": alert } } } }));
        gateway.deliver(ids(), &device).await;
        let push = gateway.push(&device);
        let (payload, found) = (push.json(), &push.json()["aps"]["alert"]);
        assert_eq!(push.body.len(), LIMIT, "{payload}");
        assert_eq!(without(payload, &["aps"]), ids());
        if rest.is_array() {
            let lengths = [&found["body"], &found["loc-args"][0]].map(|text| text.as_str().unwrap().len());
            assert!(lengths[0].abs_diff(lengths[1]) <= 1, "{lengths:?}");
            assert_eq!(json!([found["loc-args"][1], found["loc-args"][2]]), rest);
        }
    }
}

/// The length of the text as sent, with blanks after commas and colons.
fn length(payload: &Value) -> usize {
    spaced(payload).len()
}

fn spaced(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(key, value)| format!("{}: {}", spaced(&json!(key)), spaced(value))).collect();
            format!("{{{}}}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(spaced).collect::<Vec<_>>().join(", ")),
        Value::String(text) => {
            let letter = |letter: char| match letter {
                '"' => "\\\"".to_owned(),
                '\\' => "\\\\".to_owned(),
                '\n' => "\\n".to_owned(),
                '\r' => "\\r".to_owned(),
                '\t' => "\\t".to_owned(),
                '\u{8}' => "\\b".to_owned(),
                '\u{c}' => "\\f".to_owned(),
                control if control < ' ' => format!("\\u{:04x}", u32::from(control)),
                other => other.to_string(),
            };
            format!("\"{}\"", text.chars().map(letter).collect::<String>())
        }
        other => other.to_string(),
    }
}
