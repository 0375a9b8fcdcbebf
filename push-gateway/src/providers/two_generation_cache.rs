//! A bounded cache of two generations.
//!
//! Invariant: it holds at most `capacity` entries, and always the newest four tenths of that number.

use super::device_key::{ByDeviceKey, DeviceKey};

/// When the young generation reaches half of the capacity it becomes the old one, and the old one is dropped. This needs a
/// fraction of the memory of a list in order of use.
pub(crate) struct TwoGenerationCache<V> {
    young: ByDeviceKey<V>,
    old: ByDeviceKey<V>,
    half: usize,
}

/// At most `half`: fewer if a table for a few more entries would take twice the memory.
fn size_of_generation(half: usize) -> usize {
    // A table of the standard library has a power of two of places, and doubles when seven eighths are taken.
    let places = (half.max(1) * 8).div_ceil(7).next_power_of_two();
    let smaller = places / 16 * 7;
    if smaller >= half / 10 * 8 { smaller.clamp(1, half.max(1)) } else { half.max(1) }
}

impl<V: Copy> TwoGenerationCache<V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { young: ByDeviceKey::default(), old: ByDeviceKey::default(), half: size_of_generation(capacity / 2) }
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

#[cfg(test)]
mod tests {
    use super::size_of_generation;

    #[test]
    fn a_generation_just_above_a_doubling_is_made_smaller() {
        for (half, expected) in
            [(0, 1), (1, 1), (50, 50), (100_000, 100_000), (114_688, 114_688), (120_000, 114_688), (250_000, 229_376)]
        {
            assert_eq!(size_of_generation(half), expected, "{half}");
            let table = std::collections::HashMap::<u64, ()>::with_capacity(expected);
            assert!(table.capacity() < expected.max(4) * 2, "{half}");
        }
    }
}
