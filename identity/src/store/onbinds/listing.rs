//! `onbinds` for the operator: list, retry and count.
//!
//! Invariant: no result contains an address.

use std::collections::HashMap;

use diesel::SelectableHelper;
use diesel::dsl::{count_star, min};
use diesel::prelude::{ExpressionMethods, QueryDsl, Queryable, Selectable};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use crate::store::connection::queries;
use crate::store::schema::{invites, onbinds};
use crate::store::{BATCH, StoreError};

/// An onbind without its address.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = onbinds)]
pub struct ListedOnbind {
    /// The id.
    pub id: String,
    /// The medium of its address.
    pub medium: String,
    /// The user who has bound the address.
    pub mxid: String,
    /// The user's homeserver.
    pub server: String,
    /// Failed attempts so far.
    pub attempts: i32,
    /// Unix milliseconds of the next attempt.
    pub next_attempt_at: i64,
    /// Unix milliseconds when it became a dead letter.
    pub dead_at: Option<i64>,
    /// The failure of the last attempt.
    pub last_failure: Option<String>,
}

/// The onbinds that the operator retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetrySelection {
    /// The one with this id.
    One(String),
    /// All dead letters.
    Dead,
    /// All.
    All,
}

queries! {
    /// All onbinds with the number of their invites: by next attempt, dead letters last.
    pub async fn list(conn) -> Result<Vec<(ListedOnbind, i64)>, StoreError> {
        let rows: Vec<ListedOnbind> = onbinds::table
            .order((onbinds::dead_at.is_not_null(), onbinds::next_attempt_at, onbinds::id))
            .select(ListedOnbind::as_select())
            .load(conn as &mut Conn)
            .await?;
        let numbers: Vec<(Option<String>, i64)> = invites::table
            .filter(invites::onbind_id.is_not_null())
            .group_by(invites::onbind_id)
            .select((invites::onbind_id, count_star()))
            .load(conn)
            .await?;
        let numbers: HashMap<_, _> = numbers.into_iter().collect();
        let number = |row: &ListedOnbind| numbers.get(&Some(row.id.clone())).copied().unwrap_or(0);
        Ok(rows.into_iter().map(|row| (row.clone(), number(&row))).collect())
    }

    /// Makes the selected onbinds due at once, without failed attempts; returns their number.
    pub async fn retry(conn, selection: &RetrySelection, now: Timestamp) -> Result<usize, StoreError> {
        let reset = (
            onbinds::dead_at.eq(None::<i64>),
            onbinds::created_at.eq(now.as_millis()),
            onbinds::attempts.eq(0),
            onbinds::next_attempt_at.eq(now.as_millis()),
        );
        Ok(match selection {
            RetrySelection::One(id) => {
                diesel::update(onbinds::table.find(id)).set(reset).execute(conn as &mut Conn).await?
            }
            RetrySelection::Dead => {
                let dead = onbinds::table.filter(onbinds::dead_at.is_not_null());
                diesel::update(dead).set(reset).execute(conn as &mut Conn).await?
            }
            RetrySelection::All => diesel::update(onbinds::table).set(reset).execute(conn as &mut Conn).await?,
        })
    }

    /// Deletes a batch of the onbinds that became dead letters before `before`; their invites wait for a bind. Returns
    /// their number.
    pub async fn delete_dead(conn, before: Timestamp) -> Result<usize, StoreError> {
        let old = onbinds::table.filter(onbinds::dead_at.lt(before.as_millis()));
        let ids: Vec<String> = old.select(onbinds::id).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(onbinds::table.filter(onbinds::id.eq_any(ids))).execute(conn).await?)
    }

    /// The number of pending onbinds, and when the oldest of them was queued.
    pub async fn count(conn) -> Result<(i64, Option<Timestamp>), StoreError> {
        let (number, oldest): (i64, Option<i64>) = onbinds::table
            .filter(onbinds::dead_at.is_null())
            .select((count_star(), min(onbinds::created_at)))
            .get_result(conn as &mut Conn)
            .await?;
        Ok((number, oldest.map(Timestamp::from_millis)))
    }
}
