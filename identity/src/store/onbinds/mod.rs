//! `onbinds`: news of associations for homeservers, and which `invites` go out with each.
//!
//! Invariant: an invite goes out with news of its own address alone, those of the newest association.

pub mod delivery;
pub mod listing;

use diesel::dsl::auto_type;
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;

use super::StoreError;
use super::connection::queries;
use super::schema::{invites, onbinds};
use crate::domain::association::Association;
use crate::domain::mxid::UserId;
use crate::domain::threepid::ThreePid;

/// Whether an invite is to be delivered as far as it is concerned itself.
#[auto_type(no_type_alias)]
fn is_live(now: i64) -> _ {
    invites::revoked_at
        .is_null()
        .and(invites::delivered_at.is_null())
        .and(invites::expires_at.is_null().or(invites::expires_at.gt(now)))
}

queries! {
    /// Gives every invite that waits for the association's address to news of the association, which are queued as `id`
    /// if there are such invites or if `always` is set; false if nothing is queued. Older news of the address end, but
    /// those that are on their way to the same user stay, and tell the new association from then on: what a homeserver
    /// is just taking is not sent to it again. Belongs into the transaction that saves the association.
    pub async fn queue(conn, id: &str, association: &Association, always: bool) -> Result<bool, StoreError> {
        let (medium, address) = (association.threepid.medium().as_str(), association.threepid.address().as_str());
        let mxid = association.mxid.as_str();
        let now = association.ts.as_millis();
        let of_address = onbinds::medium.eq(medium).and(onbinds::address.eq(address));
        let outdated = onbinds::mxid.ne(mxid).or(onbinds::dead_at.is_not_null());
        diesel::delete(onbinds::table.filter(of_address).filter(outdated)).execute(conn as &mut Conn).await?;
        let under_way: Option<String> = onbinds::table
            .filter(of_address)
            .order(onbinds::created_at)
            .select(onbinds::id)
            .first(conn)
            .await
            .optional()?;
        let waiting = invites::medium.eq(medium).and(invites::address.eq(address)).and(is_live(now));
        let id = under_way.as_deref().unwrap_or(id);
        let times = (
            onbinds::ts.eq(now),
            onbinds::not_before.eq(association.not_before.as_millis()),
            onbinds::not_after.eq(association.not_after.as_millis()),
            onbinds::created_at.eq(now),
            onbinds::attempts.eq(0),
            onbinds::next_attempt_at.eq(now),
        );
        if under_way.is_some() {
            diesel::update(onbinds::table.find(id)).set(times).execute(conn).await?;
        } else {
            let number: i64 = invites::table.filter(waiting).count().get_result(conn).await?;
            if number == 0 && !always {
                return Ok(false);
            }
            let server = association.mxid.server_name().as_str();
            diesel::insert_into(onbinds::table)
                .values((
                    onbinds::id.eq(id),
                    onbinds::medium.eq(medium),
                    onbinds::address.eq(address),
                    onbinds::mxid.eq(mxid),
                    onbinds::server.eq(server),
                    times,
                ))
                .execute(conn)
                .await?;
        }
        diesel::update(invites::table.filter(waiting)).set(invites::onbind_id.eq(id)).execute(conn).await?;
        Ok(true)
    }

    /// Ends all news of the association of `threepid` to `mxid`; their invites wait for somebody else then.
    pub async fn cancel(conn, threepid: &ThreePid, mxid: &UserId) -> Result<(), StoreError> {
        let of_pair = onbinds::medium
            .eq(threepid.medium().as_str())
            .and(onbinds::address.eq(threepid.address().as_str()))
            .and(onbinds::mxid.eq(mxid.as_str()));
        diesel::delete(onbinds::table.filter(of_pair)).execute(conn as &mut Conn).await?;
        Ok(())
    }

}

#[cfg(test)]
mod tests;
