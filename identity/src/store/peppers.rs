//! `peppers`: the peppers of the lookup hashes and their phases; `pepper_progress`: how far a rotation has come.
//!
//! Invariant: one pepper is the current one. A transaction that changes associations reads this table, so that it stores
//! digests under every pepper here.

use diesel::SelectableHelper;
use diesel::prelude::{ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable, Selectable};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::{pepper_progress, peppers};
use super::{AddressKey, Connection, StoreError};
use crate::domain::lookup_hash::Pepper;
use crate::domain::pepper::{Peppers, Phase, PhasedPepper, Slot};

queries! {
    /// All peppers.
    pub async fn list(conn) -> Result<Peppers, StoreError> {
        let rows: Vec<Row> = peppers::table.select(Row::as_select()).load(conn as &mut Conn).await?;
        let parsed = rows.into_iter().map(PhasedPepper::try_from).collect::<Result<_, _>>()?;
        Peppers::new(parsed).ok_or(StoreError::Corrupt("peppers.phase"))
    }

    /// Inserts a pepper, unless another one has its number, slot or phase.
    async fn insert(conn, pepper: &PhasedPepper) -> Result<bool, StoreError> {
        let inserted = diesel::insert_into(peppers::table).values(Row::from(pepper)).on_conflict_do_nothing();
        Ok(inserted.execute(conn as &mut Conn).await? == 1)
    }

    /// Moves a pepper from one phase to the next. False if another process has done that.
    pub async fn save_phase(conn, number: i64, from: Phase, to: Phase, now: Timestamp) -> Result<bool, StoreError> {
        let row = peppers::table.filter(peppers::number.eq(number)).filter(peppers::phase.eq(from.as_str()));
        let changed = diesel::update(row)
            .set((peppers::phase.eq(to.as_str()), peppers::since.eq(now.as_millis())))
            .execute(conn as &mut Conn)
            .await?;
        Ok(changed == 1)
    }

    /// Deletes a pepper that lookups have not used for a while. False if another process has done that.
    pub async fn delete(conn, number: i64) -> Result<bool, StoreError> {
        let row = peppers::table.filter(peppers::number.eq(number)).filter(peppers::phase.eq(Phase::Ending.as_str()));
        Ok(diesel::delete(row).execute(conn as &mut Conn).await? == 1)
    }

    /// The last association that has digests under the pepper that is being prepared; none at the beginning.
    pub async fn find_progress(conn, number: i64) -> Result<Option<AddressKey>, StoreError> {
        let row = pepper_progress::table.find(number).select((pepper_progress::medium, pepper_progress::address));
        Ok(row.get_result(conn as &mut Conn).await.optional()?)
    }

    /// Saves the last association that has digests.
    pub async fn save_progress(conn, number: i64, last: &AddressKey) -> Result<(), StoreError> {
        let (medium, address) = last;
        let position = (pepper_progress::medium.eq(medium), pepper_progress::address.eq(address));
        diesel::insert_into(pepper_progress::table)
            .values((pepper_progress::number.eq(number), position))
            .on_conflict(pepper_progress::number)
            .do_update()
            .set(position)
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    async fn is_empty(conn) -> Result<bool, StoreError> {
        let number: i64 = peppers::table.count().get_result(conn as &mut Conn).await?;
        Ok(number == 0)
    }
}

/// All peppers; a new database gets `fresh` as its current one. Processes that start together get the same one.
///
/// # Errors
/// [`StoreError`].
pub async fn list_or_insert(conn: &mut Connection, fresh: &Pepper, now: Timestamp) -> Result<Peppers, StoreError> {
    if is_empty(conn).await? {
        let phase = Phase::Current;
        insert(conn, &PhasedPepper { number: 1, slot: Slot::First, phase, pepper: fresh.clone(), since: now }).await?;
    }
    list(conn).await
}

/// Inserts `fresh` as a pepper that is being prepared. False while a rotation is not over.
///
/// # Errors
/// [`StoreError`].
pub async fn prepare(conn: &mut Connection, fresh: &Pepper, now: Timestamp) -> Result<bool, StoreError> {
    let Some((number, slot)) = list(conn).await?.next() else { return Ok(false) };
    insert(conn, &PhasedPepper { number, slot, phase: Phase::Preparing, pepper: fresh.clone(), since: now }).await
}

/// Makes the accepted pepper the current one, and the current one the former. False if another process has done that.
///
/// # Errors
/// [`StoreError`].
pub async fn switch(conn: &mut Connection, accepted: i64, current: i64, now: Timestamp) -> Result<bool, StoreError> {
    let listed = list(conn).await?;
    let is_accepted = listed.in_phase(Phase::Accepted).is_some_and(|pepper| pepper.number == accepted);
    if !is_accepted || listed.current().number != current {
        return Ok(false);
    }
    // In this order: no two peppers are in one phase.
    save_phase(conn, current, Phase::Current, Phase::Former, now).await?;
    save_phase(conn, accepted, Phase::Accepted, Phase::Current, now).await
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = peppers)]
struct Row {
    number: i64,
    slot: i32,
    phase: String,
    pepper: String,
    since: i64,
}

impl From<&PhasedPepper> for Row {
    fn from(pepper: &PhasedPepper) -> Self {
        Self {
            number: pepper.number,
            slot: match pepper.slot {
                Slot::First => 1,
                Slot::Second => 2,
            },
            phase: pepper.phase.as_str().to_owned(),
            pepper: pepper.pepper.expose().to_owned(),
            since: pepper.since.as_millis(),
        }
    }
}

impl TryFrom<Row> for PhasedPepper {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == row.phase);
        Ok(Self {
            number: row.number,
            slot: match row.slot {
                1 => Slot::First,
                2 => Slot::Second,
                _ => return Err(StoreError::Corrupt("peppers.slot")),
            },
            phase: phase.ok_or(StoreError::Corrupt("peppers.phase"))?,
            pepper: Pepper::parse(&row.pepper).map_err(|_| StoreError::Corrupt("peppers.pepper"))?,
            since: Timestamp::from_millis(row.since),
        })
    }
}

#[cfg(test)]
mod tests {
    use shared::random::Random;

    use crate::domain::lookup_hash::Pepper;
    use crate::store::testing::{START, execute, stores};
    use crate::store::{Store, peppers};

    async fn list_or_insert(store: &Store, fresh: Pepper) -> String {
        let listed = store.write(async move |conn| peppers::list_or_insert(conn, &fresh, START).await).await.unwrap();
        listed.current().pepper.expose().to_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stored_pepper_is_not_replaced() {
        for store in stores().await {
            execute(&store, "delete from peppers").await;
            let first = Pepper::parse("matrixrocks").unwrap();
            assert_eq!(list_or_insert(&store, first).await, "matrixrocks");
            assert_eq!(list_or_insert(&store, Pepper::draw(Random)).await, "matrixrocks");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn processes_that_start_together_get_the_same_pepper() {
        for store in stores().await {
            execute(&store, "delete from peppers").await;
            let starts = (0..4).map(|_| {
                let store = store.clone();
                tokio::spawn(async move { list_or_insert(&store, Pepper::draw(Random)).await })
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
