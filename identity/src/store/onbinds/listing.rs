//! `onbinds` as the operator sees and moves them.
//!
//! Invariant: no address leaves here.

use std::collections::HashMap;

use diesel::SelectableHelper;
use diesel::dsl::{count_star, min};
use diesel::prelude::{ExpressionMethods, QueryDsl, Queryable, Selectable};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use crate::store::StoreError;
use crate::store::connection::queries;
use crate::store::schema::{invites, onbinds};

/// A row as the operator sees it: without its address.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable)]
#[diesel(table_name = onbinds)]
pub struct ListedOnbind {
    /// Its name.
    pub id: String,
    /// The kind of its address.
    pub medium: String,
    /// The user that it is about.
    pub mxid: String,
    /// The homeserver that it is for.
    pub server: String,
    /// Tries so far.
    pub attempts: i32,
    /// Unix milliseconds of the next try.
    pub next_attempt_at: i64,
    /// Unix milliseconds of when it was given up.
    pub dead_at: Option<i64>,
    /// How the last try failed.
    pub last_failure: Option<String>,
}

/// What the operator wants tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// The one of this name.
    One(String),
    /// All that were given up.
    Dead,
    /// All.
    All,
}

queries! {
    /// Everything, next tries first, the dead last; with the number of invites of each.
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

    /// Lets what the operator has chosen begin anew at once; gives how many that are.
    pub async fn retry(conn, chosen: &Chosen, now: Timestamp) -> Result<usize, StoreError> {
        let anew = (
            onbinds::dead_at.eq(None::<i64>),
            onbinds::created_at.eq(now.as_millis()),
            onbinds::attempts.eq(0),
            onbinds::next_attempt_at.eq(now.as_millis()),
        );
        Ok(match chosen {
            Chosen::One(id) => {
                diesel::update(onbinds::table.find(id)).set(anew).execute(conn as &mut Conn).await?
            }
            Chosen::Dead => {
                let dead = onbinds::table.filter(onbinds::dead_at.is_not_null());
                diesel::update(dead).set(anew).execute(conn as &mut Conn).await?
            }
            Chosen::All => diesel::update(onbinds::table).set(anew).execute(conn as &mut Conn).await?,
        })
    }

    /// How many wait to be delivered, and since when the oldest of them does.
    pub async fn count(conn) -> Result<(i64, Option<Timestamp>), StoreError> {
        let (number, oldest): (i64, Option<i64>) = onbinds::table
            .filter(onbinds::dead_at.is_null())
            .select((count_star(), min(onbinds::created_at)))
            .get_result(conn as &mut Conn)
            .await?;
        Ok((number, oldest.map(Timestamp::from_millis)))
    }
}
