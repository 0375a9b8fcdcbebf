//! Shrinks a payload: first drops the app's own members, the largest first, then cuts the texts.
//!
//! Invariant: the time is linear in the size of the payload: lengths are updated and never counted again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use serde_json::Value;

use super::json::{Node, Object, length, letter_length};

/// The room that members of the app leave for texts, in bytes.
const ROOM_FOR_TEXTS: usize = 256;

/// The result of shrinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It fits unchanged.
    Whole,
    /// A part was dropped or cut.
    Cut,
    /// The required parts alone are too large.
    TooLarge,
}

/// Shrinks `object` to at most `limit` bytes.
pub(super) fn fit(object: &mut Object, limit: usize) -> Fit {
    let total = object.length();
    if total <= limit {
        return Fit::Whole;
    }
    let without_texts = total - texts(object).map(|text| length(text) - 2).sum::<usize>();
    let base = drop_members(object, without_texts, limit.saturating_sub(ROOM_FOR_TEXTS));
    let keep = {
        let texts: Vec<&str> = texts(object).collect();
        let total = base + texts.iter().map(|text| length(*text) - 2).sum::<usize>();
        let Some(keep) = cut_texts(&texts, total, limit) else { return Fit::TooLarge };
        keep
    };
    for (text, length) in texts_mut(object).zip(keep) {
        text.truncate(length);
    }
    Fit::Cut
}

/// Drops members until the rest, of `length` bytes, is at most `limit`; returns the new length.
fn drop_members(object: &mut Object, length: usize, limit: usize) -> usize {
    let given: Vec<bool> = object.members().iter().map(|member| member.given && member.key != "aps").collect();
    let mut length = drop_largest(object, length, limit, |place, _| given[place]);
    if let Some(Node::Object(aps)) = object.node_mut("aps") {
        length = drop_largest(aps, length, limit, |_, key| !matches!(key, "alert" | "badge"));
        if let Some(Node::Object(alert)) = aps.node_mut("alert") {
            length = drop_largest(alert, length, limit, |_, key| !matches!(key, "loc-key" | "loc-args" | "body"));
        }
    }
    if length > limit && object.node("aps").is_some() {
        // Its texts are dropped with it: the length is that of the rest.
        object.take("aps");
        length = object.length();
    }
    length
}

fn drop_largest(object: &mut Object, mut length: usize, limit: usize, may_go: impl Fn(usize, &str) -> bool) -> usize {
    if length <= limit {
        return length;
    }
    let members = object.members().iter().enumerate();
    let mut candidates: Vec<(usize, usize, usize)> = members
        .filter(|(place, member)| may_go(*place, &member.key))
        .map(|(place, member)| (super::json::length(&member.value), place, member.length()))
        .collect();
    candidates.sort_by_key(|(value, place, _)| (Reverse(*value), *place));
    let mut left = object.members().len();
    let mut gone = vec![false; left];
    for (_, place, member) in candidates {
        if length <= limit {
            break;
        }
        // The last member has no ", ".
        length -= member + if left > 1 { 2 } else { 0 };
        left -= 1;
        gone[place] = true;
    }
    object.retain(|place| !gone[place]);
    length
}

/// The length of each text after the longest (the first of several) is shortened by one character, repeatedly, until
/// `total` is at most `limit`; `None` if that is impossible.
fn cut_texts(texts: &[&str], mut total: usize, limit: usize) -> Option<Vec<usize>> {
    let mut keep: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    let mut longest: BinaryHeap<(usize, Reverse<usize>)> = keep
        .iter()
        .enumerate()
        .filter(|(_, length)| **length > 0)
        .map(|(place, &length)| (length, Reverse(place)))
        .collect();
    while total > limit {
        let (_, Reverse(place)) = longest.pop()?;
        let mut letters = texts[place][..keep[place]].chars();
        let next = longest.peek();
        // The heap is needed only when it is no longer the longest.
        while total > limit && next.is_none_or(|next| (keep[place], Reverse(place)) > *next) {
            let Some(letter) = letters.next_back() else { break };
            keep[place] -= letter.len_utf8();
            total -= letter_length(letter);
        }
        if keep[place] > 0 {
            longest.push((keep[place], Reverse(place)));
        }
    }
    Some(keep)
}

/// The texts that may be cut: an alert that is a text, else its body and the arguments of its translation.
fn texts(object: &Object) -> impl Iterator<Item = &str> {
    let alert = match object.node("aps") {
        Some(Node::Object(aps)) => aps.node("alert"),
        _ => None,
    };
    let (whole, members) = match alert {
        Some(Node::Value(Value::String(text))) => (Some(text), None),
        Some(Node::Object(members)) => (None, Some(members)),
        _ => (None, None),
    };
    let member = |key| match members?.node(key)? {
        Node::Value(value) => Some(value),
        Node::Object(_) => None,
    };
    let args = member("loc-args").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    whole.map(String::as_str).into_iter().chain(member("body").and_then(Value::as_str)).chain(args)
}

/// As [`texts`], in the same order.
fn texts_mut(object: &mut Object) -> impl Iterator<Item = &mut String> {
    let alert = match object.node_mut("aps") {
        Some(Node::Object(aps)) => aps.node_mut("alert"),
        _ => None,
    };
    let mut found = Vec::new();
    match alert {
        Some(Node::Value(Value::String(text))) => found.push(text),
        Some(Node::Object(members)) => {
            let (mut body, mut args) = (None, None);
            for (key, value) in members.values_mut() {
                match (key, value) {
                    ("body", Value::String(text)) => body = Some(text),
                    ("loc-args", Value::Array(values)) => args = Some(values),
                    _ => {}
                }
            }
            found.extend(body);
            found.extend(args.into_iter().flatten().filter_map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            }));
        }
        _ => {}
    }
    found.into_iter()
}

#[cfg(test)]
mod tests;
