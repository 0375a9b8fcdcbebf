//! JSON objects with other members.
//!
//! Invariant: an object is changed in its first level alone.

use serde_json::Value;

/// `object` with the members of `others` in place of its own.
///
/// # Panics
/// If `others` is no object.
#[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
pub fn with(mut object: Value, others: Value) -> Value {
    for (name, value) in others.as_object().expect("an object") {
        object[name] = value.clone();
    }
    object
}

/// `object` without these members.
///
/// # Panics
/// If it is no object.
pub fn without(mut object: Value, names: &[&str]) -> Value {
    let members = object.as_object_mut().expect("an object");
    members.retain(|name, _| !names.contains(&name.as_str()));
    object
}
