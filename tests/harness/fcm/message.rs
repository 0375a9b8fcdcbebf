//! What Google asks of a message (*projects.messages*, *About FCM messages*).
//!
//! Invariant: whatever the real interface refuses with `INVALID_ARGUMENT` is refused here, with the field at fault.

use serde_json::{Map, Value};

const MESSAGE_KEYS: [&str; 10] =
    ["data", "notification", "android", "apns", "webpush", "fcm_options", "token", "fid", "topic", "condition"];

const ANDROID_KEYS: [&str; 10] = [
    "collapse_key",
    "priority",
    "ttl",
    "restricted_package_name",
    "data",
    "notification",
    "fcm_options",
    "direct_boot_ok",
    "bandwidth_constrained_ok",
    "restricted_satellite_ok",
];

const TARGETS: [&str; 4] = ["token", "fid", "topic", "condition"];

/// What keys and values of `data`, and the notification, may take together.
const MAX_PAYLOAD: usize = 4096;

const MAX_TTL: u64 = 2_419_200;

/// The field at fault, and what is wrong with it.
type Violation = (String, String);

/// Whom a request's body is for.
pub(super) fn pushkey(body: &Value) -> Option<&str> {
    let message = body.get("message")?;
    message.get("token").or_else(|| message.get("fid"))?.as_str()
}

/// What is wrong with a request's body.
pub(super) fn check(body: &Value) -> Result<(), Violation> {
    let envelope = object(body, "")?;
    only(envelope, "", &["message", "validate_only"])?;
    let message = object(envelope.get("message").unwrap_or(&Value::Null), "message")?;
    only(message, "message", &MESSAGE_KEYS)?;
    let targets: Vec<&str> = TARGETS.into_iter().filter(|key| message.contains_key(*key)).collect();
    let [target] = targets[..] else { return wrong("message", "Exactly one target has to be set.") };
    if message[target].as_str().is_none_or(str::is_empty) {
        return wrong(&format!("message.{target}"), "The registration token is not a valid FCM registration token");
    }
    let data = message.get("data").map(check_data).transpose()?.unwrap_or(0);
    let notification = message.get("notification").map(|value| object(value, "message.notification")).transpose()?;
    if data + notification.map_or(0, |value| Value::Object(value.clone()).to_string().len()) > MAX_PAYLOAD {
        return wrong("message", "Android message is too big");
    }
    message.get("android").map(check_android).transpose()?;
    message.get("apns").map(check_apns).transpose()?;
    for key in ["webpush", "fcm_options"] {
        message.get(key).map(|value| object(value, key)).transpose()?;
    }
    Ok(())
}

/// Answers the size of keys and values.
fn check_data(data: &Value) -> Result<usize, Violation> {
    let mut size = 0;
    for (index, (key, value)) in object(data, "message.data")?.iter().enumerate() {
        let Some(text) = value.as_str() else {
            return wrong(&format!("message.data[{index}].value"), "Invalid value (TYPE_STRING)");
        };
        let is_reserved = matches!(key.as_str(), "from" | "message_type" | "gcm")
            || key.starts_with("google")
            || key.starts_with("gcm.");
        if is_reserved || key.is_empty() {
            return wrong("message.data", "Invalid data payload key");
        }
        size += key.len() + text.len();
    }
    Ok(size)
}

fn check_android(android: &Value) -> Result<(), Violation> {
    let android = object(android, "message.android")?;
    only(android, "message.android", &ANDROID_KEYS)?;
    if let Some(priority) = android.get("priority")
        && !matches!(priority.as_str(), Some("high" | "normal" | "HIGH" | "NORMAL"))
    {
        return wrong("message.android.priority", "Invalid value (TYPE_ENUM)");
    }
    if let Some(ttl) = android.get("ttl")
        && !ttl.as_str().is_some_and(is_ttl)
    {
        return wrong("message.android.ttl", "Illegal duration format; expected seconds and an s");
    }
    if android.get("collapse_key").is_some_and(|key| key.as_str().is_none_or(str::is_empty)) {
        return wrong("message.android.collapse_key", "Invalid value (TYPE_STRING)");
    }
    if let Some(notification) = android.get("notification") {
        object(notification, "message.android.notification")?;
    }
    Ok(())
}

/// Whole or decimal seconds with an `s`.
fn is_ttl(text: &str) -> bool {
    let Some(number) = text.strip_suffix('s') else { return false };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole)
        && digits(fraction)
        && fraction.len() <= 9
        && whole.parse().is_ok_and(|seconds: u64| seconds <= MAX_TTL)
}

fn check_apns(apns: &Value) -> Result<(), Violation> {
    let apns = object(apns, "message.apns")?;
    only(apns, "message.apns", &["headers", "payload", "fcm_options", "live_activity_token"])?;
    if let Some(headers) = apns.get("headers")
        && !object(headers, "message.apns.headers")?.values().all(Value::is_string)
    {
        return wrong("message.apns.headers", "Invalid value (TYPE_STRING)");
    }
    if let Some(payload) = apns.get("payload")
        && let Some(aps) = object(payload, "message.apns.payload")?.get("aps")
    {
        object(aps, "message.apns.payload.aps")?;
    }
    Ok(())
}

fn object<'a>(value: &'a Value, field: &str) -> Result<&'a Map<String, Value>, Violation> {
    value.as_object().ok_or_else(|| (field.to_owned(), String::from("Invalid value (Map)")))
}

fn only(object: &Map<String, Value>, field: &str, keys: &[&str]) -> Result<(), Violation> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => {
            wrong(field, &format!("Invalid JSON payload received. Unknown name \"{key}\": Cannot find field."))
        }
        None => Ok(()),
    }
}

fn wrong<T>(field: &str, text: &str) -> Result<T, Violation> {
    Err((field.to_owned(), text.to_owned()))
}
