//! Fingerprints of lookup digests: 64 bits, by which one account's lookups of a day are distinguished.
//!
//! Invariant: a client cannot choose entries whose fingerprints are equal or close, because it does not know the key.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::domain::lookup_hash::LookupDigest;

/// The key of one day.
pub(super) struct FingerprintKey([u64; 2]);

impl FingerprintKey {
    pub(super) fn new(bytes: [u8; 16]) -> Self {
        Self([word(&bytes, 0), word(&bytes, 8)])
    }

    /// The fingerprint of a digest. The first half of a digest suffices to distinguish addresses.
    pub(super) fn fingerprint(&self, digest: &LookupDigest) -> u64 {
        let Self([first, second]) = self;
        let bytes = digest.as_bytes();
        let product = u128::from(word(bytes, 0) ^ first) * u128::from(word(bytes, 8) ^ second);
        (product >> 64) as u64 ^ product as u64
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// Fingerprints, which need no further hashing.
pub(super) type Fingerprints = HashSet<u64, BuildHasherDefault<AsIs>>;

/// The hash of a fingerprint is the fingerprint.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }
}

#[cfg(test)]
mod tests {
    use super::{FingerprintKey, Fingerprints};
    use crate::domain::lookup_hash::LookupDigest;

    #[test]
    fn digests_that_differ_in_a_few_bits_have_different_fingerprints_under_each_key() {
        let mut all = Fingerprints::default();
        for key in [*b"0123456789abcdef", 0x9103_f75c_2aee_44b1_0d6a_83d9_37c2_58fb_u128.to_be_bytes()] {
            let key = FingerprintKey::new(key);
            for n in 0..10_000_u128 {
                for shift in [0, 60, 112] {
                    let mut bytes = [0; 32];
                    bytes[..16].copy_from_slice(&((n + 1) << shift).to_le_bytes());
                    all.insert(key.fingerprint(&LookupDigest::from_bytes(bytes)));
                }
            }
        }
        assert_eq!(all.len(), 60_000);
        // The table is indexed by the low bits: they are as evenly distributed as random ones.
        let mut buckets = [0; 256];
        for fingerprint in &all {
            buckets[(fingerprint % 256) as usize] += 1;
        }
        assert!(buckets.iter().all(|&n| (150..330).contains(&n)), "{buckets:?}");
    }
}
