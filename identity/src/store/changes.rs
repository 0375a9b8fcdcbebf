//! `changes`: what other processes on the database must read again, and `change_heads`: the last change of each shard.
//!
//! Invariant: within a shard the numbers have no gap and are in the order of the commits. A transaction that appends keeps
//! the row of its shard locked until its end, so a reader of number n has seen, or can see, all numbers below it. (A
//! sequence hands out numbers in another order than that of the commits.)

use std::collections::BTreeMap;

use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::{change_heads, changes};
use super::{BATCH, StoreError};

/// As many as the migration inserts. Transactions of different shards do not wait for each other.
const SHARDS: u8 = 64;
/// The length of a digest.
const LENGTH: usize = 32;
/// Digests in one row.
const DIGESTS_A_CHANGE: usize = 1_000;

/// The number of the last change of each shard.
pub type Heads = BTreeMap<i32, i64>;

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The digests are lookup digests of associations.
    Associations,
    /// The digests are those of access tokens.
    Tokens,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Associations => "associations",
            Self::Tokens => "tokens",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Associations, Self::Tokens]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(StoreError::Corrupt("changes.kind"))
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub number: i64,
    pub kind: Kind,
    pub digests: Vec<[u8; LENGTH]>,
}

queries! {
    /// Appends a change of `digests`, in the transaction that changes their rows.
    pub async fn append(conn, kind: Kind, digests: &[[u8; LENGTH]], now: Timestamp) -> Result<(), StoreError> {
        for part in digests.chunks(DIGESTS_A_CHANGE) {
            // Changes of one digest are in one shard.
            let shard = i32::from(part[0][0] % SHARDS);
            let number: i64 = diesel::update(change_heads::table.find(shard))
                .set(change_heads::number.eq(change_heads::number + 1))
                .returning(change_heads::number)
                .get_result(conn as &mut Conn)
                .await?;
            diesel::insert_into(changes::table)
                .values((
                    changes::shard.eq(shard),
                    changes::number.eq(number),
                    changes::kind.eq(kind.as_str()),
                    changes::digests.eq(part.as_flattened()),
                    changes::created_at.eq(now.as_millis()),
                ))
                .execute(conn)
                .await?;
        }
        Ok(())
    }

    /// The last change of each shard.
    pub async fn heads(conn) -> Result<Heads, StoreError> {
        let heads: Vec<(i32, i64)> = change_heads::table.load(conn as &mut Conn).await?;
        Ok(heads.into_iter().collect())
    }

    /// A batch of the changes of one shard after number `after`, in their order.
    pub async fn list(conn, shard: i32, after: i64) -> Result<Vec<Change>, StoreError> {
        let rows: Vec<(i64, String, Vec<u8>)> = changes::table
            .filter(changes::shard.eq(shard).and(changes::number.gt(after)))
            .order(changes::number)
            .limit(BATCH)
            .select((changes::number, changes::kind, changes::digests))
            .load(conn as &mut Conn)
            .await?;
        rows.into_iter()
            .map(|(number, kind, digests)| {
                let (digests, []) = digests.as_chunks::<LENGTH>() else {
                    return Err(StoreError::Corrupt("changes.digests"));
                };
                Ok(Change { number, kind: Kind::parse(&kind)?, digests: digests.to_vec() })
            })
            .collect()
    }

    /// Deletes a batch of the changes before `before`; returns their number. A process that has not read them reads the
    /// tables again.
    pub async fn delete_old(conn, before: Timestamp) -> Result<usize, StoreError> {
        let old: Vec<(i32, i64)> = changes::table
            .filter(changes::created_at.lt(before.as_millis()))
            .order(changes::created_at)
            .limit(BATCH)
            .select((changes::shard, changes::number))
            .load(conn as &mut Conn)
            .await?;
        let mut last = Heads::new();
        for (shard, number) in old {
            let last = last.entry(shard).or_default();
            *last = number.max(*last);
        }
        let mut deleted = 0;
        // All up to a number, so that no gap appears between those that stay.
        for (shard, number) in last {
            let up_to = changes::table.filter(changes::shard.eq(shard).and(changes::number.le(number)));
            deleted += diesel::delete(up_to).execute(conn).await?;
        }
        Ok(deleted)
    }
}
