//! The onbinds to homeservers of former users: they report the newest association, and none that has ended.

use super::{BOB, HOUR, QueueHead, after, bind_with, delete_done, head, invite, list, take, unbind};
use crate::domain::association::Association;
use crate::store::Store;
use crate::store::onbinds::save_for_former;
use crate::store::testing::{START, email, stores, user};

/// Binds [`BOB`] to `mxid` in place of `former`.
async fn rebind(store: &Store, id: &str, former: &str, mxid: &str, seconds: u64) {
    bind_with(store, &format!("{id} to the new user"), BOB, mxid, after(seconds), false).await;
    let association = Association::new(email(BOB), user(mxid), after(seconds), HOUR);
    let (id, former) = (id.to_owned(), user(former));
    store.write(async move |conn| save_for_former(conn, &id, &association, &former).await).await.unwrap();
}

/// The homeserver and the reported user of every onbind, in their order.
async fn reported(store: &Store) -> Vec<(String, String)> {
    list(store).await.into_iter().map(|(onbind, _)| (onbind.server, onbind.mxid)).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(server, mxid)| (server.to_owned(), mxid.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_homeservers_of_all_former_users_receive_the_newest_user() {
    for store in stores().await {
        rebind(&store, "o1", "@a:one", "@b:two", 1).await;
        let in_flight = take(&store, after(1)).await;
        rebind(&store, "o2", "@b:two", "@c:three", 2).await;
        assert_eq!(reported(&store).await, pairs(&[("one", "@c:three"), ("two", "@c:three")]));
        // The attempt in flight has reported another user, so the row stays.
        assert!(delete_done(&store, &in_flight).await);
        let again = take(&store, after(2)).await;
        assert_eq!((again.id.as_str(), again.association.mxid.as_str()), ("o1", "@c:three"));
        assert_eq!((again.association.ts, again.created_at), (after(2), after(2)));

        // A second former user of one homeserver makes no second request, and the new user's homeserver gets none.
        rebind(&store, "o3", "@c:three", "@d:one", 3).await;
        rebind(&store, "o4", "@d:one", "@e:four", 4).await;
        let expected = [("two", "@e:four"), ("three", "@e:four"), ("one", "@e:four")];
        assert_eq!(reported(&store).await, pairs(&expected));
        rebind(&store, "o5", "@e:four", "@c:three", 5).await;
        let expected = [("two", "@c:three"), ("one", "@c:three"), ("four", "@c:three")];
        assert_eq!(reported(&store).await, pairs(&expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_receives_the_invites_gets_no_second_request() {
    for store in stores().await {
        rebind(&store, "o1", "@a:one", "@b:two", 1).await;
        invite(&store, "i", BOB).await;
        assert!(bind_with(&store, "o2", BOB, "@c:one", after(2), false).await);
        assert_eq!(reported(&store).await, pairs(&[("one", "@c:one")]));
        assert_eq!(list(&store).await[0].1, 1, "the row with the invite");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_that_has_ended_is_not_reported() {
    for store in stores().await {
        rebind(&store, "o1", "@a:one", "@b:two", 1).await;
        rebind(&store, "o2", "@b:two", "@c:three", 2).await;
        unbind(&store, BOB, "@b:two").await;
        assert_eq!(reported(&store).await.len(), 2, "another user's association stays");
        unbind(&store, BOB, "@c:three").await;
        assert_eq!(head(&store, after(9), &[]).await, QueueHead::Empty);
        assert!(list(&store).await.is_empty());
        assert!(bind_with(&store, "o3", BOB, "@a:one", START, true).await);
    }
}
