//! Moves addresses that an earlier version stored in another form to their canonical form, at the start.
//!
//! Invariant: of two associations whose addresses are one now, the newer one stays.

use shared::clock::Timestamp;

use crate::domain::association::Association;
use crate::domain::threepid::{Medium, ThreePid};
use crate::store::{Connection, Store, StoreError, associations, invites};

/// The most addresses that one transaction changes: a larger one would block writers for too long.
const CHANGES_A_TRANSACTION: usize = 500;

/// Stores A-labels as U-labels, adds the lookup hash of the A-labels, and drops the old digit of Mexican numbers.
///
/// # Errors
/// [`StoreError`].
pub async fn unify_addresses(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    // Without a transaction: on SQLite the search through whole tables would block the writers of all replicas.
    let (associations, invites) = store
        .read(async |conn| {
            Ok::<_, StoreError>((associations::list_old_forms(conn).await?, invites::list_old_forms(conn).await?))
        })
        .await?;
    let mut associations: Vec<_> = associations.into_iter().filter_map(Change::of_association).collect();
    // Those that keep their address first, so that a newer one may replace them.
    associations.sort_by_key(Change::is_move);
    let invites: Vec<_> = invites.into_iter().filter_map(Change::of_invites).collect();
    let mut changed = 0;
    for batch in associations.chunks(CHANGES_A_TRANSACTION) {
        let batch = batch.to_vec();
        changed += store.write(async move |conn| change_associations(conn, &batch, now).await).await?;
    }
    for batch in invites.chunks(CHANGES_A_TRANSACTION) {
        let batch = batch.to_vec();
        let moved = store.write(async move |conn| {
            for Change { old, new } in &batch {
                invites::save_form(conn, old, new.address().as_str()).await?;
            }
            Ok::<_, StoreError>(batch.len())
        });
        changed += moved.await?;
    }
    if changed > 0 {
        tracing::info!(changed, "addresses were moved to their canonical form");
    }
    Ok(())
}

/// An address as it is stored, and its canonical form.
#[derive(Clone)]
struct Change {
    old: String,
    new: ThreePid,
}

impl Change {
    fn of_association((old, association): (String, Association)) -> Option<Self> {
        let (medium, typed) = (association.threepid.medium(), association.threepid.typed());
        let new = ThreePid::canonical(medium, typed).ok()?;
        Some(Self { old, new }).filter(|change| change.is_move() || change.new.ascii_form().is_some())
    }

    fn of_invites(old: String) -> Option<Self> {
        let new = ThreePid::canonical(Medium::Email, &old).ok()?;
        Some(Self { old, new }).filter(Self::is_move)
    }

    fn is_move(&self) -> bool {
        self.old != self.new.address().as_str()
    }
}

async fn change_associations(conn: &mut Connection, batch: &[Change], now: Timestamp) -> Result<usize, StoreError> {
    let mut changed = 0;
    for change in batch {
        // It may have been removed or replaced since it was listed.
        let medium = change.new.medium();
        let Some(mut association) = associations::find_form(conn, medium, &change.old).await? else { continue };
        if change.is_move() {
            associations::delete_form(conn, medium, &change.old, now).await?;
            let other = associations::find(conn, &change.new).await?;
            if other.is_some_and(|other| other.ts >= association.ts) {
                continue;
            }
        }
        association.threepid = change.new.clone();
        associations::save(conn, &association, now).await?;
        changed += 1;
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::unify_addresses;
    use crate::domain::association::Association;
    use crate::domain::lookup_hash::LookupDigest;
    use crate::domain::pepper::Slot;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::store::associations;
    use crate::store::associations::found;
    use crate::store::testing::{START, execute, pepper, stores, user};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_newer_owner_of_two_forms_stays_and_both_spellings_find_him() {
        for store in stores().await {
            let (ascii, unicode) = ("me@xn--mller-kva.example", "me@müller.example");
            // As an earlier version stored them.
            for (address, mxid, after) in [(ascii, "@new:hs", 5), (unicode, "@old:hs", 0)] {
                let threepid = ThreePid::from_row(Medium::Msisdn, address.to_owned(), address.to_owned());
                let now = START.plus(Duration::from_secs(after));
                let association = Association::new(threepid, user(mxid), now, Duration::from_secs(3600));
                store.write(async move |conn| associations::save(conn, &association, now).await).await.unwrap();
                execute(&store, "update associations set medium = 'email'").await;
            }
            unify_addresses(&store, START).await.unwrap();
            let digests = [ascii, unicode].map(|address| LookupDigest::of(address, Medium::Email, &pepper()));
            let found =
                store.read(async move |conn| found::list_by_digest(conn, Slot::First, &digests).await).await.unwrap();
            let found = found::users_at(&found, START.plus(Duration::from_secs(60)));
            assert_eq!(found.len(), 2);
            assert!(found.values().all(|found| found.mxid == "@new:hs"), "{found:?}");
            assert_eq!(store.read(async |conn| associations::count(conn).await).await.unwrap(), 1);
        }
    }
}
