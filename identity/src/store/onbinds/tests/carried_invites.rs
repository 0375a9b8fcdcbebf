//! The invites that an onbind carries, from the bind to the delivery.

use std::time::Duration;

use super::super::outbox;
use super::super::outbox::LeasedOnbind;
use super::{
    BOB, HOUR, after, bind, bind_with, count, delete_done, found, head, invite, invite_until, list, mark_delivered,
    mark_invite_dead, renew_lease, revoke, take, unbind,
};
use crate::domain::association::Association;
use crate::domain::backoff::NextAttempt;
use crate::store::testing::{START, email, stores, user};
use crate::store::{QueueHead, invites};

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
async fn an_invite_that_is_still_being_sent_delays_its_onbind_until_the_room_knows_it() {
    for store in stores().await {
        invite(&store, "i", BOB).await;
        store.write(async |conn| invites::begin_sending(conn, "i", after(60)).await).await.unwrap();
        assert!(bind(&store, "o", BOB, "@bob:hs", after(1)).await);
        assert!(matches!(head(&store, after(1), &[]).await, QueueHead::Later(at) if at == after(60)));
        let next = NextAttempt::after(after(2), Duration::from_secs(2));
        let ended = store.write(async move |conn| invites::end_sending(conn, "i", next).await).await.unwrap();
        assert!(ended);
        assert!(matches!(head(&store, after(3), &[]).await, QueueHead::Later(at) if at == after(4)));
        assert_eq!(take(&store, after(4)).await.id, "o");
        // Without a bind meanwhile nothing is due.
        invite(&store, "j", "alice@example.com").await;
        store.write(async |conn| invites::begin_sending(conn, "j", after(60)).await).await.unwrap();
        assert!(!store.write(async move |conn| invites::end_sending(conn, "j", next).await).await.unwrap());
    }
}
