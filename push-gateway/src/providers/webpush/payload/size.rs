//! How many bytes JSON takes.
//!
//! Invariant: equal to the length of the text that serde_json writes.

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::notification::fit::{Droppable, may_stay};

/// Counts the bytes that are written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of `value` as JSON.
pub(super) fn size(value: &(impl Serialize + ?Sized)) -> usize {
    let mut counter = Counter(0);
    // Values, maps with string keys, and strings always serialize.
    drop(serde_json::to_writer(&mut counter, value));
    counter.0
}

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
