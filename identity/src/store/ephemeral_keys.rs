//! `ephemeral_keys`: the public halves of the invites' key pairs.
//!
//! Invariant: a private half is never stored. A key outlives its invite, because homeservers validate it at every join by
//! that invite.

use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::ephemeral_keys;
use super::{BATCH, StoreError};

queries! {
    /// Inserts a key, valid until `expires_at` if given.
    pub async fn insert(
        conn,
        public_key: &[u8; 32],
        created_at: Timestamp,
        expires_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        diesel::insert_into(ephemeral_keys::table)
            .values((
                ephemeral_keys::public_key.eq(public_key.as_slice()),
                ephemeral_keys::created_at.eq(created_at.as_millis()),
                ephemeral_keys::expires_at.eq(expires_at.map(Timestamp::as_millis)),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Whether the key exists and is neither revoked nor expired.
    pub async fn is_valid(conn, public_key: &[u8; 32], now: Timestamp) -> Result<bool, StoreError> {
        let is_current = ephemeral_keys::expires_at.is_null().or(ephemeral_keys::expires_at.gt(now.as_millis()));
        let found: Option<i64> = ephemeral_keys::table
            .find(public_key.as_slice())
            .filter(ephemeral_keys::revoked_at.is_null())
            .filter(is_current)
            .select(ephemeral_keys::created_at)
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        Ok(found.is_some())
    }

    /// Removes the expiry of these keys, whose invites were delivered. A revoked key stays revoked.
    pub async fn make_permanent(conn, public_keys: &[[u8; 32]]) -> Result<(), StoreError> {
        let public_keys: Vec<&[u8]> = public_keys.iter().map(<[u8; 32]>::as_slice).collect();
        diesel::update(ephemeral_keys::table.filter(ephemeral_keys::public_key.eq_any(public_keys)))
            .set(ephemeral_keys::expires_at.eq(None::<i64>))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Revokes a key.
    pub async fn revoke(conn, public_key: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        diesel::update(ephemeral_keys::table.find(public_key.as_slice()))
            .filter(ephemeral_keys::revoked_at.is_null())
            .set(ephemeral_keys::revoked_at.eq(now.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes a key; its invite has to go first.
    pub async fn delete(conn, public_key: &[u8; 32]) -> Result<(), StoreError> {
        diesel::delete(ephemeral_keys::table.find(public_key.as_slice())).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// Deletes a batch of the keys that expired before `before`, after their invites; returns their number.
    pub async fn delete_expired(conn, before: Timestamp) -> Result<usize, StoreError> {
        let expired = ephemeral_keys::table.filter(ephemeral_keys::expires_at.lt(before.as_millis()));
        let keys: Vec<Vec<u8>> =
            expired.select(ephemeral_keys::public_key).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(ephemeral_keys::table.filter(ephemeral_keys::public_key.eq_any(keys))).execute(conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::store::ephemeral_keys;
    use crate::store::testing::{START, stores};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_key_is_valid_until_it_expires_or_is_revoked_and_without_expiry_once_permanent() {
        for store in stores().await {
            let later = START.plus(Duration::from_secs(10));
            let inserted = store.write(async move |conn| {
                ephemeral_keys::insert(conn, &[1; 32], START, None).await?;
                ephemeral_keys::insert(conn, &[2; 32], START, Some(later)).await?;
                ephemeral_keys::insert(conn, &[3; 32], START, Some(later)).await?;
                ephemeral_keys::insert(conn, &[4; 32], START, None).await?;
                ephemeral_keys::make_permanent(conn, &[[3; 32]]).await?;
                ephemeral_keys::revoke(conn, &[4; 32], START).await
            });
            inserted.await.unwrap();
            let is_valid = async |key: u8, after: u64| {
                let now = START.plus(Duration::from_secs(after));
                store.read(async move |conn| ephemeral_keys::is_valid(conn, &[key; 32], now).await).await.unwrap()
            };
            for (key, at_start, at_the_end) in
                [(1, true, true), (2, true, false), (3, true, true), (4, false, false), (5, false, false)]
            {
                assert_eq!((is_valid(key, 0).await, is_valid(key, 10).await), (at_start, at_the_end), "key {key}");
            }
            assert!(is_valid(2, 9).await);

            let before = START.plus(Duration::from_secs(11));
            let deleted = store.write(async move |conn| ephemeral_keys::delete_expired(conn, before).await).await;
            assert_eq!(deleted.unwrap(), 1);
            store.write(async |conn| ephemeral_keys::delete(conn, &[1; 32]).await).await.unwrap();
            assert!(!is_valid(2, 0).await && !is_valid(1, 0).await && is_valid(3, 99).await);
        }
    }
}
