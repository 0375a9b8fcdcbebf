//! Dice for tests that make up their input.
//!
//! Invariant: the same seed gives the same input; `HOSTILE_SEED=<seed>` in the environment repeats a failed run.

use shared::random::Random;

/// SplitMix64 from this seed: small, and the same everywhere.
#[derive(Debug)]
pub struct Dice(pub u64);

/// A new seed, or the one that is asked for. Whoever uses it tells it when something fails.
///
/// # Panics
/// If `HOSTILE_SEED` is no number.
pub fn seed() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "repeats a failed run; not a setting of a service")]
    let given = std::env::var("HOSTILE_SEED").ok();
    given.map_or_else(
        || u64::from_be_bytes(Random.base62(8).into_bytes().try_into().expect("eight letters")),
        |seed| seed.parse().expect("HOSTILE_SEED is a number"),
    )
}

impl Dice {
    /// A number below `sides`.
    ///
    /// # Panics
    /// If there are no sides.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (sides as u64)).expect("smaller than sides")
    }

    /// One of these.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.roll(256)).expect("a byte")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Dice;

    #[test]
    fn the_same_seed_rolls_the_same_numbers_and_every_one_of_them() {
        let rolls =
            |seed| std::iter::repeat_with(|| 0).scan(Dice(seed), |dice, _| Some(dice.roll(6))).take(100).collect();
        let (one, other): (Vec<usize>, Vec<usize>) = (rolls(1), rolls(2));
        assert_eq!(one, rolls(1));
        assert_ne!(one, other);
        assert!((0..6).all(|side| one.contains(&side)) && one.iter().all(|side| *side < 6));
    }
}
