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
/// The prefix of a free slot: greater than that of any digest, so a search ends at it. That a SHA-256 begins with 64 set
/// bits is as likely as that two are equal in 64 bits and is not provided for.
const FREE: u64 = u64::MAX;

/// Digests whose places are loaded from memory at the same time: a search alone would wait for each.
pub(super) const GROUP: usize = 32;

/// One digest without its prefix, and its user, in 40 bytes.
#[derive(Clone, Copy)]
struct Entry {
    /// The digest behind its prefix.
    rest: [u8; 24],
    until: Timestamp,
    user: UserNumber,
    form: Form,
    /// Whether [`Shard::starts`] has the time from which the entry is valid.
    has_start: bool,
}

/// The order of the entries.
type Key = (u64, [u8; 24], Form);

struct Shard {
    /// The first eight bytes of the digest in each slot, apart from the entries: eight of them are loaded from memory at
    /// once, and an unknown digest needs nothing else.
    prefixes: Vec<u64>,
    /// As long as the prefixes: longer than `homes` by the entries that were moved beyond the last home.
    entries: Vec<Option<Entry>>,
    homes: usize,
    used: usize,
    /// When entries become valid. Few: a new association is valid at once.
    starts: HashMap<Key, Timestamp>,
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

    /// The users of at most [`GROUP`] digests whose associations are valid at `now`.
    pub(super) fn find(&self, digests: &[LookupDigest], now: Timestamp) -> [Option<UserNumber>; GROUP] {
        // In each of these loops the processor waits for all loads together, because none depends on another.
        let homes = digests.iter().map(|digest| {
            let shard = self.shard(digest);
            shard.prefixes[shard.home(digest)]
        });
        black_box(homes.fold(0, |sum, prefix| sum ^ prefix));
        let mut slots = [0; GROUP];
        let mut loaded = 0;
        for (slot, digest) in slots.iter_mut().zip(digests) {
            let shard = self.shard(digest);
            *slot = shard.first(digest);
            loaded ^= shard.entries.get(*slot).and_then(Option::as_ref).map_or(0, |entry| entry.rest[23]);
        }
        black_box(loaded);
        let mut users = [None; GROUP];
        for ((user, slot), digest) in users.iter_mut().zip(slots).zip(digests) {
            *user = self.shard(digest).user(slot, digest, now);
        }
        users
    }

    /// Inserts the digest, or replaces the entry of the same digest and form.
    pub(super) fn insert(&mut self, digest: LookupDigest, form: Form, user: UserNumber, validity: Validity) {
        let (prefix, rest) = digest.split();
        let entry = Entry { rest, until: validity.until, user, form, has_start: validity.from.is_some() };
        self.shards[shard_of(&digest)].insert(prefix, entry, validity.from);
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
        let bytes = |shard: &Shard| {
            shard.prefixes.capacity() * size_of::<u64>() + shard.entries.capacity() * size_of::<Option<Entry>>()
        };
        self.shards.iter().map(bytes).sum()
    }

    fn shard(&self, digest: &LookupDigest) -> &Shard {
        &self.shards[shard_of(digest)]
    }
}

fn shard_of(digest: &LookupDigest) -> usize {
    usize::from(digest.as_bytes()[0]) % SHARDS
}

impl Shard {
    fn with_capacity(entries: usize) -> Self {
        let homes = (entries * 100 / MADE + 1).max(MIN_HOMES);
        // Some slots beyond the last home, so that an entry there need not reallocate the arrays.
        let (mut slots, mut prefixes) = (Vec::with_capacity(homes + MIN_HOMES), Vec::with_capacity(homes + MIN_HOMES));
        slots.resize(homes, None);
        prefixes.resize(homes, FREE);
        Self { prefixes, entries: slots, homes, used: 0, starts: HashMap::new() }
    }

    /// The slot at which the search for a digest begins: its share of the homes, by the four bytes after the one of the
    /// shard.
    fn home(&self, digest: &LookupDigest) -> usize {
        self.home_of(digest.split().0)
    }

    fn home_of(&self, prefix: u64) -> usize {
        let share = (prefix << 8) >> 32;
        ((share * self.homes as u64) >> 32) as usize
    }

    /// The first slot with the prefix of the digest, or the one where the search ends.
    fn first(&self, digest: &LookupDigest) -> usize {
        let prefix = digest.split().0;
        let home = self.home_of(prefix);
        home + self.prefixes[home..].iter().take_while(|found| **found < prefix).count()
    }

    /// The user of a digest whose search has reached `slot`.
    fn user(&self, slot: usize, digest: &LookupDigest, now: Timestamp) -> Option<UserNumber> {
        let (prefix, rest) = digest.split();
        let same = self.prefixes.get(slot..)?.iter().take_while(|found| **found == prefix).count();
        // An entry of the canonical form precedes one of another form.
        let mut entries = self.entries[slot..slot + same].iter().flatten();
        entries.find(|entry| entry.rest == rest && self.is_valid(prefix, entry, now)).map(|entry| entry.user)
    }

    fn is_valid(&self, prefix: u64, entry: &Entry, now: Timestamp) -> bool {
        let from = if entry.has_start { self.starts.get(&entry.key(prefix)).copied() } else { None };
        Validity { from, until: entry.until }.covers(now)
    }

    fn insert(&mut self, prefix: u64, entry: Entry, from: Option<Timestamp>) {
        let key = entry.key(prefix);
        match from {
            Some(from) => drop(self.starts.insert(key, from)),
            None => drop(self.starts.remove(&key)),
        }
        if (self.used + 1) * 100 > self.homes * FULL {
            self.grow();
        }
        let slot = self.slot(key);
        if self.key_in(slot) == Some(key) {
            self.entries[slot] = Some(entry);
            return;
        }
        // Every entry from here to the next free slot moves by one.
        let used = self.prefixes[slot..].iter().take_while(|prefix| **prefix != FREE).count();
        let end = slot + used;
        if end == self.prefixes.len() {
            self.prefixes.push(FREE);
            self.entries.push(None);
        }
        self.prefixes.copy_within(slot..end, slot + 1);
        self.entries.copy_within(slot..end, slot + 1);
        self.prefixes[slot] = prefix;
        self.entries[slot] = Some(entry);
        self.used += 1;
    }

    /// The slot of the entry with this key, or the one where it belongs.
    fn slot(&self, key: Key) -> usize {
        let mut slot = self.home_of(key.0);
        while self.key_in(slot).is_some_and(|found| found < key) {
            slot += 1;
        }
        slot
    }

    /// The key of the entry in a slot; none if it is free.
    fn key_in(&self, slot: usize) -> Option<Key> {
        let entry = self.entries.get(slot)?.as_ref()?;
        Some(entry.key(self.prefixes[slot]))
    }

    fn remove(&mut self, digest: &LookupDigest) {
        let (prefix, rest) = digest.split();
        for form in [Form::Canonical, Form::Alternative] {
            let key = (prefix, rest, form);
            let slot = self.slot(key);
            if self.key_in(slot) != Some(key) {
                continue;
            }
            self.starts.remove(&key);
            // Every entry behind it that is not at home moves back by one.
            let is_away = |slot: usize| self.prefixes[slot] != FREE && self.home_of(self.prefixes[slot]) < slot;
            let end = (slot + 1..self.prefixes.len()).find(|slot| !is_away(*slot)).unwrap_or(self.prefixes.len());
            self.prefixes.copy_within(slot + 1..end, slot);
            self.entries.copy_within(slot + 1..end, slot);
            self.prefixes[end - 1] = FREE;
            self.entries[end - 1] = None;
            self.used -= 1;
        }
    }

    fn grow(&mut self) {
        let old = std::mem::replace(self, Self::with_capacity(self.used + 1));
        self.starts = old.starts;
        self.used = old.used;
        // In the order of the digests, so each entry goes to its home or to the first slot behind the one before it.
        let mut next = 0;
        for (prefix, entry) in old.prefixes.into_iter().zip(old.entries) {
            if entry.is_none() {
                continue;
            }
            let slot = self.home_of(prefix).max(next);
            if slot == self.prefixes.len() {
                self.prefixes.push(FREE);
                self.entries.push(None);
            }
            self.prefixes[slot] = prefix;
            self.entries[slot] = entry;
            next = slot + 1;
        }
    }
}

impl Entry {
    fn key(&self, prefix: u64) -> Key {
        (prefix, self.rest, self.form)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{Strategy, any, prop_oneof, proptest};
    use shared::clock::Timestamp;

    use super::{DigestTable, Entry, GROUP};
    use crate::domain::association::Validity;
    use crate::domain::lookup_hash::{Form, LookupDigest};
    use crate::memory::users::UserNumber;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    /// Few digests and few homes, so that they collide: `number` is the end of a digest whose beginning has few values.
    fn digest(number: u16) -> LookupDigest {
        let mut bytes = [0; 32];
        bytes[1] = (number % 5) as u8 * 50;
        // Some differ only behind the prefix.
        bytes[7] = (number % 7) as u8;
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
                let digests: Vec<_> = (0..60).map(digest).collect();
                let found: Vec<_> = digests
                    .chunks(GROUP)
                    .flat_map(|group| table.find(group, NOW).into_iter().take(group.len()))
                    .collect();
                for number in 0..60 {
                    let expected = [Form::Canonical, Form::Alternative].into_iter().find_map(|form| {
                        let (by, validity) = model.get(&(number, form))?;
                        let is_valid = validity.until >= NOW && validity.from.is_none_or(|from| from <= NOW);
                        is_valid.then(|| user(*by))
                    });
                    assert_eq!(found[usize::from(number)], expected);
                }
            }
        }
    }

    #[test]
    fn an_entry_has_48_bytes_with_its_prefix() {
        assert_eq!(size_of::<Option<Entry>>() + size_of::<u64>(), 48);
    }
}
