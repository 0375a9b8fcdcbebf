//! `onbinds`: the outbox of onbind notifications, and the invites that each of them carries.
//!
//! Invariant: an onbind carries only invites of its own address, and belongs to the newest association. Each homeserver
//! of former users has at most one onbind of an address.

pub mod listing;
pub mod outbox;

use diesel::dsl::{auto_type, max};
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::{invites, onbind_backoffs, onbinds};
use crate::domain::association::Association;
use crate::domain::homeserver_group::homeserver_group;
use crate::domain::mxid::UserId;
use crate::domain::threepid::ThreePid;

/// Whether an invite is neither revoked, expired nor delivered.
#[auto_type(no_type_alias)]
fn is_live(now: i64) -> _ {
    invites::revoked_at
        .is_null()
        .and(invites::delivered_at.is_null())
        .and(invites::expires_at.is_null().or(invites::expires_at.gt(now)))
}

queries! {
    /// Queues an onbind of the association as `id` with every live invite of its address. Without such invites it is
    /// queued only if `always` is set; false if it is not queued. Deletes the address's onbinds to other users and its
    /// dead letters. A pending onbind to the same user is updated instead: an attempt in flight delivers its invites, and
    /// they are not sent again. Needs the transaction that saves the association.
    pub async fn save(conn, id: &str, association: &Association, always: bool) -> Result<bool, StoreError> {
        let (medium, address) = (association.threepid.medium().as_str(), association.threepid.address().as_str());
        let mxid = association.mxid.as_str();
        let now = association.ts.as_millis();
        let of_address = onbinds::medium.eq(medium).and(onbinds::address.eq(address));
        let own = onbinds::former_mxid.is_null();
        let outdated = onbinds::mxid.ne(mxid).or(onbinds::dead_at.is_not_null());
        diesel::delete(onbinds::table.filter(of_address).filter(own).filter(outdated))
            .execute(conn as &mut Conn)
            .await?;
        // The homeserver of this user must not receive that the address belongs to another one.
        diesel::delete(onbinds::table.filter(of_address).filter(onbinds::former_mxid.eq(mxid))).execute(conn).await?;
        // The homeservers of earlier users receive the newest association. The end of the lease makes an attempt in flight
        // a try of another notification, whose result does not count.
        diesel::update(onbinds::table.filter(of_address).filter(onbinds::former_mxid.is_not_null()))
            .set((
                onbinds::mxid.eq(mxid),
                onbinds::ts.eq(now),
                onbinds::not_before.eq(association.not_before.as_millis()),
                onbinds::not_after.eq(association.not_after.as_millis()),
                onbinds::created_at.eq(now),
                onbinds::leased_until.eq(None::<i64>),
            ))
            .execute(conn)
            .await?;
        let pending: Option<String> = onbinds::table
            .filter(of_address)
            .filter(own)
            .order(onbinds::created_at)
            .select(onbinds::id)
            .first(conn)
            .await
            .optional()?;
        let waiting = invites::medium.eq(medium).and(invites::address.eq(address)).and(is_live(now));
        let id = pending.as_deref().unwrap_or(id);
        // The homeserver that invites does not have the response yet, so the room does not know the invite.
        let sending: Option<Option<i64>> =
            invites::table.filter(waiting).select(max(invites::sending_until)).get_result(conn).await.optional()?;
        let due = sending.flatten().map_or(now, |until| until.max(now));
        let times = (
            onbinds::ts.eq(now),
            onbinds::not_before.eq(association.not_before.as_millis()),
            onbinds::not_after.eq(association.not_after.as_millis()),
            onbinds::created_at.eq(now),
            onbinds::attempts.eq(0),
            onbinds::next_attempt_at.eq(due),
        );
        if pending.is_some() {
            diesel::update(onbinds::table.find(id)).set(times).execute(conn).await?;
        } else {
            let number: i64 = invites::table.filter(waiting).count().get_result(conn).await?;
            if number == 0 && !always {
                return Ok(false);
            }
            diesel::insert_into(onbinds::table)
                .values((
                    onbinds::id.eq(id),
                    onbinds::medium.eq(medium),
                    onbinds::address.eq(address),
                    onbinds::mxid.eq(mxid),
                    onbinds::server.eq(association.mxid.server_name().as_str()),
                    onbinds::server_group.eq(homeserver_group(association.mxid.server_name())),
                    times,
                ))
                .execute(conn)
                .await?;
        }
        diesel::update(onbind_backoffs::table.find(id))
            .set(onbind_backoffs::backoff.eq(due - now))
            .execute(conn)
            .await?;
        diesel::update(invites::table.filter(waiting)).set(invites::onbind_id.eq(id)).execute(conn).await?;
        // A homeserver that receives the association with its invites needs no second request.
        let server = association.mxid.server_name().as_str();
        let repeated = onbinds::former_mxid.is_not_null().and(onbinds::server.eq(server));
        diesel::delete(onbinds::table.filter(of_address).filter(repeated)).execute(conn).await?;
        Ok(true)
    }

    /// Queues the association as `id` for the homeserver of its former user, without an invite; replaces an earlier one of
    /// this homeserver. Needs the transaction that saves the association.
    pub async fn save_for_former(
        conn,
        id: &str,
        association: &Association,
        former: &UserId,
    ) -> Result<(), StoreError> {
        let (medium, address) = (association.threepid.medium().as_str(), association.threepid.address().as_str());
        let earlier = onbinds::medium
            .eq(medium)
            .and(onbinds::address.eq(address))
            .and(onbinds::server.eq(former.server_name().as_str()))
            .and(onbinds::former_mxid.is_not_null());
        diesel::delete(onbinds::table.filter(earlier)).execute(conn as &mut Conn).await?;
        let now = association.ts.as_millis();
        diesel::insert_into(onbinds::table)
            .values((
                onbinds::id.eq(id),
                onbinds::medium.eq(medium),
                onbinds::address.eq(address),
                onbinds::mxid.eq(association.mxid.as_str()),
                onbinds::server.eq(former.server_name().as_str()),
                onbinds::server_group.eq(homeserver_group(former.server_name())),
                onbinds::ts.eq(now),
                onbinds::not_before.eq(association.not_before.as_millis()),
                onbinds::not_after.eq(association.not_after.as_millis()),
                onbinds::created_at.eq(now),
                onbinds::attempts.eq(0),
                onbinds::next_attempt_at.eq(now),
                onbinds::former_mxid.eq(former.as_str()),
            ))
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Whether a live invite waits for a bind of `threepid`, or for its next attempt.
    pub async fn has_invites(conn, threepid: &ThreePid, now: Timestamp) -> Result<bool, StoreError> {
        let waiting: i64 = invites::table
            .filter(invites::medium.eq(threepid.medium().as_str()))
            .filter(invites::address.eq(threepid.address().as_str()))
            .filter(is_live(now.as_millis()))
            .count()
            .get_result(conn as &mut Conn)
            .await?;
        Ok(waiting > 0)
    }

    /// Deletes the onbinds of the association of `threepid` with `mxid`, also those to homeservers of former users; their
    /// invites wait for the next bind.
    pub async fn delete(conn, threepid: &ThreePid, mxid: &UserId) -> Result<(), StoreError> {
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
