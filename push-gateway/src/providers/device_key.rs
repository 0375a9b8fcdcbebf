//! Keyed hashes that identify devices and deliveries in memory.
//!
//! Invariant: no cache holds a pushkey; each process has keys of its own.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use aws_lc_rs::hmac;
use sha2::{Digest, Sha256};
use shared::random::Random;

/// A keyed 128-bit hash of what identifies a delivery or a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 16]);

/// Something for each fingerprint. They are keyed hashes themselves, which nobody outside can choose: a map needs no
/// other.
pub(crate) type ByFingerprint<V> = HashMap<Fingerprint, V, BuildHasherDefault<AsItIs>>;

/// Takes a part of a fingerprint for its hash.
#[derive(Default)]
pub(crate) struct AsItIs(u64);

/// Makes fingerprints with keys of this process.
#[derive(Clone)]
pub(crate) struct Fingerprints {
    key: [u8; 32],
    names: hmac::Key,
}

impl Fingerprints {
    /// With new keys.
    pub(crate) fn new(random: Random) -> Self {
        Self { key: random.bytes(), names: hmac::Key::new(hmac::HMAC_SHA256, &random.bytes::<32>()) }
    }

    /// Of texts in this order; no two different lists have the same one.
    pub(crate) fn of(&self, parts: &[&str]) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.key);
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&digest[..16]);
        Fingerprint(fingerprint)
    }

    /// Eight hexadecimal digits by which logs name a device.
    pub(crate) fn name(&self, pushkey: &str) -> String {
        hmac::sign(&self.names, pushkey.as_bytes()).as_ref()[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, part: u64) {
        self.0 = part;
    }
}

#[cfg(test)]
mod tests {
    use shared::random::Random;

    use super::Fingerprints;

    #[test]
    fn the_order_and_the_borders_of_the_parts_matter() {
        let prints = Fingerprints::new(Random);
        assert_ne!(prints.of(&["ab", "c"]), prints.of(&["a", "bc"]));
        assert_ne!(Fingerprints::new(Random).of(&["a"]), prints.of(&["a"]));
        let name = prints.name("key");
        assert!(name.len() == 8 && name == prints.name("key") && name != prints.name("other"), "{name}");
        assert_ne!(Fingerprints::new(Random).name("key"), name);
    }
}
