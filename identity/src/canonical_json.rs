//! Canonical JSON (specification, appendix "Canonical JSON"): the serialisation that signatures cover.
//!
//! Invariant: only integers within ±(2^53 − 1) have a canonical form; no number is rounded.

use serde_json::{Map, Number, Value};

/// The largest integer that every implementation parses exactly.
const MAX_INTEGER: u64 = (1 << 53) - 1;

/// The range of integers that have a canonical form.
#[derive(Clone, Copy)]
enum Integers {
    /// Integers within ±(2^53 − 1), as the specification requires.
    Interoperable,
    /// All integers that fit into 64 bits.
    Any,
}

/// The value contains a float or an integer outside ±(2^53 − 1).
///
/// serde_json parses `-0` and every number with a fraction or an exponent, such as `1e10`, as a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the JSON has a number that is not an integer between -(2^53)+1 and (2^53)-1")]
pub struct NotCanonical;

/// Serialises `value`: keys sorted by code point, no whitespace, UTF-8 unescaped.
///
/// # Errors
/// [`NotCanonical`] if a number has no canonical form.
pub fn to_string(value: &Value) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_value(&mut text, value, Integers::Interoperable)?;
    Ok(text)
}

/// Serialises `object` without the top-level members named in `left_out`.
///
/// # Errors
/// [`NotCanonical`] if a number in the remaining members has no canonical form.
pub fn object_to_string(object: &Map<String, Value>, left_out: &[&str]) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_object(&mut text, object, left_out, Integers::Interoperable)?;
    Ok(text)
}

/// Like [`object_to_string`], but accepts all 64-bit integers. For documents that homeservers sign: some contain
/// timestamps outside ±(2^53 − 1).
///
/// # Errors
/// [`NotCanonical`] for a float and for an integer that does not fit into 64 bits.
pub fn object_to_string_with_any_integer(
    object: &Map<String, Value>,
    left_out: &[&str],
) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_object(&mut text, object, left_out, Integers::Any)?;
    Ok(text)
}

/// Serialises a string, quotes included.
pub fn string_to_string(string: &str) -> String {
    let mut text = String::with_capacity(string.len() + 2);
    write_string(&mut text, string);
    text
}

fn write_value(text: &mut String, value: &Value, integers: Integers) -> Result<(), NotCanonical> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write_number(text, number, integers)?,
        Value::String(string) => write_string(text, string),
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(text, item, integers)?;
            }
            text.push(']');
        }
        Value::Object(object) => write_object(text, object, &[], integers)?,
    }
    Ok(())
}

/// Sorts explicitly, because the order of serde_json's map depends on its features.
fn write_object(
    text: &mut String,
    object: &Map<String, Value>,
    left_out: &[&str],
    integers: Integers,
) -> Result<(), NotCanonical> {
    let mut members: Vec<_> = object.iter().filter(|(name, _)| !left_out.contains(&name.as_str())).collect();
    // The order of UTF-8 octets is the order of code points.
    members.sort_unstable_by_key(|(name, _)| name.as_str());
    text.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write_string(text, name);
        text.push(':');
        write_value(text, value, integers)?;
    }
    text.push('}');
    Ok(())
}

fn write_number(text: &mut String, number: &Number, integers: Integers) -> Result<(), NotCanonical> {
    let has_form = match integers {
        Integers::Interoperable => number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= MAX_INTEGER),
        Integers::Any => number.is_i64() || number.is_u64(),
    };
    if !has_form {
        return Err(NotCanonical);
    }
    text.push_str(&number.to_string());
    Ok(())
}

fn write_string(text: &mut String, string: &str) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c if c < ' ' => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::{NotCanonical, object_to_string, object_to_string_with_any_integer, to_string};
    use serde_json::{Value, json};

    fn canonical(text: &str) -> Result<String, NotCanonical> {
        to_string(&serde_json::from_str::<Value>(text).unwrap())
    }

    #[test]
    fn the_vectors_of_the_specification_match() {
        for (text, expected) in [
            ("{}", "{}"),
            (r#"{"one": 1, "two": "Two"}"#, r#"{"one":1,"two":"Two"}"#),
            (r#"{"b": "2", "a": "1"}"#, r#"{"a":"1","b":"2"}"#),
            (
                r#"{"auth": {"success": true, "mxid": "@john.doe:example.com", "profile": {"display_name": "John Doe",
                    "three_pids": [{"medium": "email", "address": "john.doe@example.org"},
                                   {"medium": "msisdn", "address": "123456789"}]}}}"#,
                r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
            ),
            (r#"{"a": "日本語"}"#, r#"{"a":"日本語"}"#),
            (r#"{"本": 2, "日": 1}"#, r#"{"日":1,"本":2}"#),
            (r#"{"a": "\u65E5"}"#, r#"{"a":"日"}"#),
            (r#"{"a": null}"#, r#"{"a":null}"#),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn only_quotes_backslashes_and_controls_are_escaped() {
        let every_control: String = (0..0x20).filter_map(char::from_u32).collect();
        let text = to_string(&json!(format!("{every_control}\"\\/\u{7f}é\u{1F600}"))).unwrap();
        assert_eq!(
            text,
            concat!(
                r#""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#,
                r#"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d\u001e\u001f\"\\/"#,
                "\u{7f}é\u{1F600}\""
            )
        );
    }

    #[test]
    fn integers_outside_53_bits_are_rejected() {
        assert_eq!(
            canonical("[9007199254740991,-9007199254740991,0]").as_deref(),
            Ok("[9007199254740991,-9007199254740991,0]")
        );
        for text in [
            "9007199254740992",
            "-9007199254740992",
            "18446744073709551615",
            "1.5",
            "1.0",
            "1e10",
            "-0",
            "[{\"a\":[0.1]}]",
        ] {
            assert_eq!(canonical(text), Err(NotCanonical), "{text}");
        }
    }

    #[test]
    fn signed_documents_may_contain_64_bit_integers_but_no_floats() {
        let any = |text: &str| {
            object_to_string_with_any_integer(serde_json::from_str::<Value>(text).unwrap().as_object().unwrap(), &[])
        };
        for text in [r#"{"a":9007199254740992}"#, r#"{"a":[-9223372036854775808]}"#, r#"{"a":18446744073709551615}"#] {
            assert_eq!(any(text).as_deref(), Ok(text));
            assert_eq!(canonical(text), Err(NotCanonical), "{text}");
        }
        for text in [r#"{"a":1.5}"#, r#"{"a":18446744073709551616}"#, r#"{"a":-0}"#] {
            assert_eq!(any(text), Err(NotCanonical), "{text}");
        }
    }

    #[test]
    fn keys_are_sorted_by_code_point_not_by_utf16() {
        assert_eq!(canonical("{\"\u{1F600}\":1,\"\u{FF5E}\":2}").as_deref(), Ok("{\"\u{FF5E}\":2,\"\u{1F600}\":1}"));
    }

    #[test]
    fn members_are_left_out_at_the_top_level_only() {
        let object = json!({"a": {"unsigned": 1}, "unsigned": 1.5, "signatures": {}});
        let text = object_to_string(object.as_object().unwrap(), &["signatures", "unsigned"]);
        assert_eq!(text.as_deref(), Ok(r#"{"a":{"unsigned":1}}"#));
    }
}
