//! The daily lookup quota: distinct addresses of an account, or of a client address for the legacy API; and their sum
//! over the accounts of a homeserver, or over an IPv6 /48.
//!
//! Invariant: all processes on one database together allow no more than the quota, also over restarts. Each leases a part
//! of it and counts inside the lease, because a write for every lookup would cost many times the lookup. Looking up the
//! same addresses again is free.

mod budget;
mod counted;
mod fingerprint;
mod gauges;
mod leases;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;
use shared::config::Globs;
use shared::random::Random;
use tokio::runtime::Handle;
use tracing::Instrument;

use self::budget::Budget;
use self::counted::{Caller, Capacity, Day, Group, Kept};
use self::gauges::Gauges;
use self::leases::{Refusal, Share};
use super::{LARGE_FACTOR, LimitKey, SITE_FACTOR, is_large, subject};
use crate::domain::homeserver_group::homeserver_group;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::utc_day::UtcDay;
use crate::store::{BATCH, Connection, Store, StoreError, lookup_days, lookup_fingerprints, lookup_leases};

/// About 80 MB of fingerprints and 100 MB of callers, twice for a while after midnight.
const CAPACITY: Capacity = Capacity { fingerprints: 5_000_000, callers: 300_000 };
/// The days in memory: the current one, and its neighbour for requests around midnight and clocks that are set.
const DAYS: usize = 2;
/// Callers in one transaction that gives leases back.
const CALLERS_A_WRITE: usize = 100;
/// The longest time for giving leases back. What is left then is lost to their callers, a hundredth of a quota at most.
const MAX_CLOSE: Duration = Duration::from_secs(10);

/// Why a lookup was not counted.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// A quota is used up until then; nothing was counted.
    #[error("the daily quota is used up")]
    Exceeded(Duration),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The lookups of one process.
pub struct LookupQuota {
    /// Addresses of one account or client and day; 0 disables the quota.
    quota: i64,
    /// Addresses of all accounts of one homeserver and day; 0 disables this quota.
    per_homeserver: i64,
    /// `[limits] large_homeservers`.
    large: Globs,
    random: Random,
    runtime: Handle,
    capacity: Capacity,
    /// The newest first.
    days: Mutex<Vec<Arc<Day>>>,
    gauges: Gauges,
}

impl LookupQuota {
    /// Allows `quota` addresses of one account or client and day, and `per_homeserver` of all accounts of one homeserver;
    /// 0 disables either quota. The homeservers in `large` get more. Must be called on the main runtime.
    pub fn new(quota: usize, per_homeserver: usize, large: Globs, random: Random) -> Self {
        Self {
            quota: leases::count(quota),
            per_homeserver: leases::count(per_homeserver),
            large,
            random,
            runtime: Handle::current(),
            capacity: CAPACITY,
            days: Mutex::default(),
            gauges: Gauges::default(),
        }
    }

    /// Counts the addresses of one request by `key`.
    ///
    /// # Errors
    /// [`QuotaError::Exceeded`] until the next day if they exceed a quota; none of them is counted then.
    pub async fn charge(
        &self,
        store: &Store,
        key: LimitKey<'_>,
        digests: &[LookupDigest],
        now: Timestamp,
    ) -> Result<(), QuotaError> {
        let group = self.group(key);
        if self.quota == 0 && group.is_none() || digests.is_empty() {
            return Ok(());
        }
        let day = self.day(store, UtcDay::of(now)).await?;
        let group = group.map(|(key, quota)| {
            let subject = subject("daily_quota_of_group", key);
            day.group(subject, || Group::new(subject, name(key), Budget::of_group(quota)))
        });
        let fingerprints = day.fingerprints(digests);
        let own = subject("daily_quota", key);
        if let Some(excess) = day.take_excess(own) {
            tracing::info!(callers = excess.callers.len(), "the lookup quota is full and drops a part of its memory");
            let (store, day) = (store.clone(), day.day);
            self.runtime.spawn(async move {
                if let Err(error) = give_back(&store, day, &excess).await {
                    error.log("the return of unused lookup quotas");
                }
            });
        }
        let caller = day.caller(own);
        if let Ok(new) = caller.count(&fingerprints, group.as_deref()) {
            day.add(new);
            return Ok(());
        }
        // Without a quota of its own an account still needs its fingerprints stored, at the same pace.
        let budget = Budget::of_caller(if self.quota == 0 { i64::MAX } else { self.quota });
        let leasing = lease(store.clone(), Arc::clone(&day), (caller, own, budget), group, fingerprints);
        // A client that disconnects must not lose the lease.
        let leased = self.runtime.spawn(leasing.in_current_span()).await.map_err(|_| StoreError::Interrupted)?;
        let Some(refusal) = leased? else { return Ok(()) };
        let limit = match (refusal, key) {
            (Refusal::Group, LimitKey::Account(_)) => "daily_quota_per_homeserver",
            _ => "daily_quota",
        };
        metrics::counter!("identity_rate_limited_total", "limit" => limit).increment(1);
        Err(QuotaError::Exceeded(day.day.end().since(now)))
    }

    /// Forgets the days after that of `now`, after the clock was set back; their rows are deleted.
    pub fn forget_after(&self, now: Timestamp) {
        let today = UtcDay::of(now).number();
        self.days.lock().retain(|day| day.day.number() <= today);
    }

    /// Stores what was counted and gives the unused leases back, before the process ends.
    pub async fn close(&self, store: &Store) {
        let days = std::mem::take(&mut *self.days.lock());
        let closing = async {
            for day in days {
                give_back(store, day.day, &day.kept()).await?;
            }
            Ok::<_, StoreError>(())
        };
        match tokio::time::timeout(MAX_CLOSE, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => error.log("the return of unused lookup quotas"),
            Err(_) => tracing::warn!("not all unused lookup quotas were returned in time"),
        }
    }

    /// Updates the metric of the homeservers that use most of their quota.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn update_gauges(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        self.gauges.update(store, self.per_homeserver, now).await
    }

    async fn day(&self, store: &Store, day: UtcDay) -> Result<Arc<Day>, StoreError> {
        let find = |days: &[Arc<Day>]| days.iter().find(|known| known.day == day).cloned();
        if let Some(known) = find(&self.days.lock()) {
            return Ok(known);
        }
        let fresh = self.random.bytes();
        let key = store.write(async move |conn| lookup_days::find_or_insert(conn, day.number(), &fresh).await).await?;
        let mut days = self.days.lock();
        if let Some(known) = find(&days) {
            return Ok(known);
        }
        let new = Arc::new(Day::new(day, key, self.capacity));
        days.insert(0, Arc::clone(&new));
        let kept = days.len().min(DAYS);
        let dropped = days.split_off(kept);
        drop(days);
        drop(dropped);
        Ok(new)
    }

    /// The group of the caller, and its quota; none if it has no quota.
    fn group<'a>(&self, key: LimitKey<'a>) -> Option<(LimitKey<'a>, i64)> {
        let (key, quota) = match key {
            LimitKey::Account(mxid) if is_large(mxid.server_name(), &self.large) => {
                let quota = self.per_homeserver.saturating_mul(i64::from(LARGE_FACTOR));
                (LimitKey::LargeHomeserver(mxid.server_name()), quota)
            }
            LimitKey::Account(mxid) => (LimitKey::Homeserver(mxid.server_name()), self.per_homeserver),
            LimitKey::Client(IpAddr::V6(address)) => {
                (LimitKey::ClientSite(address), self.quota.saturating_mul(i64::from(SITE_FACTOR)))
            }
            _ => return None,
        };
        (quota > 0).then_some((key, quota))
    }
}

/// The name of a group in metrics. Networks of clients have none.
fn name(group: LimitKey<'_>) -> Option<String> {
    match group {
        LimitKey::Homeserver(server) => Some(homeserver_group(server)),
        LimitKey::LargeHomeserver(server) => Some(format!("{} (large)", homeserver_group(server))),
        _ => None,
    }
}

/// Counts the fingerprints after a lease, or reports which budget does not suffice.
async fn lease(
    store: Store,
    day: Arc<Day>,
    (caller, subject, budget): (Arc<Caller>, [u8; 32], Budget),
    group: Option<Arc<Group>>,
    fingerprints: Vec<u64>,
) -> Result<Option<Refusal>, StoreError> {
    let _turn = caller.leasing.lock().await;
    let group = group.as_deref();
    // Another request may have obtained a lease meanwhile.
    let new = match caller.count(&fingerprints, group) {
        Ok(number) => {
            day.add(number);
            return Ok(None);
        }
        Err(new) => new,
    };
    let need = Arc::new(caller.take(day.day, (subject, budget), group, new));
    let decision = decide(&store, &need, caller.was_refused(group)).await;
    day.add(caller.put(&need, decision.as_ref().ok(), group));
    Ok(decision?.leased.err())
}

/// Decides by the database. After a refusal it only reads first: refused clients repeat their requests.
async fn decide(store: &Store, need: &Arc<leases::Need>, was_refused: bool) -> Result<leases::Decision, StoreError> {
    if was_refused {
        let need = Arc::clone(need);
        let decision = store.read(async move |conn| leases::decide(conn, &need).await).await?;
        if !decision.is_write() {
            return Ok(decision);
        }
    }
    let need = Arc::clone(need);
    store.write(async move |conn| leases::lease(conn, &need).await).await
}

/// Stores what was counted, and gives the unused leases back.
async fn give_back(store: &Store, day: UtcDay, kept: &Kept) -> Result<(), StoreError> {
    let groups = kept.groups.iter().map(|group| (group.take_share(i64::MAX), Vec::new()));
    let callers = kept.callers.iter().map(|(subject, caller)| {
        let (room, pending) = caller.take_rest();
        (Share { subject: *subject, name: None, budget: Budget::of_caller(0), room }, pending)
    });
    let number = day.number();
    let rests: Vec<_> =
        groups.chain(callers).filter(|(share, pending)| share.room > 0 || !pending.is_empty()).collect();
    for rests in rests.chunks(CALLERS_A_WRITE) {
        let rests: Arc<[_]> = rests.into();
        let written = store.write(async move |conn| {
            for (share, pending) in &*rests {
                leases::give_back(conn, number, share, pending).await?;
            }
            Ok::<_, StoreError>(())
        });
        written.await?;
    }
    Ok(())
}

/// Deletes a batch of what the days before yesterday counted; returns the number of rows. Yesterday is kept for processes
/// whose clocks are behind.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_past(conn: &mut Connection, now: Timestamp) -> Result<usize, StoreError> {
    let yesterday = UtcDay::of(now).number() - 1;
    let is_full = |deleted: usize| leases::count(deleted) >= BATCH;
    let mut deleted = lookup_fingerprints::delete_before(conn, yesterday).await?;
    if !is_full(deleted) {
        deleted += lookup_leases::delete_before(conn, yesterday).await?;
    }
    if !is_full(deleted) {
        lookup_days::delete_before(conn, yesterday).await?;
    }
    Ok(deleted)
}

#[cfg(test)]
mod tests;
