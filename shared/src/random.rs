//! The process's random source: the operating system's generator.
//!
//! Invariant: no output derives from time, a counter or a seed.

use std::cell::RefCell;
use std::fmt;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The random source. Flows draw values and pass them to the pure rules.
#[derive(Clone, Copy, Default)]
pub struct Random;

impl Random {
    /// `N` random bytes.
    ///
    /// # Panics
    /// If the operating system cannot provide randomness; no operation is safe without it.
    #[expect(clippy::disallowed_methods, reason = "the one place where randomness comes from")]
    #[expect(clippy::expect_used, reason = "going on with bytes that are not random would be worse than stopping")]
    pub fn bytes<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).expect("the operating system provides randomness");
        bytes
    }

    /// `N` random bytes for a value that is unique and no secret, such as the ID of a request. The system is asked for many
    /// at once: a call for each value takes longer than everything else about it.
    pub fn unique_bytes<const N: usize>(self) -> [u8; N] {
        /// What one call of the system brings.
        const STOCK: usize = 1024;
        const { assert!(N > 0 && N <= STOCK) };
        thread_local! {
            /// Random bytes, and how many of them are used.
            static STORED: RefCell<([u8; STOCK], usize)> = const { RefCell::new(([0; STOCK], STOCK)) };
        }
        STORED.with_borrow_mut(|(stock, used)| {
            if *used + N > STOCK {
                (*stock, *used) = (self.bytes(), 0);
            }
            let mut bytes = [0; N];
            bytes.copy_from_slice(&stock[*used..*used + N]);
            *used += N;
            bytes
        })
    }

    /// As [`Random::base62`], for a value that is unique and no secret.
    pub fn unique_base62(self, length: usize) -> String {
        pick(length, BASE62, || self.unique_bytes::<16>())
    }

    /// `length` characters of `[0-9A-Za-z]` with 5.95 bits each.
    pub fn base62(self, length: usize) -> String {
        pick(length, BASE62, || self.bytes::<64>())
    }

    /// `length` decimal digits, leading zeros included.
    pub fn digits(self, length: usize) -> String {
        pick(length, b"0123456789", || self.bytes::<64>())
    }

    /// A number in `0..bound`, without bias.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(self, bound: u32) -> u32 {
        assert!(bound > 0, "bound must be positive");
        let rest = u32::MAX - u32::MAX % bound;
        loop {
            let candidate = u32::from_le_bytes(self.bytes());
            if candidate < rest {
                return candidate % bound;
            }
        }
    }
}

/// Draws characters by rejection, so that all are equally likely.
fn pick<const N: usize>(length: usize, alphabet: &[u8], draw: impl Fn() -> [u8; N]) -> String {
    let usable = 256 - 256 % alphabet.len();
    let mut text = String::with_capacity(length);
    while text.len() < length {
        for byte in draw() {
            if usize::from(byte) < usable && text.len() < length {
                text.push(char::from(alphabet[usize::from(byte) % alphabet.len()]));
            }
        }
    }
    text
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use std::collections::HashSet;

    #[test]
    fn unique_bytes_do_not_repeat_within_or_across_threads() {
        let draw = || (0..5000).map(|_| Random.unique_bytes::<16>()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(draw)).collect();
        let all: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 20_000);
        let ids: HashSet<_> = (0..5000).map(|_| Random.unique_base62(12)).collect();
        assert_eq!((ids.len(), ids.iter().all(|id| id.len() == 12)), (5000, true));
    }

    #[test]
    fn a_hundred_thousand_ids_have_no_duplicate_and_use_every_letter() {
        let ids: HashSet<String> = (0..100_000).map(|_| Random.base62(24)).collect();
        assert_eq!(ids.len(), 100_000);
        let letters: HashSet<char> = ids.iter().flat_map(|id| id.chars()).collect();
        assert_eq!(letters.len(), 62);
        assert!(ids.iter().all(|id| id.len() == 24));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_it() {
        let seen: HashSet<u32> = (0..1_000).map(|_| Random.below(3)).collect();
        assert_eq!(seen, HashSet::from([0, 1, 2]));
    }

    #[test]
    fn digits_are_digits() {
        assert!(Random.digits(200).bytes().all(|b| b.is_ascii_digit()));
    }
}
