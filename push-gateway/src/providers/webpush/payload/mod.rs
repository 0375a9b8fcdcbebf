//! The payload: the JSON that an app receives, fitted into one record.
//!
//! Invariant: a payload never exceeds its limit. UnifiedPush gets the notification without its devices, a browser the
//! flat object that web clients read.

pub(super) mod browser;
mod declarative;
pub(super) mod encryption;
mod size;
pub(super) mod unified;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::notification::fit::{Parts, Plan, fit};
use crate::providers::json_size::json_size as size;
use crate::providers::outcome::Reason;

/// The limit of a body in bytes: push services accept no more, and ntfy cuts what is longer.
pub(super) const MAX_BODY: usize = 4096;

/// The reason for a payload that has only what cannot be cut.
const TOO_LARGE: Reason = "too_large";

/// A payload that fits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) json: Vec<u8>,
    /// Whether something was dropped or cut.
    pub(super) is_shortened: bool,
}

/// The whole object, with the members of `defaults` that it lacks, if that fits: nearly every payload does. `None` if it
/// has to be cut.
fn whole(
    object: &Map<String, Value>,
    defaults: Option<&Map<String, Value>>,
    envelope: Option<&str>,
    limit: usize,
) -> Option<Fitted> {
    let members: BTreeMap<_, _> = defaults.into_iter().flatten().chain(object).collect();
    let json = match envelope {
        Some(name) => serde_json::to_vec(&BTreeMap::from([(name, members)])),
        None => serde_json::to_vec(&members),
    };
    json.ok().filter(|json| json.len() <= limit).map(|json| Fitted { json, is_shortened: false })
}

/// An object that may have to be cut.
struct Draft {
    /// The members of `content` that are kept to the end.
    content_kept: &'static [&'static str],
    /// The whole object, of which the members of `defaults` may be dropped.
    object: Map<String, Value>,
    /// The members that come from the default payload.
    defaults: Map<String, Value>,
    /// The last resort.
    bare: Map<String, Value>,
    /// Whether `notification` has a title and a body that may be cut.
    is_declarative: bool,
    /// Wraps the object; the bytes that this adds, and the name.
    envelope: Option<&'static str>,
}

impl Draft {
    fn fitted(self, limit: usize) -> Result<Fitted, Reason> {
        const TEXTS: [&str; 3] = ["room_name", "room_alias", "sender_display_name"];
        let Self { content_kept, mut object, mut defaults, bare, is_declarative, envelope } = self;
        let room = limit.saturating_sub(envelope.map_or(0, |name| name.len() + 5));
        let mut is_shortened = false;
        if let Some(Value::Object(content)) = object.get_mut("content") {
            is_shortened |= size::remove_surplus(content, content_kept, room);
        }
        is_shortened |= size::remove_surplus(&mut defaults, &[], room);
        let whole = |object: &Map<String, Value>, defaults: &Map<String, Value>| {
            let between = usize::from(!object.is_empty() && !defaults.is_empty());
            size(object) + size(defaults) + between - 2
        };
        // A dropped member counts with a comma, but the last one of an object has none.
        for slack in 0..=2 {
            let content = object.get("content").and_then(Value::as_object);
            let body = content.and_then(|content| content.get("body")).and_then(Value::as_str);
            let others = TEXTS.iter().filter_map(|name| object.get(*name).and_then(Value::as_str));
            let shown = object.get("notification").filter(|_| is_declarative);
            let shown = SHOWN.iter().filter_map(|name| shown?.get(*name)?.as_str());
            let plan = fit(
                room - slack,
                Parts {
                    whole: whole(&object, &defaults),
                    content: content.map(|content| size::droppable(content, content_kept)).unwrap_or_default(),
                    default_payload: size::droppable(&defaults, &[]),
                    texts: body.into_iter().chain(others).chain(shown).collect(),
                },
                size,
            );
            if plan.is_bare {
                break;
            }
            let is_unchanged = plan == Plan::default();
            let fitted = apply(&plan, &object, &defaults, &TEXTS, is_declarative);
            if size(&fitted) <= room {
                return Ok(Fitted { json: enveloped(fitted, envelope), is_shortened: is_shortened || !is_unchanged });
            }
        }
        if size(&bare) > room {
            return Err(TOO_LARGE);
        }
        Ok(Fitted { json: enveloped(bare, envelope), is_shortened: true })
    }
}

/// The texts of a declarative message.
const SHOWN: [&str; 2] = ["title", "body"];

/// The object after the plan.
fn apply(
    plan: &Plan<'_>,
    object: &Map<String, Value>,
    defaults: &Map<String, Value>,
    texts: &[&str],
    is_declarative: bool,
) -> Map<String, Value> {
    let kept = defaults.iter().filter(|(key, _)| !plan.without_default_payload.contains(key.as_str()));
    let mut result: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
    for (key, value) in object {
        let value = match value {
            Value::String(text) if texts.contains(&key.as_str()) => plan.text(text).into_owned().into(),
            Value::Object(content) if key == "content" => {
                let kept = content.iter().filter(|(key, _)| !plan.without_content.contains(key.as_str()));
                let cut = |(key, value): (&String, &Value)| match value {
                    Value::String(text) if key == "body" => (key.clone(), plan.text(text).into_owned().into()),
                    other => (key.clone(), other.clone()),
                };
                Value::Object(kept.map(cut).collect())
            }
            Value::Object(shown) if is_declarative && key == "notification" => {
                let cut = |(key, value): (&String, &Value)| match value {
                    Value::String(text) if SHOWN.contains(&key.as_str()) => {
                        (key.clone(), plan.text(text).into_owned().into())
                    }
                    other => (key.clone(), other.clone()),
                };
                Value::Object(shown.iter().map(cut).collect())
            }
            other => other.clone(),
        };
        result.insert(key.clone(), value);
    }
    result
}

fn enveloped(object: Map<String, Value>, envelope: Option<&str>) -> Vec<u8> {
    let value = match envelope {
        Some(name) => Value::Object(Map::from_iter([(name.to_owned(), Value::Object(object))])),
        None => Value::Object(object),
    };
    // Values always serialize.
    serde_json::to_vec(&value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
