//! A bounded cache of two generations.
//!
//! Invariant: it holds at most `capacity` entries, and always the newest half of them.

use super::device_key::{ByDeviceKey, DeviceKey};

/// When the young generation reaches half of the capacity it becomes the old one, and the old one is dropped. This needs a
/// fraction of the memory of a list in order of use.
pub(crate) struct TwoGenerationCache<V> {
    young: ByDeviceKey<V>,
    old: ByDeviceKey<V>,
    half: usize,
}

impl<V: Copy> TwoGenerationCache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: ByDeviceKey::default(), old: ByDeviceKey::default(), half: (capacity / 2).max(1) }
    }

    pub(crate) fn find(&self, key: DeviceKey) -> Option<V> {
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(crate) fn insert(&mut self, key: DeviceKey, value: V) {
        if self.young.len() >= self.half {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}
