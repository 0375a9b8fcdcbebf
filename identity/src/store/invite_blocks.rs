//! `invite_blocks`: digests of who wants no more invitations by mail.
//!
//! Invariant: a row reveals neither an address nor a sender without a signing key.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::invite_blocks;

queries! {
    /// Adds a digest, unless it exists.
    pub async fn insert(conn, digest: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        diesel::insert_into(invite_blocks::table)
            .values((
                invite_blocks::digest.eq(digest.as_slice()),
                invite_blocks::created_at.eq(now.as_millis()),
            ))
            .on_conflict_do_nothing()
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Whether one of the digests exists.
    pub async fn exists(conn, digests: &[[u8; 32]]) -> Result<bool, StoreError> {
        let digests: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
        let found: Option<i64> = invite_blocks::table
            .filter(invite_blocks::digest.eq_any(digests))
            .select(invite_blocks::created_at)
            .first(conn as &mut Conn)
            .await
            .optional()?;
        Ok(found.is_some())
    }

    /// Removes the digests; returns how many there were.
    pub async fn delete(conn, digests: &[[u8; 32]]) -> Result<usize, StoreError> {
        let digests: Vec<&[u8]> = digests.iter().map(<[u8; 32]>::as_slice).collect();
        let rows = invite_blocks::table.filter(invite_blocks::digest.eq_any(digests));
        Ok(diesel::delete(rows).execute(conn as &mut Conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::invite_blocks;
    use crate::store::testing::{START, stores};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_digest_blocks_from_its_insertion_to_its_deletion() {
        for store in stores().await {
            let exists = async |digests: &[u8]| {
                let digests: Vec<[u8; 32]> = digests.iter().map(|digest| [*digest; 32]).collect();
                store.read(async move |conn| invite_blocks::exists(conn, &digests).await).await.unwrap()
            };
            assert!(!exists(&[1, 2]).await && !exists(&[]).await);
            for _ in 0..2 {
                store.write(async |conn| invite_blocks::insert(conn, &[1; 32], START).await).await.unwrap();
            }
            assert!(exists(&[2, 1]).await && !exists(&[2]).await);
            let deleted = store.write(async |conn| invite_blocks::delete(conn, &[[1; 32], [3; 32]]).await).await;
            assert_eq!(deleted.unwrap(), 1);
            assert!(!exists(&[1]).await);
        }
    }
}
