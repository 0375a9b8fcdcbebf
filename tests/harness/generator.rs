//! A seeded generator for tests that generate their input.
//!
//! Invariant: the same seed gives the same input; `GATEHOUSE_SEED=<seed>` in the environment repeats a failed run.

use shared::random::Random;

use crate::options;

/// SplitMix64 from this seed: the same numbers on every machine.
#[derive(Debug)]
pub struct Generator(pub u64);

/// The seed from `GATEHOUSE_SEED`, else a random one. A test names it when it fails.
///
/// # Panics
/// If `GATEHOUSE_SEED` is no number.
pub fn seed() -> u64 {
    let random = || u64::from_be_bytes(Random.base62(8).into_bytes().try_into().expect("eight letters"));
    options::seed().unwrap_or_else(random)
}

impl Generator {
    /// A number below `end`.
    ///
    /// # Panics
    /// If `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (end as u64)).expect("smaller than the end")
    }

    /// One of these.
    ///
    /// # Panics
    /// If `from` is empty.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// This many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.below(256)).expect("a byte")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Generator;

    #[test]
    fn a_seed_gives_the_same_numbers_and_each_number_below_the_end() {
        let numbers = |seed| {
            let mut generator = Generator(seed);
            (0..100).map(|_| generator.below(6)).collect::<Vec<_>>()
        };
        let (first, second) = (numbers(1), numbers(2));
        assert_eq!(first, numbers(1));
        assert_ne!(first, second);
        assert!((0..6).all(|number| first.contains(&number)) && first.iter().all(|number| *number < 6));
    }
}
