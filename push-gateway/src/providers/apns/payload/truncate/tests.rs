//! What goes from a payload, and in which order.

use proptest::prelude::{any, prop, proptest};
use serde_json::{Map, Value, json};

use super::super::json::Object;
use super::{Fit, fit};

/// A payload of `given` members, with `texts` as the arguments of its alert.
fn object(given: &Value, alert: &Value, texts: &[&str]) -> Object {
    let mut object = Object::default();
    for (key, value) in given.as_object().cloned().unwrap_or_default() {
        if key == "aps" {
            let mut aps = Object::default();
            value.as_object().cloned().unwrap_or_default().into_iter().for_each(|(key, value)| aps.give(key, value));
            object.give(key, aps);
        } else {
            object.give(key, value);
        }
    }
    let aps = object.object_mut("aps");
    let said = aps.object_mut("alert");
    alert.as_object().cloned().unwrap_or_default().into_iter().for_each(|(key, value)| said.give(key, value));
    said.set("loc-key", "K");
    said.set("loc-args", texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
    aps.set("badge", 1);
    object.set("event_id", "$ev");
    object
}

fn fitted(mut object: Object, limit: usize) -> (Fit, Value, usize) {
    let how = fit(&mut object, limit);
    let bytes = object.to_bytes();
    (how, serde_json::from_slice(&bytes).unwrap(), bytes.len())
}

/// The length of the payload with nothing in it that can be cut.
fn frame(texts: usize) -> usize {
    object(&Value::Null, &Value::Null, &vec![""; texts]).length()
}

#[test]
fn what_fits_to_the_byte_stays_whole() {
    let texts = ["aé\"", "\n\u{1}"];
    let whole = object(&json!({"k": [1, 2]}), &json!({"title": "t"}), &texts);
    let length = whole.length();
    assert_eq!(fitted(whole.clone(), length).0, Fit::Whole);
    let (how, cut, shorter) = fitted(whole, length - 1);
    assert_eq!(how, Fit::Cut);
    assert!(shorter < length);
    assert_ne!(cut["aps"]["alert"]["loc-args"], json!(texts));
}

#[test]
fn the_longest_text_loses_its_last_letter_and_the_first_of_equals_before_the_others() {
    for (texts, over, expected) in [
        (vec!["abc", "defgh"], 1, vec!["abc", "defg"]),
        (vec!["abc", "defgh"], 2, vec!["abc", "def"]),
        (vec!["abc", "defgh"], 3, vec!["ab", "def"]),
        (vec!["abc", "defgh"], 4, vec!["ab", "de"]),
        (vec!["aaaa", "bbbb", "cccc"], 1, vec!["aaa", "bbbb", "cccc"]),
        (vec!["aaaa", "bbbb", "cccc"], 2, vec!["aaa", "bbb", "cccc"]),
        (vec!["aaaa", "bbbb", "cccc"], 4, vec!["aa", "bbb", "ccc"]),
        // A letter goes as a whole, so that more may go than has to.
        (vec!["🐇🐇", "bbbbb"], 1, vec!["🐇", "bbbbb"]),
        (vec!["🐇🐇", "bbbbb"], 5, vec!["🐇", "bbbb"]),
        (vec!["🐇🐇", "bbbbb"], 6, vec!["", "bbbb"]),
        // An escaped letter counts one byte in the comparison, and what it takes in the total.
        (vec!["aaa\u{1}", "bbb"], 5, vec!["aaa", "bbb"]),
        (vec!["aaa\"", "bbb"], 2, vec!["aaa", "bbb"]),
        (vec!["aaa\"", "bbb"], 3, vec!["aa", "bbb"]),
        (vec!["a", ""], 1, vec!["", ""]),
    ] {
        let whole = object(&Value::Null, &Value::Null, &texts);
        let limit = whole.length() - over;
        // The room for texts would let the frame itself be cut.
        let mut object = whole;
        let kept = {
            let base = frame(texts.len());
            let total = object.length();
            let keep = super::cut_texts(&texts, total, limit).unwrap();
            assert!(base <= limit);
            keep
        };
        for (text, length) in super::texts_mut(&mut object).zip(kept) {
            text.truncate(length);
        }
        let cut: Value = serde_json::from_slice(&object.to_bytes()).unwrap();
        assert_eq!(cut["aps"]["alert"]["loc-args"], json!(expected), "{texts:?} less {over}");
        assert!(object.length() <= limit);
    }
}

#[test]
fn members_of_the_app_go_first_and_the_largest_of_them_before_the_others() {
    let long = "z".repeat(3000);
    let given = json!({"a": "x".repeat(2000), "b": "y".repeat(2500), "c": [1, 2, 3]});
    let (how, cut, length) = fitted(object(&given, &Value::Null, &["Ann", &long]), 4096);
    assert_eq!((how, length), (Fit::Cut, 4096));
    assert!(cut.get("b").is_none());
    assert_eq!((&cut["a"], &cut["c"]), (&given["a"], &given["c"]));
    assert_eq!(cut["aps"]["alert"]["loc-args"][0], "Ann");

    // Less than 256 bytes would be left for the texts; a byte less, and they are enough.
    let room = 4096 - 256 - frame(2) - r#""k": "", "#.len();
    for (size, stays) in [(room, true), (room + 1, false)] {
        let given = json!({"k": "x".repeat(size)});
        let (_, cut, length) = fitted(object(&given, &Value::Null, &["Ann", &long]), 4096);
        assert_eq!((cut.get("k").is_some(), length), (stays, if stays { 4096 } else { 3000 + 3 + frame(2) }));
    }
}

#[test]
fn of_aps_the_alert_and_the_badge_stay_longest_and_of_the_alert_what_is_translated() {
    let big = |letter: &str| letter.repeat(3000);
    let given = json!({"k": big("k"), "aps": {"category": big("c"), "sound": "s"}});
    let alert = json!({"title": big("t"), "body": "b", "subtitle": "s"});
    let (how, cut, _) = fitted(object(&given, &alert, &["Ann"]), 4096);
    assert_eq!(how, Fit::Cut);
    assert!(cut.get("k").is_none());
    assert_eq!(cut["aps"].get("category"), None);
    assert_eq!((&cut["aps"]["sound"], &cut["aps"]["badge"]), (&json!("s"), &json!(1)));
    assert_eq!(cut["aps"]["alert"]["title"], json!(big("t")));

    let given = json!({"aps": {"sound": "s"}});
    let alert = json!({"title": "t".repeat(4000), "body": "b", "subtitle": "s"});
    let (_, cut, _) = fitted(object(&given, &alert, &["Ann"]), 4096);
    assert_eq!(
        cut["aps"],
        json!({"alert": {"body": "b", "subtitle": "s", "loc-key": "K", "loc-args": ["Ann"]}, "badge": 1})
    );
}

#[test]
fn at_last_aps_itself_goes_and_our_own_members_never() {
    let mut object = Object::default();
    let args: Vec<Value> = (0..5000).map(Value::from).collect();
    object.object_mut("aps").object_mut("alert").set("loc-args", args);
    object.give(String::from("k"), "v");
    object.set("event_id", "$ev");
    assert_eq!(fit(&mut object, 4096), Fit::Cut);
    assert_eq!(object.to_bytes(), br#"{"event_id": "$ev"}"#);

    let mut object = Object::default();
    object.set("event_id", "x".repeat(5000));
    assert_eq!(fit(&mut object, 4096), Fit::TooLarge);
}

#[test]
fn an_alert_that_is_a_text_is_cut_like_one() {
    let mut object = Object::default();
    object.object_mut("aps").set("alert", "é".repeat(4000));
    object.set("event_id", "$ev");
    assert_eq!(fit(&mut object, 4096), Fit::Cut);
    let cut: Value = serde_json::from_slice(&object.to_bytes()).unwrap();
    assert!(cut["aps"]["alert"].as_str().unwrap().chars().all(|letter| letter == 'é'));
    assert!((4095..=4096).contains(&object.length()));
}

/// The rule as it is written, step by step, on the text itself.
fn by_the_letter(mut texts: Vec<String>, length: impl Fn(&[String]) -> usize, limit: usize) -> Vec<String> {
    while length(&texts) > limit {
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let Some(text) = texts.iter_mut().find(|text| text.len() == longest && longest > 0) else { break };
        text.pop();
    }
    texts
}

proptest! {
    #[test]
    fn cutting_is_the_rule_by_the_letter(
        texts in prop::collection::vec("[a-c\"\n\u{1}éß€🐇]{0,12}", 1..5),
        over in 0_usize..60,
    ) {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let whole = object(&Value::Null, &Value::Null, &texts);
        let limit = whole.length().saturating_sub(over).max(frame(texts.len()));
        let length = |texts: &[String]| {
            object(&Value::Null, &Value::Null, &texts.iter().map(String::as_str).collect::<Vec<_>>()).length()
        };
        let expected = by_the_letter(texts.iter().map(|&text| text.to_owned()).collect(), length, limit);
        let kept = super::cut_texts(&texts, whole.length(), limit).unwrap();
        let cut: Vec<String> = texts.iter().zip(kept).map(|(text, length)| text[..length].to_owned()).collect();
        assert_eq!(cut, expected);
    }

    #[test]
    fn whatever_comes_fits_or_is_too_large_by_itself(
        keys in prop::collection::btree_map("[a-e]{1,3}", any::<u16>(), 0..8),
        texts in prop::collection::vec("[a-cé\"]{0,40}", 0..4),
        limit in 20_usize..600,
    ) {
        let given: Map<String, Value> = keys.into_iter().map(|(key, size)| (key, json!("x".repeat(usize::from(size % 300))))).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut object = object(&Value::Object(given.clone()), &Value::Object(given), &texts);
        match fit(&mut object, limit) {
            Fit::Whole | Fit::Cut => assert!(object.to_bytes().len() <= limit),
            Fit::TooLarge => assert!(limit < br#"{"event_id": "$ev"}"#.len() + 256),
        }
    }
}
