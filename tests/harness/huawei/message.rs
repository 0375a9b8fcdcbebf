//! What Push Kit asks of a message, version by version.
//!
//! Invariant: what the documentation does not name is refused.

use serde_json::{Map, Value};

use super::Request;

/// The limit for a message without its tokens, in bytes.
const MAX_SIZE: usize = 4096;
/// The longest time that a message is stored, in seconds.
const MAX_TTL: u64 = 1_296_000;

/// The code of Push Kit, and what is wrong.
pub(super) type Violation = (&'static str, String);

/// The first token of a message.
pub(super) fn pushkey(request: &Request) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).ok()?;
    let tokens = body.pointer("/target/token").or(body.pointer("/message/token"))?;
    tokens.get(0)?.as_str().map(str::to_owned)
}

/// Checks a message of version 3.
pub(super) fn check_v3(request: &Request) -> Result<(), Violation> {
    if request.header("content-type") != Some("application/json") {
        return wrong("Content-Type");
    }
    let body = parse(request, "/target/token")?;
    only(&body, &["payload", "target", "pushOptions"])?;
    only(object(body.get("target"), "target")?, &["token"])?;
    let payload = object(body.get("payload"), "payload")?;
    only(payload, &["notification", "extraData"])?;
    let push_type = request.header("push-type").unwrap_or_default();
    let (has_data, has_notification) = match push_type {
        "0" => (false, true),
        "2" => (true, true),
        "6" | "10" => (true, false),
        _ => return wrong("push-type"),
    };
    if payload.contains_key("extraData") != has_data || payload.contains_key("notification") != has_notification {
        return wrong("payload");
    }
    if has_data {
        is_json_text(&payload["extraData"], "extraData")?;
    }
    let is_badge_alone = has_notification && check_notification(&payload["notification"])?;
    let Some(options) = body.get("pushOptions") else {
        return if is_badge_alone { Ok(()) } else { wrong("pushOptions") };
    };
    let options = object(Some(options), "pushOptions")?;
    only(options, &["ttl", "collapseKey"])?;
    let ttl = options.get("ttl").and_then(Value::as_u64).unwrap_or_default();
    let allowed = if push_type == "10" { 30..=60 } else { 1..=MAX_TTL };
    if !allowed.contains(&ttl) {
        return wrong("ttl");
    }
    match options.get("collapseKey") {
        Some(_) if !has_notification => wrong("collapseKey"),
        Some(key) if !is_collapse_key(key) => wrong("collapseKey"),
        _ => Ok(()),
    }
}

/// Checks what the system shows; returns whether it is a badge alone.
fn check_notification(notification: &Value) -> Result<bool, Violation> {
    let notification = object(Some(notification), "notification")?;
    let optional = ["badge", "foregroundShow", "notifyId", "appMessageId", "profileId"];
    only(notification, &[&["category", "title", "body", "clickAction"], &optional[..]].concat())?;
    if notification.get("notifyId").is_some_and(|id| id.as_u64().is_none_or(|id| id > i32::MAX.unsigned_abs().into())) {
        return wrong("notifyId");
    }
    for key in ["appMessageId", "profileId"] {
        if notification.get(key).is_some_and(|id| id.as_str().is_none_or(str::is_empty)) {
            return wrong(key);
        }
    }
    if let Some(badge) = notification.get("badge") {
        only(object(Some(badge), "badge")?, &["setNum"])?;
        if badge["setNum"].as_u64().is_none() {
            return wrong("setNum");
        }
        if notification.len() == 1 {
            return Ok(true);
        }
    }
    for key in ["category", "title", "body"] {
        if notification.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            return wrong(key);
        }
    }
    let click = object(notification.get("clickAction"), "clickAction")?;
    only(click, &["actionType", "action", "uri", "data"])?;
    object(click.get("data"), "clickAction.data")?;
    let has_page = click.contains_key("action") || click.contains_key("uri");
    match click.get("actionType").and_then(Value::as_u64) {
        Some(0) if !has_page => Ok(false),
        Some(1) if has_page => Ok(false),
        _ => wrong("actionType"),
    }
}

/// Checks a message of version 1.
pub(super) fn check_v1(request: &Request) -> Result<(), Violation> {
    if request.header("content-type") != Some("application/json; charset=UTF-8") {
        return wrong("Content-Type");
    }
    if request.header("push-type").is_some() {
        return wrong("push-type");
    }
    let body = parse(request, "/message/token")?;
    only(&body, &["validate_only", "message"])?;
    if body.get("validate_only") != Some(&Value::Bool(false)) {
        return wrong("validate_only");
    }
    let message = object(body.get("message"), "message")?;
    only(message, &["data", "android", "token"])?;
    is_json_text(message.get("data").unwrap_or(&Value::Null), "data")?;
    let android = object(message.get("android"), "android")?;
    only(android, &["urgency", "ttl", "collapse_key", "notification"])?;
    if !matches!(android.get("urgency").and_then(Value::as_str), Some("HIGH" | "NORMAL")) {
        return wrong("urgency");
    }
    let ttl = android.get("ttl").and_then(Value::as_str).and_then(|ttl| ttl.strip_suffix('s')?.parse().ok());
    if !ttl.is_some_and(|ttl: u64| (1..=MAX_TTL).contains(&ttl)) {
        return wrong("ttl");
    }
    if !android.get("collapse_key").is_some_and(is_collapse_key) {
        return wrong("collapse_key");
    }
    let Some(notification) = android.get("notification") else { return Ok(()) };
    let notification = object(Some(notification), "notification")?;
    only(notification, &["title", "body", "click_action", "badge"])?;
    for key in ["title", "body"] {
        if notification.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            return wrong(key);
        }
    }
    if notification.get("click_action").and_then(|action| action.get("type")).and_then(Value::as_u64) != Some(3) {
        return wrong("click_action");
    }
    let Some(badge) = notification.get("badge") else { return Ok(()) };
    let has_class = badge["class"].as_str().is_some_and(|class| !class.is_empty());
    let has_number = badge["set_num"].as_u64().is_some_and(|number| number < 100);
    if has_class && has_number { Ok(()) } else { wrong("badge") }
}

/// The message, whose tokens are at `tokens`: one of them, and in all not too much besides.
fn parse(request: &Request, tokens: &str) -> Result<Map<String, Value>, Violation> {
    let body: Value = serde_json::from_slice(&request.body).map_err(|_| violation("JSON"))?;
    let list = body.pointer(tokens).and_then(Value::as_array).ok_or_else(|| violation("token"))?;
    let [token] = list.as_slice() else { return Err(("80300010", "one token".to_owned())) };
    if !token.as_str().is_some_and(|token| !token.is_empty() && token.is_ascii()) {
        return wrong("token");
    }
    if request.body.len() - token.to_string().len() > MAX_SIZE {
        return Err(("80300008", "The message body size exceeds the default value".to_owned()));
    }
    object(Some(&body), "body").cloned()
}

fn is_json_text(value: &Value, name: &str) -> Result<(), Violation> {
    let is_json = value.as_str().is_some_and(|text| serde_json::from_str::<Map<String, Value>>(text).is_ok());
    if is_json { Ok(()) } else { wrong(name) }
}

fn is_collapse_key(value: &Value) -> bool {
    value.as_i64().is_some_and(|key| (-1..=100).contains(&key))
}

fn object<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a Map<String, Value>, Violation> {
    value.and_then(Value::as_object).ok_or_else(|| violation(name))
}

fn only(object: &Map<String, Value>, keys: &[&str]) -> Result<(), Violation> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => wrong(key),
        None => Ok(()),
    }
}

fn wrong<T>(name: &str) -> Result<T, Violation> {
    Err(violation(name))
}

fn violation(name: &str) -> Violation {
    ("80100003", format!("Illegal payload: {name}"))
}
