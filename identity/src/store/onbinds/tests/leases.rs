//! The order of the outbox, leases and attempts.

use super::super::outbox::LeasedOnbind;
use super::{
    BOB, after, bind, bind_with, count, delete_done, head, head_except, invite, list, mark_dead, renew_lease,
    save_attempt, take,
};
use crate::store::testing::{START, execute, stores};
use crate::store::{Busy, QueueHead};

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
async fn the_server_of_a_row_without_a_group_is_its_group() {
    for store in stores().await {
        for (n, mxid) in ["@a:evil.example", "@b:good.example"].into_iter().enumerate() {
            bind_with(&store, &format!("o{n}"), &format!("{n}@example.com"), mxid, after(n as u64), true).await;
        }
        execute(&store, "update onbinds set server_group = ''").await;
        let busy = Busy { destinations: Vec::new(), groups: vec!["evil.example".to_owned()] };
        let due = head_except(&store, after(9), busy.clone()).await;
        assert!(matches!(&due, QueueHead::Due(onbind) if onbind.server().as_str() == "good.example"), "{due:?}");
        assert_eq!(head_except(&store, after(9), busy).await, QueueHead::Empty);
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
