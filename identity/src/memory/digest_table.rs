//! The table of digests: sorted arrays with free slots between the entries.
//!
//! Invariant: the entries of a shard are in the order of their digests, none lies before its home, and no slot between
//! an entry and its home is free. Digests are uniformly distributed, so the home of a digest is its share of the array: a
//! search begins there and ends at the first free slot or greater digest, whether or not it finds one.

use std::collections::HashMap;
use std::hint::black_box;

use shared::clock::Timestamp;

use super::users::UserNumber;
use crate::domain::association::Validity;
use crate::domain::lookup_hash::{Form, LookupDigest};

/// A shard that is full moves to a larger array; with many shards each move is short.
const SHARDS: usize = 256;
/// A shard with this share of used slots, in hundredths, is full.
const FULL: usize = 90;
/// The share of used slots, in hundredths, of a shard that was made for a number of entries.
const MADE: usize = 80;
/// The least number of homes of a shard.
const MIN_HOMES: usize = 8;

/// One digest and its user, in 48 bytes.
#[derive(Clone, Copy)]
struct Entry {
    digest: LookupDigest,
    until: Timestamp,
    user: UserNumber,
    form: Form,
    /// Whether [`Shard::starts`] has the time from which the entry is valid.
    has_start: bool,
}

impl Entry {
    fn key(&self) -> (LookupDigest, Form) {
        (self.digest, self.form)
    }
}

struct Shard {
    /// Longer than `homes` by the entries that were moved beyond the last home.
    slots: Vec<Option<Entry>>,
    homes: usize,
    used: usize,
    /// When entries become valid. Few: a new association is valid at once.
    starts: HashMap<(LookupDigest, Form), Timestamp>,
}

/// Digests, the users whom they find, and since and until when.
pub(super) struct DigestTable {
    shards: Vec<Shard>,
}

impl DigestTable {
    /// A table with room for this number of digests.
    pub(super) fn with_capacity(digests: usize) -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::with_capacity(digests.div_ceil(SHARDS))).collect() }
    }

    /// The user of a digest whose association is valid at `now`.
    pub(super) fn find(&self, digest: &LookupDigest, now: Timestamp) -> Option<UserNumber> {
        let shard = &self.shards[shard_of(digest)];
        // An entry of the canonical form precedes one of another form.
        shard.entries(digest).find(|entry| shard.is_valid(entry, now)).map(|entry| entry.user)
    }

    /// Loads the places where the searches for these digests begin into the cache. The loads do not depend on each other, so
    /// the processor waits for all of them together.
    pub(super) fn touch(&self, digests: &[LookupDigest]) {
        let first_bytes = digests.iter().map(|digest| {
            let shard = &self.shards[shard_of(digest)];
            let entry = shard.slots[shard.home(digest)].as_ref();
            entry.map_or(0, |entry| entry.digest.as_bytes()[31])
        });
        black_box(first_bytes.fold(0, |sum: u8, byte| sum ^ byte));
    }

    /// Inserts the digest, or replaces the entry of the same digest and form.
    pub(super) fn insert(&mut self, digest: LookupDigest, form: Form, user: UserNumber, validity: Validity) {
        let entry = Entry { digest, until: validity.until, user, form, has_start: validity.from.is_some() };
        self.shards[shard_of(&digest)].insert(entry, validity.from);
    }

    /// Removes the entries of the digest.
    pub(super) fn remove(&mut self, digest: &LookupDigest) {
        self.shards[shard_of(digest)].remove(digest);
    }

    /// The number of entries.
    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.used).sum()
    }

    /// The memory of the slots, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.slots.capacity() * size_of::<Option<Entry>>()).sum()
    }
}

fn shard_of(digest: &LookupDigest) -> usize {
    usize::from(digest.as_bytes()[0]) % SHARDS
}

impl Shard {
    fn with_capacity(entries: usize) -> Self {
        let homes = (entries * 100 / MADE + 1).max(MIN_HOMES);
        // Some slots beyond the last home, so that an entry there need not reallocate the array.
        let mut slots = Vec::with_capacity(homes + MIN_HOMES);
        slots.resize(homes, None);
        Self { slots, homes, used: 0, starts: HashMap::new() }
    }

    /// The slot at which the search for a digest begins: its share of the homes, by the four bytes after the one of the
    /// shard.
    fn home(&self, digest: &LookupDigest) -> usize {
        let [_, a, b, c, d, ..] = *digest.as_bytes();
        let share = u64::from(u32::from_be_bytes([a, b, c, d]));
        ((share * self.homes as u64) >> 32) as usize
    }

    /// The entries of one digest.
    fn entries(&self, digest: &LookupDigest) -> impl Iterator<Item = &Entry> {
        let run = self.slots[self.home(digest)..].iter().map_while(Option::as_ref);
        run.skip_while(|entry| entry.digest < *digest).take_while(|entry| entry.digest == *digest)
    }

    fn is_valid(&self, entry: &Entry, now: Timestamp) -> bool {
        let from = if entry.has_start { self.starts.get(&entry.key()).copied() } else { None };
        Validity { from, until: entry.until }.covers(now)
    }

    fn insert(&mut self, entry: Entry, from: Option<Timestamp>) {
        match from {
            Some(from) => drop(self.starts.insert(entry.key(), from)),
            None => drop(self.starts.remove(&entry.key())),
        }
        if (self.used + 1) * 100 > self.homes * FULL {
            self.grow();
        }
        let place = self.place(entry.key());
        if let Some(Some(found)) = self.slots.get_mut(place)
            && found.key() == entry.key()
        {
            *found = entry;
            return;
        }
        // Every entry from here to the next free slot moves by one.
        let end = (place..self.slots.len()).find(|slot| self.slots[*slot].is_none()).unwrap_or(self.slots.len());
        if end == self.slots.len() {
            self.slots.push(None);
        }
        self.slots.copy_within(place..end, place + 1);
        self.slots[place] = Some(entry);
        self.used += 1;
    }

    /// The slot of the entry with this key, or the one where it belongs.
    fn place(&self, key: (LookupDigest, Form)) -> usize {
        let home = self.home(&key.0);
        let run = self.slots[home..].iter().map_while(Option::as_ref);
        home + run.take_while(|entry| entry.key() < key).count()
    }

    fn remove(&mut self, digest: &LookupDigest) {
        for form in [Form::Canonical, Form::Alternative] {
            let place = self.place((*digest, form));
            if !matches!(self.slots.get(place), Some(Some(entry)) if entry.key() == (*digest, form)) {
                continue;
            }
            self.starts.remove(&(*digest, form));
            // Every entry behind it that is not at home moves back by one.
            let mut end = place + 1;
            while let Some(Some(entry)) = self.slots.get(end)
                && self.home(&entry.digest) < end
            {
                end += 1;
            }
            self.slots.copy_within(place + 1..end, place);
            self.slots[end - 1] = None;
            self.used -= 1;
        }
    }

    fn grow(&mut self) {
        let old = std::mem::replace(self, Self::with_capacity(self.used + 1));
        self.starts = old.starts;
        self.used = old.used;
        // In the order of the digests, so each entry goes to its home or to the first slot behind the one before it.
        let mut next = 0;
        for entry in old.slots.into_iter().flatten() {
            let slot = self.home(&entry.digest).max(next);
            if slot == self.slots.len() {
                self.slots.push(None);
            }
            self.slots[slot] = Some(entry);
            next = slot + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use shared::clock::Timestamp;

    use super::{DigestTable, Entry};
    use crate::domain::association::Validity;
    use crate::domain::lookup_hash::{Form, LookupDigest};
    use crate::memory::users::UserNumber;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// Few digests and few homes, so that they collide: `number` is the end of a digest whose beginning has few values.
    fn digest(number: u16) -> LookupDigest {
        let mut bytes = [0; 32];
        bytes[1] = (number % 5) as u8 * 50;
        bytes[30..].copy_from_slice(&number.to_be_bytes());
        LookupDigest::from_bytes(bytes)
    }

    fn user(number: u32) -> UserNumber {
        UserNumber::new(number).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16, bool, u32, Option<i64>, i64),
        Remove(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let time = 990..1010_i64;
        prop_oneof![
            3 => (0..60_u16, any::<bool>(), 0..9_u32, proptest::option::of(time.clone()), time)
                .prop_map(|(digest, canonical, user, from, until)| Step::Insert(digest, canonical, user, from, until)),
            1 => (0..60_u16).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn the_table_finds_what_an_ordered_map_finds(steps in proptest::collection::vec(step(), 1..300)) {
            let mut table = DigestTable::with_capacity(0);
            let mut model = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Insert(number, is_canonical, by, from, until) => {
                        let form = if is_canonical { Form::Canonical } else { Form::Alternative };
                        let validity = Validity {
                            from: from.map(Timestamp::from_millis),
                            until: Timestamp::from_millis(until),
                        };
                        table.insert(digest(number), form, user(by), validity);
                        model.insert((number, form), (by, validity));
                    }
                    Step::Remove(number) => {
                        table.remove(&digest(number));
                        model.retain(|(other, _), _| *other != number);
                    }
                }
                assert_eq!(table.len(), model.len());
                for number in 0..60 {
                    let expected = [Form::Canonical, Form::Alternative].into_iter().find_map(|form| {
                        let (by, validity) = model.get(&(number, form))?;
                        let is_valid = validity.until >= NOW && validity.from.is_none_or(|from| from <= NOW);
                        is_valid.then(|| user(*by))
                    });
                    assert_eq!(table.find(&digest(number), NOW), expected);
                }
            }
        }
    }

    #[test]
    fn an_entry_has_48_bytes() {
        assert_eq!(size_of::<Option<Entry>>(), 48);
    }
}
