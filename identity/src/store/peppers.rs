//! `peppers`: the pepper that lookup hashes are made with.
//!
//! Invariant: there is exactly one row, and its pepper made every digest in `associations`.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::peppers;
use crate::domain::lookup_hash::Pepper;

queries! {
    /// The pepper in force; on a new database `fresh` becomes it. Processes that start together agree.
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
        let pepper: String = peppers::table.find(1).select(peppers::pepper).first(conn).await?;
        Pepper::parse(&pepper).map_err(|_| StoreError::Corrupt("peppers.pepper"))
    }
}
