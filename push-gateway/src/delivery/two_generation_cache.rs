//! A bounded cache that forgets its entries by the half.
//!
//! Invariant: it holds at most `capacity` entries, and always the newest half of them.

use std::collections::HashMap;

use crate::providers::device_key::{ByFingerprint, Fingerprint};

/// Entries in two generations: when the younger one is half of the capacity it becomes the older one, which is
/// forgotten. Half as exact as a list in order of use, at a fraction of its memory.
pub(crate) struct TwoGenerationCache<V> {
    young: ByFingerprint<V>,
    old: ByFingerprint<V>,
    half: usize,
}

impl<V: Copy> TwoGenerationCache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: (capacity / 2).max(1) }
    }

    pub(crate) fn find(&self, key: Fingerprint) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    pub(crate) fn insert(&mut self, key: Fingerprint, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
