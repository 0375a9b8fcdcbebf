//! What this process has counted on one day, and the unused rest of its leases.
//!
//! Invariant: an address is known only after its count was decided, so that no request gets it free while another one
//! waits for the decision. What is dropped without [`Caller::take_rest`] costs a caller at most the rest of a lease.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::budget::Budget;
use super::fingerprint::{FingerprintKey, Fingerprints};
use super::leases::{Decision, Need, Refusal, Share, count};
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::utc_day::UtcDay;

/// How much a process keeps of one day. More is stored and dropped; what is in the database is read again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity {
    /// Fingerprints of all callers.
    pub(super) fingerprints: usize,
    /// Accounts and clients.
    pub(super) callers: usize,
}

/// One day.
pub(super) struct Day {
    pub(super) day: UtcDay,
    key: FingerprintKey,
    capacity: Capacity,
    callers: Mutex<HashMap<[u8; 32], Arc<Caller>>>,
    groups: Mutex<HashMap<[u8; 32], Arc<Group>>>,
    /// The fingerprints in memory.
    fingerprints: AtomicUsize,
}

impl Day {
    pub(super) fn new(day: UtcDay, key: [u8; 16], capacity: Capacity) -> Self {
        let key = FingerprintKey::new(key);
        let fingerprints = AtomicUsize::default();
        Self { day, key, capacity, callers: Mutex::default(), groups: Mutex::default(), fingerprints }
    }

    pub(super) fn fingerprints(&self, digests: &[LookupDigest]) -> Vec<u64> {
        digests.iter().map(|digest| self.key.fingerprint(digest)).collect()
    }

    pub(super) fn caller(&self, subject: [u8; 32]) -> Arc<Caller> {
        Arc::clone(self.callers.lock().entry(subject).or_default())
    }

    /// If the memory is full, takes what fills a half of it; the caller with `subject` only if it fills more alone.
    pub(super) fn take_excess(&self, subject: [u8; 32]) -> Option<Kept> {
        let Capacity { fingerprints, callers } = self.capacity;
        let mut all = self.callers.lock();
        let mut known = self.fingerprints.load(Ordering::Relaxed);
        let mut groups = self.groups.lock();
        if known < fingerprints && all.len() < callers && groups.len() < callers {
            return None;
        }
        let mut left = all.len();
        let mut kept = Kept::default();
        let is_too_much = |known: usize, left: usize| known > fingerprints / 2 || left > callers / 2;
        for with_own in [false, true] {
            kept.callers.extend(all.extract_if(|other, caller| {
                let is_taken = is_too_much(known, left) && (*other != subject || with_own);
                if is_taken {
                    known = known.saturating_sub(caller.counted.lock().known.len());
                    left -= 1;
                }
                is_taken
            }));
        }
        if groups.len() >= callers {
            kept.groups = groups.drain().map(|(_, group)| group).collect();
        }
        self.fingerprints.store(known, Ordering::Relaxed);
        Some(kept)
    }

    /// All that is in memory.
    pub(super) fn kept(&self) -> Kept {
        let callers = self.callers.lock().iter().map(|(subject, caller)| (*subject, Arc::clone(caller))).collect();
        Kept { callers, groups: self.groups.lock().values().cloned().collect() }
    }

    pub(super) fn group(&self, subject: [u8; 32], new: impl FnOnce() -> Group) -> Arc<Group> {
        Arc::clone(self.groups.lock().entry(subject).or_insert_with(|| Arc::new(new())))
    }

    /// Counts fingerprints that entered the memory of a caller.
    pub(super) fn add(&self, fingerprints: usize) {
        self.fingerprints.fetch_add(fingerprints, Ordering::Relaxed);
    }
}

/// Callers and groups whose leases and fingerprints are to be stored.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) callers: Vec<([u8; 32], Arc<Caller>)>,
    pub(super) groups: Vec<Arc<Group>>,
}

/// A group of callers and the rest of its lease.
pub(super) struct Group {
    subject: [u8; 32],
    /// For metrics.
    name: Option<String>,
    budget: Budget,
    room: Mutex<i64>,
    was_refused: AtomicBool,
}

impl Group {
    pub(super) fn new(subject: [u8; 32], name: Option<String>, budget: Budget) -> Self {
        Self { subject, name, budget, room: Mutex::default(), was_refused: AtomicBool::default() }
    }

    /// Takes `number` from the rest of the lease, or nothing if that is less.
    fn take(&self, number: i64) -> bool {
        let mut room = self.room.lock();
        let has_room = *room >= number;
        if has_room {
            *room -= number;
        }
        has_room
    }

    /// Takes at most `number` from the rest of the lease.
    pub(super) fn take_share(&self, number: i64) -> Share {
        let mut room = self.room.lock();
        let taken = number.min(*room);
        *room -= taken;
        Share { subject: self.subject, name: self.name.clone(), budget: self.budget, room: taken }
    }

    fn add(&self, number: i64) {
        *self.room.lock() += number;
    }
}

/// An account or client.
#[derive(Default)]
pub(super) struct Caller {
    counted: Mutex<Counted>,
    /// Held while the database decides on a request, so that those of one account do not collide there.
    pub(super) leasing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Counted {
    known: Fingerprints,
    /// The known fingerprints that are not stored.
    pending: Vec<u64>,
    /// The rest of the lease.
    room: i64,
    /// The parts that were read; none before the first reading.
    parts: Option<i64>,
    was_refused: bool,
}

impl Caller {
    /// Counts the new ones of `fingerprints`, or none if the rest of the leases does not suffice. Returns the number of
    /// new ones, or the new ones themselves.
    pub(super) fn count(&self, fingerprints: &[u64], group: Option<&Group>) -> Result<usize, Vec<u64>> {
        let mut counted = self.counted.lock();
        let mut new: Vec<u64> =
            fingerprints.iter().copied().filter(|fingerprint| !counted.known.contains(fingerprint)).collect();
        if new.is_empty() {
            return Ok(0);
        }
        new.sort_unstable();
        new.dedup();
        let number = count(new.len());
        let has_room = counted.parts.is_some() && number <= counted.room;
        if !has_room || !group.is_none_or(|group| group.take(number)) {
            return Err(new);
        }
        counted.room -= number;
        counted.pending.extend_from_slice(&new);
        counted.known.extend(new.iter().copied());
        Ok(new.len())
    }

    /// Takes what this process has of the budgets, for the decision of the database.
    pub(super) fn take(
        &self,
        day: UtcDay,
        (subject, budget): ([u8; 32], Budget),
        group: Option<&Group>,
        new: Vec<u64>,
    ) -> Need {
        let mut counted = self.counted.lock();
        let number = count(new.len());
        let room = number.min(counted.room);
        counted.room -= room;
        Need {
            day: day.number(),
            caller: Share { subject, name: None, budget, room },
            group: group.map(|group| group.take_share(number)),
            parts: counted.parts.unwrap_or_default(),
            pending: std::mem::take(&mut counted.pending),
            new,
        }
    }

    /// Whether a budget refused the last request that needed a lease.
    pub(super) fn was_refused(&self, group: Option<&Group>) -> bool {
        self.counted.lock().was_refused || group.is_some_and(|group| group.was_refused.load(Ordering::Relaxed))
    }

    /// Applies the decision of the database, or reverts [`Caller::take`] if it failed. Returns the number of
    /// fingerprints that entered the memory.
    pub(super) fn put(&self, need: &Need, decision: Option<&Decision>, group: Option<&Group>) -> usize {
        let mut counted = self.counted.lock();
        let before = counted.known.len();
        let mut rest = (need.caller.room, need.group.as_ref().map_or(0, |share| share.room));
        let is_stored = decision.is_some_and(Decision::is_write);
        if !is_stored {
            counted.pending.extend_from_slice(decision.map_or(&need.pending, |decision| &decision.pending));
        }
        if let Some(decision) = decision {
            counted.parts = Some(decision.parts);
            rest = (rest.0 + decision.credit, rest.1 + decision.credit);
            counted.known.extend(decision.read.iter().copied());
            counted.was_refused = decision.leased == Err(Refusal::Caller);
            if let Some(group) = group {
                group.was_refused.store(decision.leased == Err(Refusal::Group), Ordering::Relaxed);
            }
            if let Ok((own, of_group)) = decision.leased {
                let number = count(decision.new.len());
                rest = (rest.0 + own - number, rest.1 + of_group - number);
                counted.known.extend(decision.new.iter().copied());
                if !is_stored {
                    counted.pending.extend_from_slice(&decision.new);
                }
            }
        }
        counted.room += rest.0;
        if let Some(group) = group {
            group.add(rest.1);
        }
        counted.known.len() - before
    }

    /// Takes the rest of the lease and the fingerprints that are not stored, for the end of the process.
    pub(super) fn take_rest(&self) -> (i64, Vec<u64>) {
        let mut counted = self.counted.lock();
        (std::mem::take(&mut counted.room), std::mem::take(&mut counted.pending))
    }
}
