//! `accounts`: the Matrix users who have registered here.
//!
//! Invariant: an account stays when its tokens go; accepted terms hang on it.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::accounts;
use crate::domain::mxid::UserId;

queries! {
    /// Remembers the account; one that exists already stays as it is.
    pub async fn insert(conn, mxid: &UserId, now: Timestamp) -> Result<(), StoreError> {
        diesel::insert_into(accounts::table)
            .values((accounts::mxid.eq(mxid.as_str()), accounts::created_at.eq(now.as_millis())))
            .on_conflict_do_nothing()
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Whether the user has registered here.
    pub async fn exists(conn, mxid: &UserId) -> Result<bool, StoreError> {
        let found: i64 =
            accounts::table.filter(accounts::mxid.eq(mxid.as_str())).count().get_result(conn as &mut Conn).await?;
        Ok(found > 0)
    }
}
