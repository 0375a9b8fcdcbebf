//! The index of lookup digests: which user each digest finds.
//!
//! Invariant: it answers as `associations` in the database would, as of the last reading.

use shared::clock::Timestamp;

use super::digest_table::{DigestTable, GROUP};
use super::users::Users;
use crate::domain::lookup_hash::LookupDigest;
use crate::store::associations::found::Found;

/// Digests and their users.
pub struct LookupIndex {
    table: DigestTable,
    users: Users,
}

impl LookupIndex {
    /// An index with room for this number of digests.
    pub fn with_capacity(digests: usize) -> Self {
        Self { table: DigestTable::with_capacity(digests), users: Users::default() }
    }

    /// Inserts what was found in the database. False if there is no room for one more user.
    #[must_use]
    pub fn insert(&mut self, found: &Found) -> bool {
        let Some(user) = self.users.number(&found.mxid) else { return false };
        self.table.insert(found.digest, found.form, user, found.validity);
        true
    }

    /// Replaces all that the digests find. False if there is no room.
    #[must_use]
    pub fn replace(&mut self, digests: &[LookupDigest], found: &[Found]) -> bool {
        for digest in digests {
            self.table.remove(digest);
        }
        found.iter().all(|found| self.insert(found))
    }

    /// Calls `found` with the position of each digest that has a user at `now`, and the Matrix ID.
    pub fn find_all(&self, digests: &[LookupDigest], now: Timestamp, mut found: impl FnMut(usize, &str)) {
        for (number, group) in digests.chunks(GROUP).enumerate() {
            let users = self.table.find(group, now);
            for (offset, user) in users.into_iter().enumerate() {
                if let Some(user) = user {
                    found(number * GROUP + offset, self.users.mxid(user));
                }
            }
        }
    }

    /// Gives back the memory that a build reserved and did not need.
    pub fn shrink(&mut self) {
        self.users.shrink();
    }

    /// The number of digests.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// The memory in bytes.
    pub fn bytes(&self) -> usize {
        self.table.bytes() + self.users.bytes()
    }
}
