//! `peppers`: the pepper of the lookup hashes.
//!
//! Invariant: the table has one row, whose pepper is part of every digest in `associations`.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::peppers;
use crate::domain::lookup_hash::Pepper;

queries! {
    /// The current pepper; a new database gets `fresh`. Processes that start together get the same one.
    pub async fn find_or_insert(conn, fresh: &Pepper, now: Timestamp) -> Result<Pepper, StoreError> {
        diesel::insert_into(peppers::table)
            .values((
                peppers::id.eq(1),
                peppers::pepper.eq(fresh.expose()),
                peppers::created_at.eq(now.as_millis()),
            ))
            .on_conflict_do_nothing()
            .execute(conn as &mut Conn)
            .await?;
        let pepper: String = peppers::table.find(1).select(peppers::pepper).get_result(conn).await?;
        Pepper::parse(&pepper).map_err(|_| StoreError::Corrupt("peppers.pepper"))
    }
}

#[cfg(test)]
mod tests {
    use shared::random::Random;

    use crate::domain::lookup_hash::Pepper;
    use crate::store::testing::{START, stores};
    use crate::store::{Store, peppers};

    async fn find_or_insert(store: &Store, fresh: Pepper) -> String {
        let pepper = store.write(async move |conn| peppers::find_or_insert(conn, &fresh, START).await).await;
        pepper.unwrap().expose().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stored_pepper_is_not_replaced() {
        for store in stores().await {
            let first = Pepper::parse("matrixrocks").unwrap();
            assert_eq!(find_or_insert(&store, first).await, "matrixrocks");
            assert_eq!(find_or_insert(&store, Pepper::draw(Random)).await, "matrixrocks");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_that_start_together_get_the_same_pepper() {
        for store in stores().await {
            let starts = (0..4).map(|_| {
                let store = store.clone();
                tokio::spawn(async move { find_or_insert(&store, Pepper::draw(Random)).await })
            });
            let mut peppers = Vec::new();
            for start in starts.collect::<Vec<_>>() {
                peppers.push(start.await.unwrap());
            }
            peppers.dedup();
            assert_eq!(peppers.len(), 1);
        }
    }
}
