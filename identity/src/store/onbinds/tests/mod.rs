//! Tests of the outbox on both databases: which invites an onbind carries, and which worker may send it.

mod carried_invites;
mod dead_letters;
mod former;
mod leases;
mod model;
mod rebinds;

use std::time::Duration;

use diesel::prelude::{OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::listing;
use super::outbox::LeasedOnbind;
use super::{delete, outbox, save};
use crate::domain::association::Association;
use crate::domain::backoff::NextAttempt;
use crate::domain::invite::{Invite, InviteToken};
use crate::store::connection::queries;
use crate::store::testing::{START, email, user};
use crate::store::{Busy, QueueHead, Store, StoreError, ephemeral_keys, invites, schema};

const BOB: &str = "bob@example.com";

const HOUR: Duration = Duration::from_secs(3600);

queries! {
    /// An invite's `onbind_id` and `delivered_at`.
    #[expect(unreachable_pub, reason = "the macro writes functions for the whole crate")]
    pub async fn find_invite(conn, id: &str) -> Result<Option<(Option<String>, Option<i64>)>, StoreError> {
        Ok(schema::invites::table
            .find(id)
            .select((schema::invites::onbind_id, schema::invites::delivered_at))
            .first(conn as &mut Conn)
            .await
            .optional()?)
    }

    /// Address and user of every onbind, and the addresses of its invites.
    #[expect(unreachable_pub, reason = "the macro writes functions for the whole crate")]
    pub async fn everything(conn) -> Result<Vec<(String, String, Vec<String>)>, StoreError> {
        let rows: Vec<(String, String, String)> = schema::onbinds::table
            .select((schema::onbinds::id, schema::onbinds::address, schema::onbinds::mxid))
            .load(conn as &mut Conn)
            .await?;
        let invites: Vec<(Option<String>, String)> =
            schema::invites::table.select((schema::invites::onbind_id, schema::invites::address)).load(conn).await?;
        let of = |id: &str| {
            let own = invites.iter().filter(|(onbind, _)| onbind.as_deref() == Some(id));
            own.map(|(_, address)| address.clone()).collect()
        };
        Ok(rows.into_iter().map(|(id, address, mxid)| (address, mxid, of(&id))).collect())
    }
}

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

async fn invite(store: &Store, id: &str, address: &str) {
    invite_until(store, id, address, None).await;
}

/// Inserts an invite of the address with its own key.
async fn invite_until(store: &Store, id: &str, address: &str, expires_at: Option<Timestamp>) {
    let mut key = [0; 32];
    key[..id.len()].copy_from_slice(id.as_bytes());
    let token = InviteToken::from(format!("token of {id}"));
    let invite = Invite { id: id.to_owned(), token, public_key: Some(key), expires_at, ..invites::invite(0, address) };
    let inserted = store.write(async move |conn| {
        ephemeral_keys::insert(conn, &key, START, expires_at).await?;
        invites::insert(conn, &invite).await
    });
    inserted.await.unwrap();
}

async fn revoke(store: &Store, id: &'static str) {
    store.write(async move |conn| invites::revoke(conn, id, START).await).await.unwrap();
}

async fn found(store: &Store, id: &'static str) -> Option<(Option<String>, Option<i64>)> {
    store.read(async move |conn| find_invite(conn, id).await).await.unwrap()
}

async fn bind_with(store: &Store, id: &str, address: &str, mxid: &str, ts: Timestamp, always: bool) -> bool {
    let (id, association) = (id.to_owned(), Association::new(email(address), user(mxid), ts, HOUR));
    store.write(async move |conn| save(conn, &id, &association, always).await).await.unwrap()
}

async fn bind(store: &Store, id: &str, address: &str, mxid: &str, ts: Timestamp) -> bool {
    bind_with(store, id, address, mxid, ts, false).await
}

async fn unbind(store: &Store, address: &str, mxid: &str) {
    let (threepid, mxid) = (email(address), user(mxid));
    store.write(async move |conn| delete(conn, &threepid, &mxid).await).await.unwrap();
}

/// Takes the head of the outbox at `now` with a lease of a minute.
async fn head(store: &Store, now: Timestamp, busy: &[&str]) -> QueueHead<LeasedOnbind> {
    let destinations = busy.iter().map(|&server| server.to_owned()).collect();
    head_except(store, now, Busy { destinations, groups: Vec::new() }).await
}

async fn head_except(store: &Store, now: Timestamp, busy: Busy) -> QueueHead<LeasedOnbind> {
    let until = now.plus(Duration::from_secs(60));
    store.write(async move |conn| outbox::take_due(conn, now, until, &busy).await).await.unwrap()
}

async fn take(store: &Store, now: Timestamp) -> LeasedOnbind {
    match head(store, now, &[]).await {
        QueueHead::Due(onbind) => onbind,
        other => panic!("{other:?}"),
    }
}

/// Renews the lease for a minute from `now`; returns the ids of the invites to send.
async fn renew_lease(store: &Store, onbind: &LeasedOnbind, invites: &[&str], now: Timestamp) -> Option<Vec<String>> {
    let (onbind, until) = (onbind.clone(), now.plus(Duration::from_secs(60)));
    let wanted: Vec<String> = invites.iter().map(|&id| id.to_owned()).collect();
    let renewed = store.write(async move |conn| outbox::renew_lease(conn, &onbind, until, &wanted, now).await);
    renewed.await.unwrap().map(|invitations| invitations.into_iter().map(|invitation| invitation.id).collect())
}

/// Marks the invites delivered; returns the first octets of the keys to make permanent.
async fn mark_delivered(store: &Store, onbind: &LeasedOnbind, invites: &[&str], keep: bool) -> Vec<u8> {
    let id = onbind.id.clone();
    let accepted: Vec<String> = invites.iter().map(|&id| id.to_owned()).collect();
    let delivered = store.write(async move |conn| outbox::mark_delivered(conn, &id, &accepted, keep, after(5)).await);
    delivered.await.unwrap().iter().map(|key| key[0]).collect()
}

async fn delete_done(store: &Store, onbind: &LeasedOnbind) -> bool {
    let onbind = onbind.clone();
    store.write(async move |conn| outbox::delete_done(conn, &onbind, after(6)).await).await.unwrap()
}

async fn save_attempt(store: &Store, onbind: &LeasedOnbind, attempts: i32, next: Timestamp) {
    let (onbind, next) = (onbind.clone(), NextAttempt { at: next, backoff: Duration::ZERO });
    let saved = store
        .write(async move |conn| outbox::save_attempt(conn, &onbind, attempts, next, Some("it replied 502")).await);
    saved.await.unwrap();
}

async fn mark_dead(store: &Store, onbind: &LeasedOnbind) -> bool {
    let onbind = onbind.clone();
    store.write(async move |conn| outbox::mark_dead(conn, &onbind, after(7), "too late").await).await.unwrap()
}

async fn mark_invite_dead(store: &Store, onbind: &LeasedOnbind, invite: &'static str, dead_id: &'static str) -> bool {
    let id = onbind.id.clone();
    let marked = store.write(async move |conn| {
        outbox::mark_invite_dead(conn, &id, invite, dead_id, after(7), "it replied 403").await
    });
    marked.await.unwrap()
}

async fn list(store: &Store) -> Vec<(listing::ListedOnbind, i64)> {
    store.read(async |conn| listing::list(conn).await).await.unwrap()
}

async fn count(store: &Store) -> (i64, Option<Timestamp>) {
    store.read(async |conn| listing::count(conn).await).await.unwrap()
}
