//! The users of the index, each once.
//!
//! Invariant: a number names the same user as long as the index lives; a user whom no digest finds any more stays until
//! the index is built again.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::num::NonZeroU32;

use hashbrown::HashTable;

/// The number of a user, 0 for the first one. In a slot that may be free it needs no further byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserNumber(NonZeroU32);

impl UserNumber {
    /// `None` beyond the greatest number.
    pub(super) fn new(number: u32) -> Option<Self> {
        number.checked_add(1).and_then(NonZeroU32::new).map(Self)
    }

    fn position(self) -> usize {
        usize::try_from(self.0.get() - 1).unwrap_or(usize::MAX)
    }
}

/// Matrix IDs in one text of at most 4 GiB, and where each of them ends.
#[derive(Default)]
pub(super) struct Users {
    text: String,
    /// One for each user: where the next one begins.
    ends: Vec<u32>,
    /// The numbers by the hash of the Matrix ID.
    numbers: HashTable<UserNumber>,
    hasher: RandomState,
}

impl Users {
    /// The number of the user, a new one for a new user. `None` if there are too many.
    pub(super) fn number(&mut self, mxid: &str) -> Option<UserNumber> {
        let Self { text, ends, numbers, hasher } = self;
        let hash = hasher.hash_one(mxid);
        if let Some(number) = numbers.find(hash, |number| slice(text, ends, *number) == mxid) {
            return Some(*number);
        }
        let number = UserNumber::new(u32::try_from(ends.len()).ok()?)?;
        let end = u32::try_from(text.len() + mxid.len()).ok()?;
        text.push_str(mxid);
        ends.push(end);
        numbers.insert_unique(hash, number, |number| hasher.hash_one(slice(text, ends, *number)));
        Some(number)
    }

    /// The Matrix ID of a user.
    pub(super) fn mxid(&self, number: UserNumber) -> &str {
        slice(&self.text, &self.ends, number)
    }

    /// Gives back the memory for further users.
    pub(super) fn shrink(&mut self) {
        let Self { text, ends, numbers, hasher } = self;
        text.shrink_to_fit();
        ends.shrink_to_fit();
        numbers.shrink_to_fit(|number| hasher.hash_one(slice(text, ends, *number)));
    }

    /// The memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<u32>() + self.numbers.allocation_size()
    }
}

fn slice<'a>(text: &'a str, ends: &[u32], number: UserNumber) -> &'a str {
    let end = |position: usize| usize::try_from(ends[position]).unwrap_or(usize::MAX);
    let position = number.position();
    &text[position.checked_sub(1).map_or(0, end)..end(position)]
}

#[cfg(test)]
mod tests {
    use super::Users;

    #[test]
    fn each_user_has_one_number() {
        let mut users = Users::default();
        let numbers: Vec<_> = (0..1000).map(|n| users.number(&format!("@u{n}:hs.example")).unwrap()).collect();
        for (n, number) in numbers.iter().enumerate() {
            let mxid = format!("@u{n}:hs.example");
            assert_eq!(users.number(&mxid), Some(*number));
            assert_eq!(users.mxid(*number), mxid);
        }
        assert_eq!(users.number(""), users.number(""));
        assert!(users.bytes() > 1000 * "@u1:hs.example".len());
    }
}
