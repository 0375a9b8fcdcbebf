//! `lookup_days`: the key of a day that turns lookup digests into fingerprints.
//!
//! Invariant: all processes have the same key for one day.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::StoreError;
use super::connection::queries;
use super::schema::lookup_days;

queries! {
    /// The key of the day; a new day gets `fresh`.
    pub async fn find_or_insert(conn, day: i64, fresh: &[u8; 16]) -> Result<[u8; 16], StoreError> {
        diesel::insert_into(lookup_days::table)
            .values((lookup_days::day.eq(day), lookup_days::fingerprint_key.eq(fresh.as_slice())))
            .on_conflict_do_nothing()
            .execute(conn as &mut Conn)
            .await?;
        let key: Vec<u8> = lookup_days::table.find(day).select(lookup_days::fingerprint_key).get_result(conn).await?;
        key.try_into().map_err(|_| StoreError::Corrupt("lookup_days.fingerprint_key"))
    }

    /// Deletes the days before `day`.
    pub async fn delete_before(conn, day: i64) -> Result<usize, StoreError> {
        let past = lookup_days::table.filter(lookup_days::day.lt(day));
        Ok(diesel::delete(past).execute(conn as &mut Conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::stores;
    use crate::store::{StoreError, lookup_days};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_day_keeps_its_first_key_until_it_is_deleted() {
        for store in stores().await {
            let found = store.write(async |conn| {
                let mut found = Vec::new();
                for (day, fresh) in [(1, 1), (1, 2), (2, 3)] {
                    found.push(lookup_days::find_or_insert(conn, day, &[fresh; 16]).await?[0]);
                }
                lookup_days::delete_before(conn, 2).await?;
                for (day, fresh) in [(1, 4), (2, 5)] {
                    found.push(lookup_days::find_or_insert(conn, day, &[fresh; 16]).await?[0]);
                }
                Ok::<_, StoreError>(found)
            });
            assert_eq!(found.await.unwrap(), [1, 1, 3, 4, 3]);
        }
    }
}
