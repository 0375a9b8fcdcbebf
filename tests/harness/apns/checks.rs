//! What Apple checks in a request, and what it says when something is wrong (*Sending notification requests to APNs*,
//! *Handling notification responses from APNs*).
//!
//! Invariant: written from Apple's pages alone, without the gateway's code for the same thing; stricter than Apple where
//! Apple is lenient.

use http::HeaderMap;
use serde_json::Value;

use crate::fake::Request;

/// A status and its reason.
pub(super) type Refusal = (u16, &'static str);

/// Types of pushes and what their topics end with.
const PUSH_TYPES: [(&str, &str); 11] = [
    ("alert", ""),
    ("background", ""),
    ("voip", ".voip"),
    ("complication", ".complication"),
    ("fileprovider", ".pushkit.fileprovider"),
    ("mdm", ""),
    ("location", ".location-query"),
    ("liveactivity", ".push-type.liveactivity"),
    ("pushtotalk", ".voip-ptt"),
    ("widgets", ".push-type.widgets"),
    ("controls", ".push-type.controls"),
];

/// The device that a path names, if it has the form of one.
pub(super) fn device(request: &Request) -> Result<&str, Refusal> {
    if request.method != "POST" {
        return Err((405, "MethodNotAllowed"));
    }
    let token = request.target.strip_prefix("/3/device/").ok_or((404, "BadPath"))?;
    let is_hex = token.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
    match token.len() {
        0 => Err((400, "MissingDeviceToken")),
        64..=200 if is_hex && token.len().is_multiple_of(2) => Ok(token),
        _ => Err((400, "BadDeviceToken")),
    }
}

/// Everything in the header but `authorization`.
pub(super) fn headers(headers: &HeaderMap, topics: &[String]) -> Result<(), Refusal> {
    if headers.keys().any(|name| headers.get_all(name).iter().count() > 1) {
        return Err((400, "DuplicateHeaders"));
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let topic = text("apns-topic").ok_or((400, "MissingTopic"))?;
    let push_type = text("apns-push-type").ok_or((400, "InvalidPushType"))?;
    let (_, ending) = PUSH_TYPES.iter().find(|(name, _)| *name == push_type).ok_or((400, "InvalidPushType"))?;
    let special = PUSH_TYPES.iter().any(|(_, ending)| !ending.is_empty() && topic.ends_with(ending));
    if !topic.ends_with(ending) || (ending.is_empty() && special) {
        return Err((400, "BadTopic"));
    }
    let bundle = topic.strip_suffix(ending).unwrap_or(topic);
    if !topics.is_empty() && !topics.iter().any(|allowed| allowed == bundle) {
        return Err((400, "TopicDisallowed"));
    }
    let priorities: &[&str] = if push_type == "background" { &["5", "1"] } else { &["10", "5", "1"] };
    if text("apns-priority").is_some_and(|priority| !priorities.contains(&priority)) {
        return Err((400, "BadPriority"));
    }
    let is_number = |text: &str| (1..=19).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if text("apns-expiration").is_some_and(|expiration| !is_number(expiration)) {
        return Err((400, "BadExpirationDate"));
    }
    if text("apns-collapse-id").is_some_and(|id| id.is_empty() || id.len() > 64) {
        return Err((400, "BadCollapseId"));
    }
    if text("apns-id").is_some_and(|id| !is_uuid(id)) {
        return Err((400, "BadMessageId"));
    }
    Ok(())
}

/// The payload.
pub(super) fn body(body: &[u8], headers: &HeaderMap) -> Result<(), Refusal> {
    let voip = headers.get("apns-push-type").is_some_and(|value| value == "voip");
    if body.len() > if voip { 5120 } else { 4096 } {
        return Err((413, "PayloadTooLarge"));
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) if members.get("aps").is_none_or(Value::is_object) => Ok(()),
        _ => Err((400, "PayloadEmpty")),
    }
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.iter().map(|part| part.len()).eq([8, 4, 4, 4, 12])
        && parts.iter().all(|part| part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
}
