//! `accepted_terms`: which policy URLs an account has agreed to.
//!
//! Invariant: only what was said is kept; whether it suffices is decided each time from the policies of the day.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::accepted_terms;
use crate::domain::mxid::UserId;

queries! {
    /// The URLs that the account has accepted.
    pub async fn list(conn, mxid: &UserId) -> Result<Vec<String>, StoreError> {
        Ok(accepted_terms::table
            .filter(accepted_terms::mxid.eq(mxid.as_str()))
            .select(accepted_terms::url)
            .load(conn as &mut Conn)
            .await?)
    }

    /// Adds URLs to those that the account has accepted.
    pub async fn insert(conn, mxid: &UserId, urls: &[String], now: Timestamp) -> Result<(), StoreError> {
        for url in urls {
            diesel::insert_into(accepted_terms::table)
                .values((
                    accepted_terms::mxid.eq(mxid.as_str()),
                    accepted_terms::url.eq(url),
                    accepted_terms::accepted_at.eq(now.as_millis()),
                ))
                .on_conflict_do_nothing()
                .execute(conn as &mut Conn)
                .await?;
        }
        Ok(())
    }
}
