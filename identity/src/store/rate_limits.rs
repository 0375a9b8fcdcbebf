//! `rate_limits`: token buckets, shared by all processes on the database.
//!
//! Invariant: a row says only when its bucket is full again; what is counted stands there as a digest.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::rate_limits;

queries! {
    /// When the bucket of `subject` is full again; none if it has not been used lately.
    pub async fn find(conn, subject: &[u8; 32]) -> Result<Option<Timestamp>, StoreError> {
        let full_at: Option<i64> = rate_limits::table
            .find(subject.as_slice())
            .select(rate_limits::full_at)
            .first(conn as &mut Conn)
            .await
            .optional()?;
        Ok(full_at.map(Timestamp::from_millis))
    }

    /// Sets when the bucket of `subject` is full again.
    pub async fn save(conn, subject: &[u8; 32], full_at: Timestamp) -> Result<(), StoreError> {
        diesel::insert_into(rate_limits::table)
            .values((rate_limits::subject.eq(subject.as_slice()), rate_limits::full_at.eq(full_at.as_millis())))
            .on_conflict(rate_limits::subject)
            .do_update()
            .set(rate_limits::full_at.eq(full_at.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes the buckets that are full: they say nothing that an absent one does not say.
    pub async fn delete_full(conn, now: Timestamp) -> Result<usize, StoreError> {
        let full = rate_limits::table.filter(rate_limits::full_at.le(now.as_millis()));
        Ok(diesel::delete(full).execute(conn as &mut Conn).await?)
    }
}
