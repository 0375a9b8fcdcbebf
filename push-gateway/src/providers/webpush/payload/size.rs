//! What the members of an object take in JSON, and which of them may stay.

use serde_json::{Map, Value};

use crate::notification::fit::{Droppable, may_stay};
use crate::providers::json_size::json_size as size;

/// The members whose keys are not in `kept`, each with its colon and comma.
pub(super) fn droppable<'a>(members: &'a Map<String, Value>, kept: &[&str]) -> Vec<Droppable<'a>> {
    let others = members.iter().filter(|(key, _)| !kept.contains(&key.as_str()));
    others.map(|(key, value)| Droppable { key, bytes: size(key) + size(value) + 2 }).collect()
}

/// Removes members, other than those in `kept`, that cannot stay within `limit` bytes; returns whether there were any.
pub(super) fn remove_surplus(members: &mut Map<String, Value>, kept: &[&str], limit: usize) -> bool {
    let surplus: Vec<String> = {
        let others = droppable(members, kept);
        let sizes: Vec<usize> = others.iter().map(|other| other.bytes).collect();
        let stays = may_stay(&sizes, limit);
        others.iter().zip(stays).filter(|(_, stays)| !stays).map(|(other, _)| other.key.to_owned()).collect()
    };
    for key in &surplus {
        members.remove(key);
    }
    !surplus.is_empty()
}
