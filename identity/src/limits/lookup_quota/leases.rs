//! The transaction that leases a part of the budgets of a caller and of its group.
//!
//! Invariant: a lease is written together with the fingerprints of the request that needs it. A process that is killed
//! loses only the unused rest of its lease and what it counted inside it.

use super::budget::Budget;
use super::fingerprint::Fingerprints;
use crate::store::lookup_leases::Leases;
use crate::store::{Connection, StoreError, lookup_fingerprints, lookup_leases};

/// A subject, its budget, and what this process has of it.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) subject: [u8; 32],
    pub(super) name: Option<String>,
    pub(super) budget: Budget,
    /// Leased and not used.
    pub(super) room: i64,
}

/// What a request needs, and what the process knows.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) day: i64,
    pub(super) caller: Share,
    pub(super) group: Option<Share>,
    /// The parts of the caller's fingerprints that the process has read.
    pub(super) parts: i64,
    /// Fingerprints that are counted and not stored.
    pub(super) pending: Vec<u64>,
    /// The fingerprints of the request that the process does not know; each once.
    pub(super) new: Vec<u64>,
}

/// The budget that refused a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Caller,
    Group,
}

/// The decision on a request.
#[derive(Debug)]
pub(super) struct Decision {
    /// Fingerprints that other processes have stored.
    pub(super) read: Vec<u64>,
    /// The parts that the process knows now.
    pub(super) parts: i64,
    /// The fingerprints of the request that no process has counted.
    pub(super) new: Vec<u64>,
    /// What is left of [`Need::pending`]: another process has stored the others meanwhile.
    pub(super) pending: Vec<u64>,
    /// How many it has stored: they were counted twice, and this process gets them back.
    pub(super) credit: i64,
    /// The leases of the caller and of the group, or which of the two budgets does not suffice.
    pub(super) leased: Result<(i64, i64), Refusal>,
    found: (Leases, Leases),
}

impl Decision {
    /// Whether the decision needs a write.
    pub(super) fn is_write(&self) -> bool {
        self.leased.is_ok_and(|leased| leased != (0, 0))
    }
}

/// Decides on the request without a write.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn decide(conn: &mut Connection, need: &Need) -> Result<Decision, StoreError> {
    let Need { day, caller, group, .. } = need;
    let own = lookup_leases::find(conn, *day, &caller.subject).await?;
    let read = if own.parts > need.parts {
        lookup_fingerprints::list(conn, *day, &caller.subject, need.parts).await?
    } else {
        Vec::new()
    };
    let stored: Fingerprints = read.iter().copied().collect();
    let new: Vec<u64> = need.new.iter().copied().filter(|fingerprint| !stored.contains(fingerprint)).collect();
    let pending: Vec<u64> = need.pending.iter().copied().filter(|pending| !stored.contains(pending)).collect();
    let credit = count(need.pending.len() - pending.len());
    let number = count(new.len());
    let lease = |share: &Share, leases: Leases| share.budget.lease(leases.leased, number - share.room - credit);
    let (mut of_group, mut group_lease) = (Leases::default(), Some(0));
    if let Some(group) = group {
        // A request within the process's share leaves the row of the group, which many accounts use, alone.
        if number > group.room + credit {
            of_group = lookup_leases::find(conn, *day, &group.subject).await?;
        }
        group_lease = lease(group, of_group);
    }
    let leased = match (lease(caller, own), group_lease) {
        (None, _) => Err(Refusal::Caller),
        (_, None) => Err(Refusal::Group),
        (Some(caller), Some(group)) => Ok((caller, group)),
    };
    Ok(Decision { read, parts: own.parts, new, pending, credit, leased, found: (own, of_group) })
}

/// Decides on the request, and stores the leases with all fingerprints that are not stored yet. Needs a transaction.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn lease(conn: &mut Connection, need: &Need) -> Result<Decision, StoreError> {
    let mut decision = decide(conn, need).await?;
    if let (Ok((own, group)), true) = (decision.leased, decision.is_write()) {
        let (of_caller, of_group) = decision.found;
        let fingerprints = [decision.pending.as_slice(), &decision.new].concat();
        decision.parts = save(conn, need.day, &need.caller, of_caller, own, &fingerprints).await?;
        if let (Some(share), true) = (&need.group, group > 0) {
            save(conn, need.day, share, of_group, group, &[]).await?;
        }
    }
    Ok(decision)
}

/// Stores the fingerprints of a caller that are not stored yet, and gives the unused rest of its lease back. Needs a
/// transaction.
///
/// # Errors
/// [`StoreError`].
pub(super) async fn give_back(
    conn: &mut Connection,
    day: i64,
    share: &Share,
    pending: &[u64],
) -> Result<(), StoreError> {
    let (unused, parts) = (share.room, i64::from(!pending.is_empty()));
    // Without a row the day was deleted.
    match lookup_leases::give_back(conn, day, &share.subject, unused, parts).await? {
        Some(parts) if !pending.is_empty() => {
            lookup_fingerprints::insert(conn, day, &share.subject, parts, pending).await
        }
        _ => Ok(()),
    }
}

/// Adds to the leases of a subject, and stores fingerprints as its next part; returns the number of parts.
async fn save(
    conn: &mut Connection,
    day: i64,
    share: &Share,
    found: Leases,
    leased: i64,
    fingerprints: &[u64],
) -> Result<i64, StoreError> {
    let parts = found.parts + i64::from(!fingerprints.is_empty());
    let leases = Leases { leased: found.leased.saturating_add(leased), parts };
    lookup_leases::save(conn, day, &share.subject, leases, share.name.as_deref()).await?;
    if !fingerprints.is_empty() {
        lookup_fingerprints::insert(conn, day, &share.subject, parts, fingerprints).await?;
    }
    Ok(parts)
}

/// A number of addresses.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
