//! Moves addresses that an earlier version stored in another form to their canonical form, at the start.
//!
//! Invariant: of two associations whose addresses are one now, the newer one stays.

use crate::domain::lookup_hash::{LookupDigests, Pepper};
use crate::domain::threepid::{Medium, ThreePid};
use crate::store::{Store, StoreError, associations, invites};

/// Stores A-labels as U-labels, adds the lookup hash of the A-labels, and drops the old digit of Mexican numbers.
///
/// # Errors
/// [`StoreError`].
pub async fn unify_addresses(store: &Store, pepper: &Pepper) -> Result<(), StoreError> {
    let pepper = pepper.clone();
    let changed = store.write(async move |conn| {
        let mut changed = 0_usize;
        let mut rows = associations::list_old_forms(conn).await?;
        // Those that keep their address first, so that a newer one may replace them.
        rows.sort_by_key(|(old, association)| association.threepid.address().as_str() != old);
        for (old, mut association) in rows {
            let medium = association.threepid.medium();
            let Ok(threepid) = ThreePid::canonical(medium, association.threepid.typed()) else { continue };
            let has_moved = threepid.address().as_str() != old;
            if !has_moved && threepid.ascii_form().is_none() {
                continue;
            }
            association.threepid = threepid;
            if has_moved {
                associations::delete_form(conn, medium, &old).await?;
                let other = associations::find(conn, &association.threepid).await?;
                if other.is_some_and(|other| other.ts >= association.ts) {
                    continue;
                }
            }
            let digests = LookupDigests::of(&association.threepid, &pepper);
            associations::save(conn, &association, &digests).await?;
            changed += 1;
        }
        for old in invites::list_old_forms(conn).await? {
            if let Ok(threepid) = ThreePid::canonical(Medium::Email, &old)
                && threepid.address().as_str() != old
            {
                invites::save_form(conn, &old, threepid.address().as_str()).await?;
                changed += 1;
            }
        }
        Ok::<_, StoreError>(changed)
    });
    let changed = changed.await?;
    if changed > 0 {
        tracing::info!(changed, "addresses were moved to their canonical form");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::unify_addresses;
    use crate::domain::association::Association;
    use crate::domain::lookup_hash::{LookupDigest, LookupDigests, Pepper};
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::store::associations;
    use crate::store::testing::{START, execute, stores, user};

    #[tokio::test(flavor = "multi_thread")]
    async fn the_newer_owner_of_two_forms_stays_and_both_spellings_find_him() {
        for store in stores().await {
            let pepper = Pepper::parse("matrixrocks").unwrap();
            let (ascii, unicode) = ("me@xn--mller-kva.example", "me@müller.example");
            // As an earlier version stored them.
            for (number, address, mxid, after) in [(1, ascii, "@new:hs", 5), (2, unicode, "@old:hs", 0)] {
                let threepid = ThreePid::from_row(Medium::Msisdn, address.to_owned(), address.to_owned());
                let now = START.plus(Duration::from_secs(after));
                let association = Association::new(threepid, user(mxid), now, Duration::from_secs(3600));
                let digest = LookupDigest::from_bytes([number; 32]);
                let digests = LookupDigests { h1: digest, h2: None, ascii: None };
                let save = store.write(async move |conn| associations::save(conn, &association, &digests).await);
                save.await.unwrap();
                execute(&store, "update associations set medium = 'email'").await;
            }
            unify_addresses(&store, &pepper).await.unwrap();
            let digests = [ascii, unicode].map(|address| LookupDigest::of(address, Medium::Email, &pepper));
            let now = START.plus(Duration::from_secs(60));
            let found =
                store.read(async move |conn| associations::list_by_digest(conn, &digests, now).await).await.unwrap();
            assert_eq!(found.len(), 2);
            assert!(found.values().all(|mxid| mxid == "@new:hs"), "{found:?}");
            assert_eq!(store.read(async |conn| associations::count(conn).await).await.unwrap(), 1);
        }
    }
}
