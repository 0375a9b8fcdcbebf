//! Parses the body of `POST /_matrix/push/v1/notify`.
//! <https://spec.matrix.org/v1.19/push-gateway-api/#post_matrixpushv1notify>
//!
//! Invariant: an invalid field of the homeserver is an error with its JSON path; an invalid field of room members, push rules
//! or the user counts as missing, because an error would let anyone block a pusher. No error contains a value.

use std::num::IntErrorKind;

use serde_json::{Map, Value};

use super::raw::{MAX_DEPTH, Members, Raw, Type};
use super::{Counts, Device, Encrypted, Kind, MAX_COUNT, Notification, Priority};

/// The members of `data` with which a device asks for no counts (MSC4076).
const DISABLE_BADGE_COUNT: [&str; 2] = ["org.matrix.msc4076.disable_badge_count", "disable_badge_count"];

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) notification: Notification,
    /// At least one.
    pub(crate) devices: Vec<Device>,
}

/// Why a body is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// Syntax, UTF-8, a lone surrogate, a number out of range, or nesting over 64 levels.
    #[error("{0}")]
    NotJson(&'static str),
    /// JSON of another shape: the path of the value, and the expected kind.
    #[error("{path}: expected {expected}")]
    Shape {
        /// Such as `notification.devices[0].pushkey`.
        path: String,
        /// Such as `a string`.
        expected: String,
    },
}

impl ParseError {
    fn shape(path: impl Into<String>, expected: impl Into<String>) -> Self {
        Self::Shape { path: path.into(), expected: expected.into() }
    }

    const TOO_DEEP: Self = Self::NotJson("the JSON is nested too deeply");
    const BAD_TEXT: Self = Self::NotJson("a string is not valid Unicode");
    const BAD_NUMBER: Self = Self::NotJson("a number is out of range");
}

/// Parses `body`, which may contain `max_devices` devices.
///
/// # Errors
/// [`ParseError`] for an invalid field of the homeserver.
#[cfg(test)]
pub(crate) fn parse(body: &[u8], max_devices: usize) -> Result<Request, ParseError> {
    parse_forwarding(body, max_devices, |_| false)
}

/// The same; keeps the members as received if one of the devices `is_forwarded`, or has a URL as its pushkey.
///
/// # Errors
/// [`ParseError`] for an invalid field of the homeserver.
pub(crate) fn parse_forwarding(
    body: &[u8],
    max_devices: usize,
    is_forwarded: impl Fn(&Device) -> bool,
) -> Result<Request, ParseError> {
    let text = std::str::from_utf8(body).map_err(|_| ParseError::NotJson("the body is not valid UTF-8"))?;
    let notification = match Members::parse_both(text, "notification") {
        Some((body, notification)) => {
            check_depth(&body, 1, &[])?;
            notification
        }
        // Parsing step by step finds the problem.
        None => {
            let body = Raw::parse(text).ok_or(ParseError::NotJson("the body is not valid JSON"))?;
            let body = members(body, "", "the body", 0)?;
            check_depth(&body, 1, &["notification"])?;
            let notification =
                body.find("notification").ok_or_else(|| ParseError::shape("notification", "an object"))?;
            members(notification, "", "notification", 1)?
        }
    };
    check_depth(&notification, 2, &["devices", "content"])?;
    let devices = parse_devices(&notification, max_devices)?;
    let mut parsed = parse_notification(&notification)?;
    if devices.iter().any(|device| is_url(&device.pushkey) || is_forwarded(device)) {
        parsed.received = Some(received(notification));
    }
    Ok(Request { notification: parsed, devices })
}

/// Whether a pushkey has the form of a URL that UnifiedPush could send to.
fn is_url(pushkey: &str) -> bool {
    pushkey.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http"))
}

/// The members as received, without `devices` and without content that is nested too deeply.
fn received(notification: Members<'_>) -> Map<String, Value> {
    let is_too_deep = notification.find("content").is_some_and(|content| content.is_deeper_than(MAX_DEPTH));
    let without: &[&str] = if is_too_deep { &["devices", "content"] } else { &["devices"] };
    notification.without(without).into_object()
}

fn parse_devices(notification: &Members<'_>, max_devices: usize) -> Result<Vec<Device>, ParseError> {
    const PATH: &str = "notification.devices";
    let path = |index: usize| format!("{PATH}[{index}]");
    let objects = notification.find("devices").and_then(Raw::objects);
    if let Some(objects) = objects.filter(|objects| (1..=max_devices).contains(&objects.len())) {
        return objects.into_iter().enumerate().map(|(i, device)| parse_device(&device, &path(i))).collect();
    }
    // Parsing step by step finds the problem.
    let list = notification.find("devices").and_then(Raw::items).filter(|devices| !devices.is_empty());
    let Some(list) = list else {
        let too_deep = notification.find("devices").is_some_and(|devices| devices.is_deeper_than(MAX_DEPTH - 2));
        return Err(if too_deep { ParseError::TOO_DEEP } else { ParseError::shape(PATH, "a list of devices") });
    };
    if list.len() > max_devices {
        return Err(ParseError::shape(PATH, format!("at most {max_devices} devices")));
    }
    let device = |(i, device): (usize, Raw<'_>)| parse_device(&members(device, "", &path(i), 3)?, &path(i));
    list.into_iter().enumerate().map(device).collect()
}

fn parse_device(device: &Members<'_>, path: &str) -> Result<Device, ParseError> {
    check_depth(device, 4, &["data"])?;
    let required = |name: &str| string(device, path, name)?.ok_or_else(|| wrong(path, name, "a string"));
    let data = match device.find("data") {
        Some(data) => {
            let members = members(data, path, "data", 4)?;
            check_depth(&members, 5, &["default_payload"])?;
            // The default payload may be as deep as a payload.
            if members.iter().any(|(_, raw)| raw.is_deeper_than(MAX_DEPTH)) {
                return Err(ParseError::TOO_DEEP);
            }
            members.into_object()
        }
        None => Map::new(),
    };
    Ok(Device {
        app_id: required("app_id")?,
        pushkey: required("pushkey")?,
        pushkey_ts: device.find("pushkey_ts").map(|raw| seconds(raw, path)).transpose()?,
        counts_disabled: DISABLE_BADGE_COUNT.iter().any(|name| data.get(*name) == Some(&true.into())),
        tweaks: device.find("tweaks").and_then(Raw::object).unwrap_or_default(),
        data,
    })
}

fn parse_notification(notification: &Members<'_>) -> Result<Notification, ParseError> {
    const PATH: &str = "notification";
    let id = |name: &str| Ok(string(notification, PATH, name)?.filter(|id| !id.is_empty()));
    let (event_id, room_id, event_type) = (id("event_id")?, id("room_id")?, id("type")?);
    let counts = notification.find("counts").map(parse_counts).transpose()?;

    let text = |name: &str| notification.find(name).and_then(Raw::text);
    let display = |name: &str| text(name).filter(|text| !text.is_empty());
    let content = notification.find("content").filter(|content| !content.is_deeper_than(MAX_DEPTH));
    let content = content.and_then(Raw::object);
    let encrypted =
        text("ciphertext").map(|ciphertext| Encrypted { ciphertext, ephemeral: text("ephemeral"), mac: text("mac") });
    let membership = display("membership").or_else(|| {
        let in_content = content.as_ref().filter(|_| event_type.as_deref() == Some("m.room.member"));
        let membership = in_content.and_then(|content| content.get("membership")).and_then(|value| value.as_str());
        membership.filter(|membership| !membership.is_empty()).map(str::to_owned)
    });
    Ok(Notification {
        kind: match (&encrypted, &event_type, &event_id) {
            (Some(_), _, _) => Kind::Encrypted,
            (None, Some(_), _) => Kind::Full,
            (None, None, Some(_)) => Kind::Ids,
            (None, None, None) => Kind::Badge,
        },
        sender: display("sender"),
        sender_display_name: display("sender_display_name"),
        room_name: display("room_name"),
        room_alias: display("room_alias"),
        membership,
        user_is_target: notification.find("user_is_target").and_then(Raw::bool),
        priority: if text("prio").as_deref() == Some("low") { Priority::Low } else { Priority::High },
        event_id,
        room_id,
        event_type,
        counts,
        content,
        encrypted,
        received: None,
        relayed: None,
    })
}

fn parse_counts(counts: Raw<'_>) -> Result<Counts, ParseError> {
    const PATH: &str = "notification.counts";
    let counts = counts.members().ok_or_else(|| ParseError::shape(PATH, "an object"))?;
    let count = |name: &str| counts.find(name).map(|raw| parse_count(raw, &format!("{PATH}.{name}"))).transpose();
    Ok(Counts { unread: count("unread")?, missed_calls: count("missed_calls")? })
}

/// An integer of any size, clamped to `0..=MAX_COUNT`.
fn parse_count(raw: Raw<'_>, path: &str) -> Result<u32, ParseError> {
    let digits = raw.number().ok_or_else(|| ParseError::shape(path, "an integer"))?;
    match digits.parse::<i64>() {
        Ok(count) => Ok(u32::try_from(count.max(0)).unwrap_or(MAX_COUNT).min(MAX_COUNT)),
        Err(error) => match error.kind() {
            IntErrorKind::PosOverflow => Ok(MAX_COUNT),
            IntErrorKind::NegOverflow => Ok(0),
            _ if digits.parse::<f64>().is_ok_and(f64::is_finite) => Err(ParseError::shape(path, "an integer")),
            _ => Err(ParseError::BAD_NUMBER),
        },
    }
}

/// Whole seconds: truncates a fraction, and saturates at the range of 64 bits.
fn seconds(raw: Raw<'_>, path: &str) -> Result<i64, ParseError> {
    /// Above this it is in milliseconds, as older homeservers send it: in seconds it would be the year 5138.
    const LATEST: i64 = 100_000_000_000;
    let is_milliseconds = |number: i64| number > LATEST && number <= LATEST * 1000;
    let seconds = |number: i64| if is_milliseconds(number) { number / 1000 } else { number };
    let digits = raw.number().ok_or_else(|| wrong(path, "pushkey_ts", "a number"))?;
    if let Ok(number) = digits.parse() {
        return Ok(seconds(number));
    }
    let number = digits.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or(ParseError::BAD_NUMBER)?;
    #[expect(clippy::cast_possible_truncation, reason = "truncates and saturates on purpose")]
    Ok(seconds(number as i64))
}

/// The members of the object at `name`, at this depth.
fn members<'a>(raw: Raw<'a>, path: &str, name: &str, depth: usize) -> Result<Members<'a>, ParseError> {
    raw.members().ok_or_else(|| match raw.kind() {
        Type::Object => ParseError::BAD_TEXT,
        Type::Text if raw.value().is_none() => ParseError::BAD_TEXT,
        Type::Number if raw.value().is_none() => ParseError::BAD_NUMBER,
        _ if raw.is_deeper_than(MAX_DEPTH - depth) => ParseError::TOO_DEEP,
        _ if path.is_empty() => ParseError::shape(name, "an object"),
        _ => wrong(path, name, "an object"),
    })
}

/// A text of the homeserver; `None` if it is missing.
fn string(members: &Members<'_>, path: &str, name: &str) -> Result<Option<String>, ParseError> {
    let Some(raw) = members.find(name) else { return Ok(None) };
    if raw.kind() != Type::Text {
        return Err(wrong(path, name, "a string"));
    }
    raw.text().map(Some).ok_or(ParseError::BAD_TEXT)
}

/// Checks that members at this depth, except those that are checked later, stay within [`MAX_DEPTH`].
fn check_depth(members: &Members<'_>, depth: usize, later: &[&str]) -> Result<(), ParseError> {
    let too_deep = |(name, raw): (&str, Raw<'_>)| !later.contains(&name) && raw.is_deeper_than(MAX_DEPTH - depth);
    if members.iter().any(too_deep) { Err(ParseError::TOO_DEEP) } else { Ok(()) }
}

fn wrong(path: &str, name: &str, expected: &str) -> ParseError {
    ParseError::shape(format!("{path}.{name}"), expected)
}

#[cfg(test)]
mod tests;
