//! `onbinds` as a queue: leases, attempts and dead letters.
//!
//! Invariant: a worker leases an onbind before it sends it, so that two processes never send it at the same time. The
//! result for an invite is saved only while the onbind carries it.

use diesel::SelectableHelper;
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, OptionalExtension, QueryDsl, Queryable, Selectable};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::is_live;
use crate::domain::association::Association;
use crate::domain::backoff::NextAttempt;
use crate::domain::invite::InviteToken;
use crate::domain::mxid::UserId;
use crate::domain::onbind::Invitation;
use crate::domain::room_id::RoomId;
use crate::domain::server_name::ServerName;
use crate::domain::threepid::{Medium, ThreePid};
use crate::store::connection::queries;
use crate::store::schema::{invites, onbind_backoffs, onbinds};
use crate::store::{Busy, QueueHead, StoreError};

/// A leased onbind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedOnbind {
    /// The id.
    pub id: String,
    /// The association that it announces.
    pub association: Association,
    /// The former user of the address, if the notification is for the homeserver of that user.
    pub former: Option<UserId>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// Failed attempts so far.
    pub attempts: i32,
    /// When the lease expires; also identifies the lease.
    pub leased_until: Timestamp,
}

impl LeasedOnbind {
    /// The homeserver that receives the notification.
    pub fn server(&self) -> &ServerName {
        self.former.as_ref().unwrap_or(&self.association.mxid).server_name()
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = onbinds)]
struct Row {
    id: String,
    medium: String,
    address: String,
    mxid: String,
    ts: i64,
    not_before: i64,
    not_after: i64,
    created_at: i64,
    attempts: i32,
    next_attempt_at: i64,
    former_mxid: Option<String>,
}

queries! {
    /// Leases the next onbind if it is due, except those to the servers and groups in `busy`. Needs a transaction.
    pub async fn take_due(
        conn,
        now: Timestamp,
        leased_until: Timestamp,
        busy: &Busy,
    ) -> Result<QueueHead<LeasedOnbind>, StoreError> {
        let free = onbinds::leased_until.is_null().or(onbinds::leased_until.lt(now.as_millis()));
        loop {
            let first: Option<Row> = onbinds::table
                .filter(onbinds::dead_at.is_null())
                .filter(free)
                .filter(onbinds::server.ne_all(&busy.destinations))
                .filter(onbinds::server_group.ne_all(&busy.groups))
                // A row of an earlier version has no group: its server is one of its own.
                .filter(onbinds::server_group.ne("").or(onbinds::server.ne_all(&busy.groups)))
                .order(onbinds::next_attempt_at)
                .select(Row::as_select())
                .first(conn as &mut Conn)
                .await
                .optional()?;
            let Some(row) = first else { return Ok(QueueHead::Empty) };
            if row.next_attempt_at > now.as_millis() {
                return Ok(QueueHead::Later(Timestamp::from_millis(row.next_attempt_at)));
            }
            let id = row.id.clone();
            match row.leased(leased_until) {
                Ok(onbind) => {
                    diesel::update(onbinds::table.find(&id))
                        .set(onbinds::leased_until.eq(leased_until.as_millis()))
                        .execute(conn)
                        .await?;
                    return Ok(QueueHead::Due(onbind));
                }
                // Such a row would otherwise block those behind it.
                Err(error) => {
                    let dead = (onbinds::dead_at.eq(now.as_millis()), onbinds::last_failure.eq(error.to_string()));
                    diesel::update(onbinds::table.find(&id)).set(dead).execute(conn).await?;
                }
            }
        }
    }

    /// The ids of the live invites that the onbind carries, oldest first.
    pub async fn list_invites(conn, id: &str, now: Timestamp) -> Result<Vec<String>, StoreError> {
        Ok(invites::table
            .filter(invites::onbind_id.eq(id).and(is_live(now.as_millis())))
            .order((invites::created_at, invites::id))
            .select(invites::id)
            .load(conn as &mut Conn)
            .await?)
    }

    /// Renews the lease and returns those of `wanted` that the onbind still carries; `None` if the onbind was deleted or
    /// another worker has leased it. Needs a transaction.
    pub async fn renew_lease(
        conn,
        onbind: &LeasedOnbind,
        leased_until: Timestamp,
        wanted: &[String],
        now: Timestamp,
    ) -> Result<Option<Vec<Invitation>>, StoreError> {
        let own = onbinds::leased_until.eq(onbind.leased_until.as_millis());
        let renewed = diesel::update(onbinds::table.find(&onbind.id).filter(own))
            .set(onbinds::leased_until.eq(leased_until.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        if renewed == 0 {
            return Ok(None);
        }
        let rows: Vec<(String, String, String, String)> = invites::table
            .filter(invites::onbind_id.eq(&onbind.id).and(is_live(now.as_millis())))
            .filter(invites::id.eq_any(wanted))
            .order((invites::created_at, invites::id))
            .select((invites::id, invites::room_id, invites::sender, invites::token))
            .load(conn)
            .await?;
        rows.into_iter().map(invitation).collect::<Result<_, _>>().map(Some)
    }

    /// Deletes these invites, or marks them delivered if `keep` is set, as far as the onbind still carries them. Returns
    /// their keys, which must stay valid without an expiry.
    pub async fn mark_delivered(
        conn,
        id: &str,
        accepted: &[String],
        keep: bool,
        now: Timestamp,
    ) -> Result<Vec<[u8; 32]>, StoreError> {
        let own = invites::onbind_id.eq(id).and(invites::id.eq_any(accepted));
        let keys: Vec<Option<Vec<u8>>> =
            invites::table.filter(own).select(invites::public_key).load(conn as &mut Conn).await?;
        let delivered = invites::table.filter(invites::onbind_id.eq(id).and(invites::id.eq_any(accepted)));
        if keep {
            let delivery = (invites::delivered_at.eq(now.as_millis()), invites::onbind_id.eq(None::<String>));
            diesel::update(delivered).set(delivery).execute(conn).await?;
        } else {
            diesel::delete(delivered).execute(conn).await?;
        }
        let keys = keys.into_iter().flatten().map(<[u8; 32]>::try_from);
        keys.collect::<Result<_, _>>().map_err(|_| StoreError::Corrupt("invites.public_key"))
    }

    /// Moves an invite that the homeserver has rejected to a dead letter `dead_id`; false if the onbind no longer carries
    /// it.
    pub async fn mark_invite_dead(
        conn,
        id: &str,
        invite: &str,
        dead_id: &str,
        now: Timestamp,
        failure: &str,
    ) -> Result<bool, StoreError> {
        let own = invites::table.filter(invites::id.eq(invite).and(invites::onbind_id.eq(id)));
        let number: i64 = own.count().get_result(conn as &mut Conn).await?;
        if number == 0 {
            return Ok(false);
        }
        let row: (Row, String, String) = onbinds::table
            .find(id)
            .select((Row::as_select(), onbinds::server, onbinds::server_group))
            .get_result(conn)
            .await?;
        let (row, server, server_group) = row;
        diesel::insert_into(onbinds::table)
            .values((
                onbinds::id.eq(dead_id),
                onbinds::medium.eq(row.medium),
                onbinds::address.eq(row.address),
                onbinds::mxid.eq(row.mxid),
                onbinds::server.eq(server),
                onbinds::server_group.eq(server_group),
                onbinds::ts.eq(row.ts),
                onbinds::not_before.eq(row.not_before),
                onbinds::not_after.eq(row.not_after),
                onbinds::created_at.eq(row.created_at),
                onbinds::attempts.eq(row.attempts.saturating_add(1)),
                onbinds::next_attempt_at.eq(now.as_millis()),
                onbinds::dead_at.eq(now.as_millis()),
                onbinds::last_failure.eq(failure),
            ))
            .execute(conn)
            .await?;
        diesel::update(own).set(invites::onbind_id.eq(dead_id)).execute(conn).await?;
        Ok(true)
    }

    /// Deletes an onbind without live invites; false if it carries new ones.
    pub async fn delete_done(conn, onbind: &LeasedOnbind, now: Timestamp) -> Result<bool, StoreError> {
        let left: i64 = invites::table
            .filter(invites::onbind_id.eq(&onbind.id).and(is_live(now.as_millis())))
            .count()
            .get_result(conn as &mut Conn)
            .await?;
        if left > 0 {
            return Ok(false);
        }
        let own = onbinds::leased_until.eq(onbind.leased_until.as_millis());
        diesel::delete(onbinds::table.find(&onbind.id).filter(own)).execute(conn).await?;
        Ok(true)
    }

    /// Saves a failed attempt and ends the lease. An onbind that a new bind has updated meanwhile is due at once.
    pub async fn save_attempt(
        conn,
        onbind: &LeasedOnbind,
        attempts: i32,
        next: NextAttempt,
        failure: Option<&str>,
    ) -> Result<(), StoreError> {
        let own = onbinds::leased_until.eq(onbind.leased_until.as_millis());
        let same = onbinds::created_at.eq(onbind.created_at.as_millis());
        diesel::update(onbinds::table.find(&onbind.id).filter(own.and(same)))
            .set((onbinds::attempts.eq(attempts), onbinds::next_attempt_at.eq(next.at.as_millis())))
            .execute(conn as &mut Conn)
            .await?;
        diesel::update(onbind_backoffs::table.find(&onbind.id))
            .filter(onbind_backoffs::next_attempt_at.eq(next.at.as_millis()))
            .set(onbind_backoffs::backoff.eq(next.backoff_millis()))
            .execute(conn)
            .await?;
        diesel::update(onbinds::table.find(&onbind.id).filter(own))
            .set((onbinds::leased_until.eq(None::<i64>), onbinds::last_failure.eq(failure)))
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Makes a leased onbind a dead letter; false if it was deleted, updated, or leased by another worker meanwhile.
    pub async fn mark_dead(conn, onbind: &LeasedOnbind, now: Timestamp, failure: &str) -> Result<bool, StoreError> {
        let own = onbinds::leased_until.eq(onbind.leased_until.as_millis());
        let same = onbinds::created_at.eq(onbind.created_at.as_millis());
        let marked = diesel::update(onbinds::table.find(&onbind.id).filter(own.and(same)))
            .set((
                onbinds::attempts.eq(onbind.attempts.saturating_add(1)),
                onbinds::dead_at.eq(now.as_millis()),
                onbinds::leased_until.eq(None::<i64>),
                onbinds::last_failure.eq(failure),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(marked > 0)
    }
}

fn invitation(row: (String, String, String, String)) -> Result<Invitation, StoreError> {
    let (id, room_id, sender, token) = row;
    let sender = UserId::from_row(&sender).map_err(|_| StoreError::Corrupt("invites.sender"))?;
    let room_id = RoomId::parse(&room_id).map_err(|_| StoreError::Corrupt("invites.room_id"))?;
    Ok(Invitation { id, room_id, sender, token: InviteToken::from(token) })
}

impl Row {
    fn leased(self, leased_until: Timestamp) -> Result<LeasedOnbind, StoreError> {
        let medium: Medium = self.medium.parse().map_err(|_| StoreError::Corrupt("onbinds.medium"))?;
        let typed = self.address.clone();
        Ok(LeasedOnbind {
            id: self.id,
            association: Association {
                threepid: ThreePid::from_row(medium, self.address, typed),
                mxid: UserId::from_row(&self.mxid).map_err(|_| StoreError::Corrupt("onbinds.mxid"))?,
                ts: Timestamp::from_millis(self.ts),
                not_before: Timestamp::from_millis(self.not_before),
                not_after: Timestamp::from_millis(self.not_after),
            },
            former: self
                .former_mxid
                .map(|former| UserId::from_row(&former))
                .transpose()
                .map_err(|_| StoreError::Corrupt("onbinds.former_mxid"))?,
            created_at: Timestamp::from_millis(self.created_at),
            attempts: self.attempts,
            leased_until,
        })
    }
}
