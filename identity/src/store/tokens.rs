//! `tokens`: the access tokens of accounts, as digests.
//!
//! Invariant: no token stands here in clear, so a copy of the database lets nobody in.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::tokens;
use crate::domain::access_token::TokenDigest;
use crate::domain::mxid::UserId;

/// A token that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// Whose it is.
    pub mxid: UserId,
    /// When it was last seen, to about a day.
    pub used_at: Timestamp,
}

queries! {
    /// The token with this digest.
    pub async fn find(conn, digest: &TokenDigest) -> Result<Option<StoredToken>, StoreError> {
        let row: Option<(String, i64)> = tokens::table
            .find(digest.as_bytes().as_slice())
            .select((tokens::mxid, tokens::used_at))
            .first(conn as &mut Conn)
            .await
            .optional()?;
        row.map(|(mxid, used_at)| {
            let mxid = UserId::parse(&mxid).map_err(|_| StoreError::Corrupt("tokens.mxid"))?;
            Ok(StoredToken { mxid, used_at: Timestamp::from_millis(used_at) })
        })
        .transpose()
    }

    /// Adds a token to an account that exists.
    pub async fn insert(conn, digest: &TokenDigest, mxid: &UserId, now: Timestamp) -> Result<(), StoreError> {
        diesel::insert_into(tokens::table)
            .values((
                tokens::digest.eq(digest.as_bytes().as_slice()),
                tokens::mxid.eq(mxid.as_str()),
                tokens::created_at.eq(now.as_millis()),
                tokens::used_at.eq(now.as_millis()),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes all but the `keep` newest tokens of the account.
    pub async fn delete_oldest(conn, mxid: &UserId, keep: usize) -> Result<(), StoreError> {
        let surplus: Vec<Vec<u8>> = tokens::table
            .filter(tokens::mxid.eq(mxid.as_str()))
            .order((tokens::created_at.desc(), tokens::digest))
            .offset(i64::try_from(keep).unwrap_or(i64::MAX))
            // SQLite knows no OFFSET without LIMIT.
            .limit(i64::MAX)
            .select(tokens::digest)
            .load(conn as &mut Conn)
            .await?;
        if !surplus.is_empty() {
            diesel::delete(tokens::table.filter(tokens::digest.eq_any(surplus))).execute(conn).await?;
        }
        Ok(())
    }

    /// Notes that the token was used.
    pub async fn save_used_at(conn, digest: &TokenDigest, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(tokens::table.find(digest.as_bytes().as_slice()))
            .set(tokens::used_at.eq(now.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes the token; false if it was not there.
    pub async fn delete(conn, digest: &TokenDigest) -> Result<bool, StoreError> {
        let gone = diesel::delete(tokens::table.find(digest.as_bytes().as_slice())).execute(conn as &mut Conn).await?;
        Ok(gone > 0)
    }

    /// Removes every token that was last used before `before`; the number of them.
    pub async fn delete_idle(conn, before: Timestamp) -> Result<usize, StoreError> {
        let idle = tokens::table.filter(tokens::used_at.lt(before.as_millis()));
        Ok(diesel::delete(idle).execute(conn as &mut Conn).await?)
    }
}
