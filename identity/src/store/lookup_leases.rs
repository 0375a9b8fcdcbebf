//! `lookup_leases`: how much of a daily lookup quota the processes have leased, by account, client or group.
//!
//! Invariant: a row contains no account and no address, only the domain of a group of homeservers.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::connection::queries;
use super::schema::lookup_leases;
use super::{BATCH, StoreError};

/// What all processes together have leased for one subject and day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leases {
    /// Addresses.
    pub leased: i64,
    /// The rows of `lookup_fingerprints`, numbered from 1.
    pub parts: i64,
}

queries! {
    /// The leases of `subject`.
    pub async fn find(conn, day: i64, subject: &[u8; 32]) -> Result<Leases, StoreError> {
        let row: Option<(i64, i64)> = lookup_leases::table
            .find((day, subject.as_slice()))
            .select((lookup_leases::leased, lookup_leases::parts))
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        Ok(row.map(|(leased, parts)| Leases { leased, parts }).unwrap_or_default())
    }

    /// Saves the leases of `subject`. Needs the transaction that found them.
    pub async fn save(
        conn,
        day: i64,
        subject: &[u8; 32],
        leases: Leases,
        name: Option<&str>,
    ) -> Result<(), StoreError> {
        let Leases { leased, parts } = leases;
        diesel::insert_into(lookup_leases::table)
            .values((
                lookup_leases::day.eq(day),
                lookup_leases::subject.eq(subject.as_slice()),
                lookup_leases::leased.eq(leased),
                lookup_leases::parts.eq(parts),
                lookup_leases::name.eq(name),
            ))
            .on_conflict((lookup_leases::day, lookup_leases::subject))
            .do_update()
            .set((lookup_leases::leased.eq(leased), lookup_leases::parts.eq(parts)))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Takes `unused` from the leases of `subject` and adds `parts` to its parts; returns the number of these. None, without
    /// a change, if less is leased.
    pub async fn give_back(
        conn,
        day: i64,
        subject: &[u8; 32],
        unused: i64,
        parts: i64,
    ) -> Result<Option<i64>, StoreError> {
        let row = lookup_leases::table.find((day, subject.as_slice())).filter(lookup_leases::leased.ge(unused));
        let parts = diesel::update(row)
            .set((
                lookup_leases::leased.eq(lookup_leases::leased - unused),
                lookup_leases::parts.eq(lookup_leases::parts + parts),
            ))
            .returning(lookup_leases::parts)
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        Ok(parts)
    }

    /// The groups of homeservers that have leased at least `least`, the greatest `number` of them.
    pub async fn list_greatest(conn, day: i64, least: i64, number: i64) -> Result<Vec<(String, i64)>, StoreError> {
        let rows: Vec<(Option<String>, i64)> = lookup_leases::table
            .filter(lookup_leases::day.eq(day))
            .filter(lookup_leases::name.is_not_null())
            .filter(lookup_leases::leased.ge(least))
            .order(lookup_leases::leased.desc())
            .limit(number)
            .select((lookup_leases::name, lookup_leases::leased))
            .load(conn as &mut Conn)
            .await?;
        Ok(rows.into_iter().filter_map(|(name, leased)| Some((name?, leased))).collect())
    }

    /// Deletes a batch of the leases of the days before `day`; returns their number.
    pub async fn delete_before(conn, day: i64) -> Result<usize, StoreError> {
        let past = lookup_leases::table.filter(lookup_leases::day.lt(day));
        let subjects: Vec<Vec<u8>> = past.select(lookup_leases::subject).limit(BATCH).load(conn as &mut Conn).await?;
        let past = past.filter(lookup_leases::subject.eq_any(subjects));
        Ok(diesel::delete(past).execute(conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::Leases;
    use crate::store::testing::stores;
    use crate::store::{StoreError, lookup_leases};

    #[tokio::test(flavor = "multi_thread")]
    async fn days_and_subjects_have_their_own_leases() {
        for store in stores().await {
            let found = store.write(async |conn| {
                for (day, subject, leased, parts) in [(1, 1, 5, 1), (1, 2, 6, 0), (2, 1, 7, 0), (1, 1, 8, 2)] {
                    lookup_leases::save(conn, day, &[subject; 32], Leases { leased, parts }, None).await?;
                }
                let mut found = Vec::new();
                for (day, subject) in [(1, 1), (1, 2), (2, 1), (2, 2)] {
                    let Leases { leased, parts } = lookup_leases::find(conn, day, &[subject; 32]).await?;
                    found.push((leased, parts));
                }
                for (subject, unused, parts, expected) in
                    [(1, 3, 1, Some(3)), (1, 6, 1, None), (1, 0, 0, Some(3)), (9, 0, 0, None)]
                {
                    let parts = lookup_leases::give_back(conn, 1, &[subject; 32], unused, parts).await?;
                    assert_eq!(parts, expected, "{subject} {unused}");
                }
                found.push((lookup_leases::find(conn, 1, &[1; 32]).await?.leased, 0));
                let deleted = lookup_leases::delete_before(conn, 2).await?;
                let rest = [(1, 1), (2, 1)];
                for (day, subject) in rest {
                    let Leases { leased, parts } = lookup_leases::find(conn, day, &[subject; 32]).await?;
                    found.push((leased, parts));
                }
                Ok::<_, StoreError>((found, deleted))
            });
            let expected = vec![(8, 2), (6, 0), (7, 0), (0, 0), (5, 0), (0, 0), (7, 0)];
            assert_eq!(found.await.unwrap(), (expected, 2));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_greatest_groups_of_a_day_come_first_and_subjects_without_a_name_never() {
        for store in stores().await {
            let greatest = store.write(async |conn| {
                let rows = [(1, "a", 5), (1, "b", 9), (1, "c", 7), (1, "d", 4), (2, "e", 99)];
                for (subject, (day, name, leased)) in (1..).zip(rows) {
                    let leases = Leases { leased, parts: 0 };
                    lookup_leases::save(conn, day, &[subject; 32], leases, Some(name)).await?;
                }
                lookup_leases::save(conn, 1, &[99; 32], Leases { leased: 99, parts: 0 }, None).await?;
                let two = lookup_leases::list_greatest(conn, 1, 0, 2).await?;
                Ok::<_, StoreError>((two, lookup_leases::list_greatest(conn, 1, 5, 10).await?))
            });
            let of = |rows: &[(&str, i64)]| rows.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect::<Vec<_>>();
            let expected = (of(&[("b", 9), ("c", 7)]), of(&[("b", 9), ("c", 7), ("a", 5)]));
            assert_eq!(greatest.await.unwrap(), expected);
        }
    }
}
