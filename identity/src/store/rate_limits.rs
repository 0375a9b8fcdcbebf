//! `rate_limits`: token buckets, shared by all processes on the database.
//!
//! Invariant: a row contains only the time at which its bucket is full, and a digest of its key.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::rate_limits;
use super::{BATCH, StoreError};

queries! {
    /// When the bucket of `subject` is full; none if it was not charged lately.
    pub async fn find(conn, subject: &[u8; 32]) -> Result<Option<Timestamp>, StoreError> {
        let full_at: Option<i64> = rate_limits::table
            .find(subject.as_slice())
            .select(rate_limits::full_at)
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        Ok(full_at.map(Timestamp::from_millis))
    }

    /// Saves when the bucket of `subject` is full.
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

    /// Deletes a batch of the full buckets, which equal absent ones; returns their number.
    pub async fn delete_full(conn, now: Timestamp) -> Result<usize, StoreError> {
        let full = rate_limits::table.filter(rate_limits::full_at.le(now.as_millis()));
        let subjects: Vec<Vec<u8>> = full.select(rate_limits::subject).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(rate_limits::table.filter(rate_limits::subject.eq_any(subjects))).execute(conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::store::rate_limits;
    use crate::store::testing::{START, stores};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bucket_has_the_last_saved_time_and_is_deleted_when_full() {
        for store in stores().await {
            let later = START.plus(Duration::from_millis(1));
            let find = async |subject: u8| {
                store.read(async move |conn| rate_limits::find(conn, &[subject; 32]).await).await.unwrap()
            };
            assert_eq!(find(1).await, None);
            let saved = store.write(async move |conn| {
                rate_limits::save(conn, &[1; 32], later).await?;
                rate_limits::save(conn, &[1; 32], START).await?;
                rate_limits::save(conn, &[2; 32], later).await
            });
            saved.await.unwrap();
            assert_eq!((find(1).await, find(2).await), (Some(START), Some(later)));

            let deleted = store.write(async |conn| rate_limits::delete_full(conn, START).await).await.unwrap();
            assert_eq!((deleted, find(1).await, find(2).await), (1, None, Some(later)));
        }
    }
}
