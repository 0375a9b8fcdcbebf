//! `lookup_fingerprints`: what an account or a client has looked up on a day, as fingerprints of 64 bits.
//!
//! Invariant: a row never changes, so a process that has read part n reads only later ones.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;

use super::connection::queries;
use super::schema::lookup_fingerprints;
use super::{BATCH, StoreError};

queries! {
    /// The fingerprints of `subject` in the parts after `after`.
    pub async fn list(conn, day: i64, subject: &[u8; 32], after: i64) -> Result<Vec<u64>, StoreError> {
        let parts: Vec<Vec<u8>> = lookup_fingerprints::table
            .filter(lookup_fingerprints::day.eq(day))
            .filter(lookup_fingerprints::subject.eq(subject.as_slice()))
            .filter(lookup_fingerprints::part.gt(after))
            .select(lookup_fingerprints::fingerprints)
            .load(conn as &mut Conn)
            .await?;
        let mut fingerprints = Vec::new();
        for part in parts {
            let (part, []) = part.as_chunks() else {
                return Err(StoreError::Corrupt("lookup_fingerprints.fingerprints"));
            };
            fingerprints.extend(part.iter().map(|bytes| u64::from_le_bytes(*bytes)));
        }
        Ok(fingerprints)
    }

    /// Adds a part.
    pub async fn insert(
        conn,
        day: i64,
        subject: &[u8; 32],
        part: i64,
        fingerprints: &[u64],
    ) -> Result<(), StoreError> {
        let bytes: Vec<u8> = fingerprints.iter().flat_map(|fingerprint| fingerprint.to_le_bytes()).collect();
        diesel::insert_into(lookup_fingerprints::table)
            .values((
                lookup_fingerprints::day.eq(day),
                lookup_fingerprints::subject.eq(subject.as_slice()),
                lookup_fingerprints::part.eq(part),
                lookup_fingerprints::fingerprints.eq(bytes),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Deletes a batch of the parts of the days before `day`; returns their number.
    pub async fn delete_before(conn, day: i64) -> Result<usize, StoreError> {
        let past = lookup_fingerprints::table.filter(lookup_fingerprints::day.lt(day));
        let subjects: Vec<Vec<u8>> =
            past.select(lookup_fingerprints::subject).limit(BATCH).load(conn as &mut Conn).await?;
        let past = past.filter(lookup_fingerprints::subject.eq_any(subjects));
        Ok(diesel::delete(past).execute(conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::testing::stores;
    use crate::store::{StoreError, lookup_fingerprints};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_gets_the_parts_after_those_that_it_knows() {
        for store in stores().await {
            let listed = store.write(async |conn| {
                let rows = [(1, 1, 1, [u64::MAX, 2]), (1, 1, 2, [3, 4]), (1, 2, 1, [5, 6]), (2, 1, 1, [7, 8])];
                for (day, subject, part, fingerprints) in rows {
                    lookup_fingerprints::insert(conn, day, &[subject; 32], part, &fingerprints).await?;
                }
                let mut listed = Vec::new();
                for (day, subject, after) in [(1, 1, 0), (1, 1, 1), (1, 1, 2), (2, 1, 0)] {
                    let mut found = lookup_fingerprints::list(conn, day, &[subject; 32], after).await?;
                    found.sort_unstable();
                    listed.push(found);
                }
                let deleted = lookup_fingerprints::delete_before(conn, 2).await?;
                for day in [1, 2] {
                    listed.push(lookup_fingerprints::list(conn, day, &[1; 32], 0).await?);
                }
                Ok::<_, StoreError>((listed, deleted))
            });
            let expected = vec![vec![2, 3, 4, u64::MAX], vec![3, 4], vec![], vec![7, 8], vec![], vec![7, 8]];
            assert_eq!(listed.await.unwrap(), (expected, 3));
        }
    }
}
