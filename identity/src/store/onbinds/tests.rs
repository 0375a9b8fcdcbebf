//! Tests of the outbox on both databases: which invites an onbind carries, and which worker may send it.

mod former;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use diesel::prelude::{OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use shared::clock::Timestamp;

use super::listing::{self, RetrySelection};
use super::outbox::LeasedOnbind;
use super::{delete, outbox, save};
use crate::domain::association::Association;
use crate::domain::invite::{Invite, InviteToken};
use crate::store::connection::queries;
use crate::store::schema;
use crate::store::testing::{START, email, execute, stores, user};
use crate::store::{Busy, QueueHead, Store, StoreError, ephemeral_keys, invites};

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

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_of_a_busy_owner_leave_the_outbox_to_others() {
    for store in stores().await {
        for (n, mxid) in ["@a:a.evil.example", "@b:b.evil.example:8448", "@c:good.example"].into_iter().enumerate() {
            bind_with(&store, &format!("o{n}"), &format!("{n}@example.com"), mxid, after(n as u64), true).await;
        }
        let busy = |group: &str| Busy { destinations: Vec::new(), groups: vec![group.to_owned()] };
        let due = head_except(&store, after(9), busy("evil.example")).await;
        assert!(matches!(&due, QueueHead::Due(onbind) if onbind.server().as_str() == "good.example"), "{due:?}");
        assert_eq!(head_except(&store, after(9), busy("evil.example")).await, QueueHead::Empty);
        assert!(matches!(head_except(&store, after(9), busy("good.example")).await, QueueHead::Due(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_dead_letters_are_deleted_and_their_invites_wait() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, after(1)).await;
        assert!(mark_dead(&store, &onbind).await);
        let delete = async |before: Timestamp| {
            store.write(async move |conn| listing::delete_dead(conn, before).await).await.unwrap()
        };
        assert_eq!((delete(START).await, delete(after(1_000_000)).await), (0, 1));
        assert_eq!(found(&store, "i").await, Some((None, None)));
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
    let onbind = onbind.clone();
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

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_carries_the_invites_of_its_address_only() {
    for store in stores().await {
        invite(&store, "b1", BOB).await;
        invite(&store, "b2", BOB).await;
        invite(&store, "c", "carol@example.com").await;
        assert!(bind(&store, "o", "Bob@Example.com", "@bob:HS.example", START).await);
        let onbind = take(&store, START).await;
        let association = Association::new(email(BOB), user("@bob:HS.example"), START, HOUR);
        assert_eq!((&onbind.association, onbind.created_at, onbind.attempts), (&association, START, 0));
        let listed = store.read(async |conn| outbox::list_invites(conn, "o", START).await).await.unwrap();
        assert_eq!(listed, ["b1", "b2"]);
        assert_eq!(renew_lease(&store, &onbind, &["b1", "b2", "c"], START).await.unwrap(), ["b1", "b2"]);
        assert_eq!(found(&store, "c").await, Some((None, None)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_without_live_invites_is_queued_only_if_always_is_set() {
    for store in stores().await {
        invite_until(&store, "expired", BOB, Some(START)).await;
        invite(&store, "revoked", BOB).await;
        revoke(&store, "revoked").await;
        assert!(!bind(&store, "o", BOB, "@bob:hs", START).await);
        assert_eq!(head(&store, START, &[]).await, QueueHead::Empty);
        assert!(bind_with(&store, "o", BOB, "@bob:hs", START, true).await);
        let onbind = take(&store, START).await;
        assert_eq!(renew_lease(&store, &onbind, &["expired", "revoked"], START).await.unwrap(), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_revoked_or_expires_before_the_request_is_not_sent() {
    for store in stores().await {
        invite_until(&store, "expires", BOB, Some(after(10))).await;
        invite(&store, "revoked", BOB).await;
        invite(&store, "stays", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, START).await;
        assert_eq!(renew_lease(&store, &onbind, &["expires", "revoked", "stays"], START).await.unwrap().len(), 3);
        revoke(&store, "revoked").await;
        let onbind = LeasedOnbind { leased_until: after(60), ..onbind };
        assert_eq!(renew_lease(&store, &onbind, &["expires", "revoked", "stays"], after(10)).await.unwrap(), ["stays"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn onbinds_are_taken_by_next_attempt_and_those_to_busy_servers_wait() {
    for store in stores().await {
        for (id, address, mxid, ts) in [
            ("a", "a@x.org", "@a:One.example", 20),
            ("b", "b@x.org", "@b:two.example", 10),
            ("c", "c@x.org", "@c:one.example", 30),
        ] {
            bind_with(&store, id, address, mxid, after(ts), true).await;
        }
        assert_eq!(head(&store, after(5), &[]).await, QueueHead::Later(after(10)));
        assert_eq!(head(&store, after(5), &["two.example"]).await, QueueHead::Later(after(20)));
        assert_eq!(take(&store, after(40)).await.id, "b");
        assert_eq!(head(&store, after(40), &["one.example"]).await, QueueHead::Empty);
        assert_eq!(take(&store, after(40)).await.id, "a");
        assert_eq!(take(&store, after(40)).await.id, "c");
        assert_eq!(head(&store, after(40), &[]).await, QueueHead::Empty);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leased_onbind_is_not_taken_until_its_lease_expires() {
    for store in stores().await {
        bind_with(&store, "o", BOB, "@bob:hs", START, true).await;
        let slow = take(&store, START).await;
        assert_eq!(head(&store, after(60), &[]).await, QueueHead::Empty);
        assert!(renew_lease(&store, &slow, &[], after(30)).await.is_some());
        let slow = LeasedOnbind { leased_until: after(90), ..slow };
        assert_eq!(head(&store, after(90), &[]).await, QueueHead::Empty);
        let other = take(&store, after(91)).await;
        // A worker whose lease has expired changes nothing.
        assert_eq!(renew_lease(&store, &slow, &[], after(92)).await, None);
        save_attempt(&store, &slow, 7, after(1)).await;
        assert!(!mark_dead(&store, &slow).await);
        delete_done(&store, &slow).await;
        assert!(renew_lease(&store, &other, &[], after(93)).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_onbind_waits_for_its_next_attempt_with_the_failure() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, START).await;
        save_attempt(&store, &onbind, 1, after(100)).await;
        assert_eq!(head(&store, after(99), &[]).await, QueueHead::Later(after(100)));
        let (row, invites) = list(&store).await.remove(0);
        assert_eq!((row.medium.as_str(), row.mxid.as_str(), row.server.as_str()), ("email", "@bob:hs", "hs"));
        assert_eq!((row.attempts, row.next_attempt_at, invites), (1, after(100).as_millis(), 1));
        assert_eq!((row.last_failure.as_deref(), row.dead_at), (Some("it replied 502"), None));
        assert_eq!(take(&store, after(100)).await.attempts, 1);
        assert_eq!(count(&store).await, (1, Some(START)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_invites_are_deleted_or_kept_and_their_keys_are_returned() {
    for store in stores().await {
        for keep in [false, true] {
            let (first, second) = if keep { ("k1", "k2") } else { ("d1", "d2") };
            invite_until(&store, first, BOB, Some(after(1000))).await;
            invite_until(&store, second, BOB, Some(after(1000))).await;
            bind(&store, "o", BOB, "@bob:hs", START).await;
            let onbind = take(&store, START).await;
            assert_eq!(mark_delivered(&store, &onbind, &[first, "unknown"], keep).await, [first.as_bytes()[0]]);
            let kept = keep.then_some((None, Some(after(5).as_millis())));
            assert_eq!(found(&store, first).await, kept);
            assert_eq!(found(&store, second).await, Some((Some("o".to_owned()), None)));
            assert!(!delete_done(&store, &onbind).await);
            mark_delivered(&store, &onbind, &[second], keep).await;
            assert!(delete_done(&store, &onbind).await);
            assert_eq!(count(&store).await, (0, None));
            // A later bind does not carry it again.
            assert!(!bind(&store, "p", BOB, "@carol:hs", after(9)).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bind_by_another_user_takes_over_the_undelivered_invites() {
    for store in stores().await {
        for id in ["got", "refused", "waits"] {
            invite(&store, id, BOB).await;
        }
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let bobs = take(&store, START).await;
        mark_delivered(&store, &bobs, &["got"], false).await;
        assert!(mark_invite_dead(&store, &bobs, "refused", "dead").await);
        // During the request to Bob's homeserver …
        assert!(bind(&store, "p", BOB, "@carol:other", after(1)).await);
        assert_eq!(renew_lease(&store, &bobs, &["waits"], after(2)).await, None);
        // … after which its reply is ignored.
        assert!(mark_delivered(&store, &bobs, &["waits"], false).await.is_empty());
        assert!(!mark_invite_dead(&store, &bobs, "waits", "dead2").await);
        assert!(!mark_dead(&store, &bobs).await);
        let carols = take(&store, after(2)).await;
        assert_eq!((carols.id.as_str(), carols.association.mxid.as_str()), ("p", "@carol:other"));
        assert_eq!(renew_lease(&store, &carols, &["refused", "waits"], after(2)).await.unwrap(), ["refused", "waits"]);
        assert_eq!(list(&store).await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_bind_does_not_send_invites_in_flight_again() {
    for store in stores().await {
        invite(&store, "first", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, START).await;
        invite(&store, "second", BOB).await;
        assert!(bind(&store, "p", BOB, "@bob:hs", after(3)).await);
        assert_eq!(head(&store, after(4), &[]).await, QueueHead::Empty);
        mark_delivered(&store, &onbind, &["first"], false).await;
        assert!(!delete_done(&store, &onbind).await);
        save_attempt(&store, &onbind, 0, after(4)).await;
        let again = take(&store, after(4)).await;
        assert_eq!((again.id.as_str(), again.association.ts, again.created_at), ("o", after(3), after(3)));
        assert_eq!(renew_lease(&store, &again, &["first", "second"], after(4)).await.unwrap(), ["second"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_bind_during_a_request_resets_the_attempts_whatever_the_reply() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, START).await;
        bind(&store, "p", BOB, "@bob:hs", after(3)).await;
        save_attempt(&store, &onbind, 9, after(3000)).await;
        let again = take(&store, after(3)).await;
        assert_eq!((again.attempts, again.created_at), (0, after(3)));
        bind(&store, "p", BOB, "@bob:hs", after(5)).await;
        assert!(!mark_dead(&store, &again).await);
        save_attempt(&store, &again, 0, after(3000)).await;
        let last = take(&store, after(5)).await;
        assert_eq!((last.id.as_str(), last.created_at), ("o", after(5)));
        assert!(mark_dead(&store, &last).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unbind_returns_the_invites_to_the_waiting_ones() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        invite(&store, "refused", BOB).await;
        bind(&store, "o", BOB, "@bob:hs", START).await;
        let onbind = take(&store, START).await;
        assert!(mark_invite_dead(&store, &onbind, "refused", "dead").await);
        unbind(&store, BOB, "@carol:hs").await;
        unbind(&store, "carol@example.com", "@bob:hs").await;
        assert_eq!(found(&store, "i").await, Some((Some("o".to_owned()), None)));
        unbind(&store, BOB, "@bob:hs").await;
        for id in ["i", "refused"] {
            assert_eq!(found(&store, id).await, Some((None, None)));
        }
        assert_eq!(renew_lease(&store, &onbind, &["i"], START).await, None);
        mark_delivered(&store, &onbind, &["i"], false).await;
        assert!(bind(&store, "p", BOB, "@bob:hs", after(9)).await);
        assert_eq!(list(&store).await.iter().map(|(_, invites)| *invites).collect::<Vec<_>>(), [2]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_stays_until_the_operator_retries_it() {
    for store in stores().await {
        for (id, address) in [("i1", "a@x.org"), ("i2", "a@x.org"), ("i3", "b@x.org"), ("i4", "c@x.org")] {
            invite(&store, id, address).await;
        }
        bind(&store, "a", "a@x.org", "@a:hs", START).await;
        let onbind = take(&store, START).await;
        assert!(mark_invite_dead(&store, &onbind, "i1", "dead").await);
        save_attempt(&store, &onbind, 3, after(1000)).await;
        bind(&store, "b", "b@x.org", "@b:hs", after(1)).await;
        let onbind = take(&store, after(1)).await;
        assert!(mark_dead(&store, &onbind).await);
        assert_eq!(head(&store, after(500), &[]).await, QueueHead::Later(after(1000)));
        assert_eq!(count(&store).await, (1, Some(START)));

        let shown = |rows: &[(listing::ListedOnbind, i64)]| -> Vec<(String, bool, i64)> {
            rows.iter().map(|(row, invites)| (row.id.clone(), row.dead_at.is_some(), *invites)).collect()
        };
        let row = |id: &str, is_dead, invites| (id.to_owned(), is_dead, invites);
        let rows = list(&store).await;
        assert_eq!(shown(&rows), [row("a", false, 1), row("b", true, 1), row("dead", true, 1)]);
        assert_eq!(rows[2].0.last_failure.as_deref(), Some("it replied 403"));
        assert_eq!((rows[1].0.last_failure.as_deref(), rows[1].0.attempts), (Some("too late"), 1));

        let retry = async |selection: RetrySelection| {
            store.write(async move |conn| listing::retry(conn, &selection, after(600)).await).await.unwrap()
        };
        assert_eq!(retry(RetrySelection::One("unknown".to_owned())).await, 0);
        assert_eq!(retry(RetrySelection::One("dead".to_owned())).await, 1);
        let again = take(&store, after(600)).await;
        assert_eq!((again.id.as_str(), again.attempts, again.created_at), ("dead", 0, after(600)));
        assert_eq!(retry(RetrySelection::Dead).await, 1);
        assert_eq!(take(&store, after(600)).await.id, "b");
        assert_eq!(retry(RetrySelection::All).await, 3);
        assert_eq!(take(&store, after(600)).await.id, "a");
        assert_eq!(count(&store).await, (3, Some(after(600))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_workers_never_take_the_same_onbind() {
    for store in stores().await {
        for number in 0..12 {
            bind_with(&store, &format!("o{number:02}"), &format!("a{number}@x.org"), "@a:hs", START, true).await;
        }
        let workers = (0..4).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while let QueueHead::Due(onbind) = head(&store, START, &[]).await {
                    taken.push(onbind.id);
                }
                taken
            })
        });
        let mut taken = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            taken.extend(worker.await.unwrap());
        }
        taken.sort();
        assert_eq!(taken, (0..12).map(|number| format!("o{number:02}")).collect::<Vec<_>>());
    }
}

/// An event of an address: the address's number, and the user's.
#[derive(Clone, Copy, Debug)]
enum Event {
    Invite(usize),
    Bind(usize, usize),
    Unbind(usize, usize),
    /// A worker takes the due onbind and delivers every second invite.
    Deliver,
}

const ADDRESSES: usize = 5;
const PEOPLE: usize = 4;

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (0..ADDRESSES).prop_map(Event::Invite),
        3 => (0..ADDRESSES, 0..PEOPLE).prop_map(|(address, person)| Event::Bind(address, person)),
        2 => (0..ADDRESSES, 0..PEOPLE).prop_map(|(address, person)| Event::Unbind(address, person)),
        1 => Just(Event::Deliver),
    ];
    proptest::collection::vec(event, 120)
}

/// Compares the store with a simpler model: an undelivered invite belongs to the user who has bound its address.
#[tokio::test(flavor = "multi_thread")]
async fn an_onbind_never_carries_the_invitations_of_another_address() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::default();
    for store in stores().await {
        for run in 0..5 {
            let address = |number: usize| format!("a{run}n{number}@x.org");
            let person = |number: usize| format!("@p{number}:hs");
            let keep = any::<bool>().new_tree(&mut runner).unwrap().current();
            let mut waiting: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            let mut owners: BTreeMap<String, String> = BTreeMap::new();
            for (step, event) in events().new_tree(&mut runner).unwrap().current().into_iter().enumerate() {
                let (id, now) = (format!("r{run}s{step}"), after(100 * step as u64));
                match event {
                    // A bound address is not invited.
                    Event::Invite(number) if !owners.contains_key(&address(number)) => {
                        invite(&store, &id, &address(number)).await;
                        waiting.entry(address(number)).or_default().insert(id);
                    }
                    Event::Invite(_) => {}
                    Event::Bind(number, who) => {
                        bind(&store, &id, &address(number), &person(who), now).await;
                        owners.insert(address(number), person(who));
                    }
                    Event::Unbind(number, who) => {
                        unbind(&store, &address(number), &person(who)).await;
                        if owners.get(&address(number)) == Some(&person(who)) {
                            owners.remove(&address(number));
                        }
                    }
                    Event::Deliver => {
                        let QueueHead::Due(onbind) = head(&store, now, &[]).await else { continue };
                        let address = onbind.association.threepid.address().as_str().to_owned();
                        assert_eq!(owners.get(&address).map(String::as_str), Some(onbind.association.mxid.as_str()));
                        let id = onbind.id.clone();
                        let invites =
                            store.read(async move |conn| outbox::list_invites(conn, &id, START).await).await.unwrap();
                        let own = waiting.get_mut(&address).expect("invites of the address");
                        assert_eq!(invites.iter().cloned().collect::<BTreeSet<_>>(), *own, "{run} {step}");
                        let taken: Vec<&str> = invites.iter().step_by(2).map(String::as_str).collect();
                        mark_delivered(&store, &onbind, &taken, keep).await;
                        own.retain(|id| !taken.contains(&id.as_str()));
                        if !delete_done(&store, &onbind).await {
                            save_attempt(&store, &onbind, 1, now).await;
                        }
                    }
                }
                let rows = store.read(async |conn| everything(conn).await).await.unwrap();
                for (address, mxid, invites) in rows {
                    assert_eq!(owners.get(&address), Some(&mxid), "{run} {step} {event:?}");
                    assert!(invites.iter().all(|of| *of == address), "{run} {step} {event:?}");
                    assert_eq!(invites.len(), waiting[&address].len(), "{run} {step} {event:?}");
                }
            }
            for number in 0..ADDRESSES {
                for who in 0..PEOPLE {
                    unbind(&store, &address(number), &person(who)).await;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_is_still_being_sent_delays_its_onbind_until_the_room_knows_it() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        store.write(async |conn| invites::begin_sending(conn, "i", after(60)).await).await.unwrap();
        assert!(bind(&store, "o", BOB, "@bob:hs", after(1)).await);
        assert!(matches!(head(&store, after(1), &[]).await, QueueHead::Later(at) if at == after(60)));
        let ended = store.write(async |conn| invites::end_sending(conn, "i", after(4)).await).await.unwrap();
        assert!(ended);
        assert!(matches!(head(&store, after(3), &[]).await, QueueHead::Later(at) if at == after(4)));
        assert_eq!(take(&store, after(4)).await.id, "o");
        // Without a bind meanwhile nothing is due.
        invite(&store, "j", "alice@example.com").await;
        store.write(async |conn| invites::begin_sending(conn, "j", after(60)).await).await.unwrap();
        assert!(!store.write(async |conn| invites::end_sending(conn, "j", after(4)).await).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_onbind_becomes_a_dead_letter_and_those_behind_it_are_taken() {
    for store in stores().await {
        for (id, address, at) in [("first", BOB, 0), ("second", "alice@example.com", 1)] {
            invite(&store, &format!("invite of {id}"), address).await;
            bind(&store, id, address, "@bob:hs", after(at)).await;
        }
        execute(&store, "update onbinds set mxid = 'no user' where id = 'first'").await;
        assert_eq!(take(&store, after(9)).await.id, "second");
        assert!(matches!(head(&store, after(9), &[]).await, QueueHead::Empty));
        let dead = store.read(async |conn| listing::list(conn).await).await.unwrap();
        assert!(dead.iter().any(|(row, _)| row.id == "first" && row.dead_at.is_some()), "it is listed");
    }
}
