//! Onbinds that are given no further attempt.

use shared::clock::Timestamp;

use super::super::listing::{self, RetrySelection};
use super::{BOB, after, bind, count, found, head, invite, list, mark_dead, mark_invite_dead, save_attempt, take};
use crate::store::QueueHead;
use crate::store::testing::{START, execute, stores};

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
