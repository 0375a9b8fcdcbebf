//! The metric of the homeservers that use most of the lookup quota.
//!
//! Invariant: a label is the domain of a group of homeservers, never an account or an address.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use shared::clock::Timestamp;

use crate::domain::utc_day::UtcDay;
use crate::store::{Store, StoreError, lookup_leases};

/// Groups in the metric.
const GROUPS: i64 = 10;
/// A group is in the metric once it has leased this part of the quota. With all groups, the number of series would grow
/// with every homeserver.
const LEAST_PART: i64 = 100;

/// The groups that the metric has shown; their series stay until the process ends.
#[derive(Default)]
pub(super) struct Gauges(Mutex<BTreeSet<String>>);

impl Gauges {
    /// Updates the metric. `per_homeserver` is the quota of a group.
    ///
    /// # Errors
    /// [`StoreError`]; the metric keeps its values.
    pub(super) async fn update(&self, store: &Store, per_homeserver: i64, now: Timestamp) -> Result<(), StoreError> {
        for (name, leased) in self.values(store, per_homeserver, now).await? {
            #[expect(clippy::cast_precision_loss, reason = "counts stay below 2^53")]
            metrics::gauge!("identity_lookup_quota_leased", "homeservers" => name).set(leased as f64);
        }
        Ok(())
    }

    /// The greatest groups of today, and 0 for those that were among them before.
    pub(super) async fn values(
        &self,
        store: &Store,
        per_homeserver: i64,
        now: Timestamp,
    ) -> Result<Vec<(String, i64)>, StoreError> {
        if per_homeserver == 0 {
            return Ok(Vec::new());
        }
        let (day, least) = (UtcDay::of(now).number(), per_homeserver / LEAST_PART);
        let mut values =
            store.read(async move |conn| lookup_leases::list_greatest(conn, day, least, GROUPS).await).await?;
        let shown = &mut *self.0.lock();
        let ended: Vec<_> = shown.iter().filter(|name| !values.iter().any(|(shown, _)| shown == *name)).collect();
        let ended: Vec<_> = ended.into_iter().map(|name| (name.clone(), 0)).collect();
        shown.extend(values.iter().map(|(name, _)| name.clone()));
        values.extend(ended);
        Ok(values)
    }
}
