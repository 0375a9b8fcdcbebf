//! `invites`: invitations of unbound addresses.
//!
//! Invariant: a token is stored in clear, as in the room's state; the private key of an invite is not stored.

use diesel::SelectableHelper;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, Insertable, NullableExpressionMethods, OptionalExtension, QueryDsl,
    Queryable, Selectable, TextExpressionMethods,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::{invites, onbind_backoffs, onbinds};
use super::{BATCH, StoreError};
use crate::domain::backoff::NextAttempt;
use crate::domain::invite::{Invite, InviteToken};
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::ThreePid;

/// Selects the invites that match all of its filters.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One of these ids; empty for any.
    pub ids: Vec<String>,
    /// Of this address.
    pub threepid: Option<ThreePid>,
    /// Into this room.
    pub room_id: Option<RoomId>,
    /// From this sender.
    pub sender: Option<UserId>,
}

impl Filter {
    /// Whether there is no filter, so that every invite matches.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty() && self.threepid.is_none() && self.room_id.is_none() && self.sender.is_none()
    }
}

queries! {
    /// Inserts an invite, after its key.
    pub async fn insert(conn, invite: &Invite) -> Result<(), StoreError> {
        diesel::insert_into(invites::table).values(Row::from(invite)).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// Delays the onbind notification of an invite while its request runs: the room does not know the invite yet.
    pub async fn begin_sending(conn, id: &str, until: Timestamp) -> Result<(), StoreError> {
        let sending = invites::sending_until.eq(until.as_millis());
        diesel::update(invites::table.find(id)).set(sending).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// Ends the delay. The onbind that has taken the invite meanwhile is due at `next`; true if there is one. Needs a
    /// transaction.
    pub async fn end_sending(conn, id: &str, next: NextAttempt) -> Result<bool, StoreError> {
        let ended = invites::sending_until.eq(None::<i64>);
        diesel::update(invites::table.find(id)).set(ended).execute(conn as &mut Conn).await?;
        let onbind: Option<Option<String>> =
            invites::table.find(id).select(invites::onbind_id).get_result(conn).await.optional()?;
        let Some(onbind) = onbind.flatten() else { return Ok(false) };
        let due = onbinds::next_attempt_at.eq(next.at.as_millis());
        diesel::update(onbind_backoffs::table.find(&onbind))
            .set(onbind_backoffs::backoff.eq(next.backoff_millis()))
            .execute(conn)
            .await?;
        let waiting = onbinds::table.find(onbind).filter(onbinds::dead_at.is_null());
        Ok(diesel::update(waiting).set(due).execute(conn).await? > 0)
    }

    /// The addresses that an earlier version stored with A-labels.
    pub async fn list_old_forms(conn) -> Result<Vec<String>, StoreError> {
        let old = invites::table.filter(invites::medium.eq("email").and(invites::address.like("%xn--%")));
        Ok(old.select(invites::address).distinct().load(conn as &mut Conn).await?)
    }

    /// Moves invites from one form of an address to another.
    pub async fn save_form(conn, old: &str, new: &str) -> Result<(), StoreError> {
        diesel::update(invites::table.filter(invites::medium.eq("email").and(invites::address.eq(old))))
            .set(invites::address.eq(new))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// The invite with this token, in any state.
    pub async fn find_by_token(conn, token: &str) -> Result<Option<Invite>, StoreError> {
        // PostgreSQL rejects NUL in text, and a client may send any text as a token.
        if token.contains('\0') {
            return Ok(None);
        }
        let row: Option<Row> = invites::table
            .filter(invites::token.eq(token))
            .select(Row::as_select())
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        row.map(Invite::try_from).transpose()
    }

    /// The invites that match all filters, oldest first.
    pub async fn list(conn, filter: &Filter) -> Result<Vec<Invite>, StoreError> {
        let mut query = invites::table.order((invites::created_at, invites::id)).select(Row::as_select()).into_boxed();
        if !filter.ids.is_empty() {
            query = query.filter(invites::id.eq_any(&filter.ids));
        }
        if let Some(threepid) = &filter.threepid {
            query = query.filter(invites::medium.eq(threepid.medium().as_str()));
            query = query.filter(invites::address.eq(threepid.address().as_str()));
        }
        if let Some(room_id) = &filter.room_id {
            query = query.filter(invites::room_id.eq(room_id.as_str()));
        }
        if let Some(sender) = &filter.sender {
            query = query.filter(invites::sender.eq(sender.as_str()));
        }
        let rows: Vec<Row> = query.load(conn as &mut Conn).await?;
        rows.into_iter().map(Invite::try_from).collect()
    }

    /// Revokes an invite, unless it is revoked.
    pub async fn revoke(conn, id: &str, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(invites::table.find(id))
            .filter(invites::revoked_at.is_null())
            .set(invites::revoked_at.eq(now.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Deletes an invite; its key stays.
    pub async fn delete(conn, id: &str) -> Result<(), StoreError> {
        diesel::delete(invites::table.find(id)).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// A batch of the invites that were revoked before `before`, and of those that were stored before it and still wait
    /// for a bind.
    pub async fn list_abandoned(conn, before: Timestamp) -> Result<Vec<String>, StoreError> {
        let before = before.as_millis();
        let waiting = invites::created_at
            .lt(before)
            .and(invites::revoked_at.is_null())
            .and(invites::delivered_at.is_null())
            // An invite with an expiry waits until then.
            .and(invites::expires_at.is_null())
            .and(invites::onbind_id.is_null());
        let abandoned = invites::table.filter(invites::revoked_at.lt(before).assume_not_null().or(waiting));
        Ok(abandoned.select(invites::id).limit(BATCH).load(conn as &mut Conn).await?)
    }

    /// Deletes those of the invites that no onbind has taken since; returns their number. Their keys stay: a user who
    /// followed the link of the mail has joined with one.
    pub async fn delete_abandoned(conn, ids: &[String]) -> Result<usize, StoreError> {
        let abandoned = invites::table
            .filter(invites::id.eq_any(ids))
            .filter(
                invites::revoked_at
                    .is_not_null()
                    .or(invites::onbind_id.is_null().and(invites::delivered_at.is_null())),
            );
        Ok(diesel::delete(abandoned).execute(conn as &mut Conn).await?)
    }

    /// Deletes a batch of the undelivered invites that expired before `before`; returns their number.
    pub async fn delete_expired(conn, before: Timestamp) -> Result<usize, StoreError> {
        let expired = invites::table
            .filter(invites::expires_at.lt(before.as_millis()))
            .filter(invites::delivered_at.is_null());
        let ids: Vec<String> = expired.select(invites::id).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(invites::table.filter(invites::id.eq_any(ids))).execute(conn).await?)
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = invites)]
struct Row {
    id: String,
    medium: String,
    address: String,
    room_id: String,
    sender: String,
    token: String,
    public_key: Option<Vec<u8>>,
    created_at: i64,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    delivered_at: Option<i64>,
    onbind_id: Option<String>,
}

impl From<&Invite> for Row {
    fn from(invite: &Invite) -> Self {
        Self {
            id: invite.id.clone(),
            medium: invite.threepid.medium().as_str().to_owned(),
            address: invite.threepid.address().as_str().to_owned(),
            room_id: invite.room_id.as_str().to_owned(),
            sender: invite.sender.as_str().to_owned(),
            token: invite.token.as_str().to_owned(),
            public_key: invite.public_key.map(|key| key.to_vec()),
            created_at: invite.created_at.as_millis(),
            expires_at: invite.expires_at.map(Timestamp::as_millis),
            revoked_at: invite.revoked_at.map(Timestamp::as_millis),
            delivered_at: invite.delivered_at.map(Timestamp::as_millis),
            onbind_id: invite.onbind_id.clone(),
        }
    }
}

impl TryFrom<Row> for Invite {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let medium = row.medium.parse().map_err(|_| StoreError::Corrupt("invites.medium"))?;
        let public_key = row.public_key.map(<[u8; 32]>::try_from).transpose();
        Ok(Self {
            id: row.id,
            threepid: ThreePid::from_row(medium, row.address.clone(), row.address),
            room_id: RoomId::parse(&row.room_id).map_err(|_| StoreError::Corrupt("invites.room_id"))?,
            sender: UserId::from_row(&row.sender).map_err(|_| StoreError::Corrupt("invites.sender"))?,
            token: InviteToken::from(row.token),
            public_key: public_key.map_err(|_| StoreError::Corrupt("invites.public_key"))?,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: row.expires_at.map(Timestamp::from_millis),
            revoked_at: row.revoked_at.map(Timestamp::from_millis),
            delivered_at: row.delivered_at.map(Timestamp::from_millis),
            onbind_id: row.onbind_id,
        })
    }
}

/// An invite of `typed` by `@alice:hs` into `!r:hs`, created at the start, with the key `[number; 32]`, for tests.
#[cfg(test)]
pub(crate) fn invite(number: u8, typed: &str) -> Invite {
    Invite {
        id: format!("invite{number}"),
        threepid: super::testing::email(typed),
        room_id: RoomId::parse("!r:hs").unwrap(),
        sender: super::testing::user("@alice:hs"),
        token: InviteToken::from(format!("token{number}")),
        public_key: Some([number; 32]),
        created_at: super::testing::START,
        expires_at: None,
        revoked_at: None,
        delivered_at: None,
        onbind_id: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Filter, invite};
    use crate::domain::invite::{Invite, InviteState};
    use crate::domain::room_id::RoomId;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{Store, ephemeral_keys, invites};

    async fn insert(store: &Store, invite: &Invite) {
        let invite = invite.clone();
        let inserted = store.write(async move |conn| {
            if let Some(key) = &invite.public_key {
                ephemeral_keys::insert(conn, key, invite.created_at, invite.expires_at).await?;
            }
            invites::insert(conn, &invite).await
        });
        inserted.await.unwrap();
    }

    async fn find(store: &Store, token: &str) -> Option<Invite> {
        let token = token.to_owned();
        store.read(async move |conn| invites::find_by_token(conn, &token).await).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_invite_is_found_by_its_exact_token_and_read_unchanged() {
        for store in stores().await {
            let ending = Some(START.plus(Duration::from_secs(9)));
            let invite = Invite { expires_at: ending, ..invite(1, "Bob@Example.com") };
            insert(&store, &invite).await;
            let imported = Invite { public_key: None, ..self::invite(2, "bob@example.com") };
            insert(&store, &imported).await;
            assert_eq!(find(&store, "token1").await, Some(invite));
            assert_eq!(find(&store, "token2").await, Some(imported));
            for token in ["", "Token1", "token1\0", "token"] {
                assert_eq!(find(&store, token).await, None, "{token:?}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn duplicate_tokens_and_keys_and_invites_without_their_key_are_rejected() {
        for store in stores().await {
            insert(&store, &invite(1, "bob@example.com")).await;
            let again = Invite { id: "other".to_owned(), public_key: None, ..invite(1, "carol@example.com") };
            assert!(store.write(async move |conn| invites::insert(conn, &again).await).await.is_err());
            let same_key = store.write(async |conn| ephemeral_keys::insert(conn, &[1; 32], START, None).await);
            assert!(same_key.await.is_err());
            let without_key = invite(2, "carol@example.com");
            assert!(store.write(async move |conn| invites::insert(conn, &without_key).await).await.is_err());
            assert!(store.write(async |conn| ephemeral_keys::delete(conn, &[1; 32]).await).await.is_err());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_list_contains_what_matches_all_filters_oldest_first() {
        for store in stores().await {
            let (bob, room) = (email("BOB@example.com"), RoomId::parse("!other:hs").unwrap());
            insert(&store, &Invite { created_at: START.plus(Duration::from_secs(5)), ..invite(1, "bob@example.com") })
                .await;
            insert(&store, &Invite { sender: user("@carol:hs"), ..invite(2, "bob@example.com") }).await;
            insert(&store, &Invite { room_id: room.clone(), ..invite(3, "dave@example.com") }).await;
            let list = async |filter: Filter| -> Vec<String> {
                let found = store.read(async move |conn| invites::list(conn, &filter).await).await.unwrap();
                found.into_iter().map(|invite| invite.id).collect()
            };
            let all = Filter::default();
            assert_eq!(list(all.clone()).await, ["invite2", "invite3", "invite1"]);
            assert_eq!(list(Filter { threepid: Some(bob.clone()), ..all.clone() }).await, ["invite2", "invite1"]);
            assert_eq!(list(Filter { room_id: Some(room), ..all.clone() }).await, ["invite3"]);
            assert_eq!(list(Filter { sender: Some(user("@carol:hs")), ..all.clone() }).await, ["invite2"]);
            let ids = vec!["invite1".to_owned(), "invite3".to_owned(), "none".to_owned()];
            assert_eq!(list(Filter { ids: ids.clone(), ..all.clone() }).await, ["invite3", "invite1"]);
            assert_eq!(list(Filter { ids, threepid: Some(bob), ..all }).await, ["invite1"]);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_revoked_invite_stays_and_a_deleted_or_expired_one_does_not() {
        for store in stores().await {
            let later = START.plus(Duration::from_secs(60));
            insert(&store, &invite(1, "a@x")).await;
            insert(&store, &invite(2, "b@x")).await;
            insert(&store, &Invite { expires_at: Some(later), ..invite(3, "c@x") }).await;
            insert(&store, &Invite { expires_at: Some(later), delivered_at: Some(START), ..invite(4, "d@x") }).await;
            let done = store.write(async move |conn| {
                invites::revoke(conn, "invite1", START).await?;
                invites::revoke(conn, "invite1", later).await?;
                invites::delete(conn, "invite2").await?;
                assert_eq!(invites::delete_expired(conn, later).await?, 0);
                invites::delete_expired(conn, later.plus(Duration::from_millis(1))).await
            });
            assert_eq!(done.await.unwrap(), 1);
            let revoked = find(&store, "token1").await.unwrap();
            assert_eq!((revoked.revoked_at, revoked.state(later)), (Some(START), InviteState::Revoked));
            assert_eq!((find(&store, "token2").await, find(&store, "token3").await), (None, None));
            assert!(find(&store, "token4").await.is_some());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn waiting_and_revoked_invites_are_deleted_and_their_keys_stay() {
        for store in stores().await {
            let later = START.plus(Duration::from_secs(10));
            let in_an_hour = Some(START.plus(Duration::from_secs(3600)));
            insert(&store, &invite(1, "a@x.org")).await;
            insert(&store, &Invite { created_at: later, ..invite(2, "a@x.org") }).await;
            insert(&store, &Invite { revoked_at: Some(START), ..invite(3, "a@x.org") }).await;
            insert(&store, &Invite { revoked_at: Some(later), ..invite(4, "a@x.org") }).await;
            insert(&store, &Invite { delivered_at: Some(START), ..invite(5, "a@x.org") }).await;
            insert(&store, &Invite { expires_at: in_an_hour, ..invite(6, "a@x.org") }).await;
            let delete = async |before| {
                let ids = store.read(async move |conn| invites::list_abandoned(conn, before).await).await.unwrap();
                store.write(async move |conn| invites::delete_abandoned(conn, &ids).await).await.unwrap()
            };
            assert_eq!((delete(START).await, delete(later).await), (0, 2));
            for (number, is_kept) in [(1, false), (2, true), (3, false), (4, true), (5, true), (6, true)] {
                assert_eq!(find(&store, &format!("token{number}")).await.is_some(), is_kept, "{number}");
            }
            let key = invite(1, "a@x.org").public_key.unwrap();
            let is_valid = store.read(async move |conn| ephemeral_keys::is_valid(conn, &key, later).await);
            assert!(is_valid.await.unwrap());
        }
    }
}
