//! Repeated binds, and binds by another user, while invites are undelivered.

use super::{
    BOB, after, bind, delete_done, head, invite, list, mark_dead, mark_delivered, mark_invite_dead, renew_lease,
    save_attempt, take,
};
use crate::store::QueueHead;
use crate::store::testing::{START, stores};

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
async fn a_repeated_bind_during_a_request_resets_the_attempts_after_any_reply() {
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
