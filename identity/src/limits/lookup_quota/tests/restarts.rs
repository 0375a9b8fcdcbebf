//! Processes that are stopped and killed.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_loses_nothing() {
    for store in stores().await {
        let mut counted = 0;
        for number in 0..120 {
            // Leases of ten addresses, of which each process uses nine.
            let process = Process::start(&store, 1_000, 10_000);
            for step in 0..9 {
                let number = number * 9 + step;
                counted += u32::from(process.allows("@alice:hs", number..number + 1).await);
            }
            process.stop().await;
        }
        assert_eq!(counted, 1_000);
        let process = Process::start(&store, 1_000, 10_000);
        assert!(process.allows("@alice:hs", 0..1_000).await, "free after restarts");
        assert!(!process.allows("@alice:hs", 2_000..2_001).await);
        // The group has what its other account leaves: the unused leases of the group were given back, too.
        assert!(process.allows("@bob:hs", 0..1_000).await);
        let group = super::super::subject("daily_quota_of_group", LimitKey::Homeserver(user("@bob:hs").server_name()));
        process.stop().await;
        let leased = store.read(async move |conn| lookup_leases::find(conn, 0, &group).await).await.unwrap();
        assert_eq!(leased.leased, 2_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_costs_its_callers_at_most_a_lease_and_gives_them_nothing() {
    for store in stores().await {
        let (mut number, mut counted) = (0, 0);
        for _ in 0..20 {
            let process = Process::start(&store, 1_000, 0);
            for _ in 0..4 {
                counted += u32::from(process.allows("@alice:hs", number..number + 1).await);
                number += 1;
            }
        }
        let process = Process::start(&store, 1_000, 0);
        while process.allows("@alice:hs", number..number + 1).await {
            (number, counted) = (number + 1, counted + 1);
        }
        assert!((800..=1_000).contains(&counted), "{counted}");
        // What was written with a lease stays free: the first of four.
        assert!(process.allows("@alice:hs", 76..77).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_stores_more_callers_than_one_transaction() {
    for store in stores().await {
        let process = Process::start(&store, 1_000, 1_000_000);
        for n in 0..120 {
            assert!(process.allows(&format!("@u{n}:hs"), n..n + 1).await);
            assert!(process.allows(&format!("@u{n}:hs"), n + 1..n + 3).await);
        }
        process.stop().await;
        let process = Process::start(&store, 3, 1_000_000);
        for n in 0..120 {
            let mxid = format!("@u{n}:hs");
            assert!(process.allows(&mxid, n..n + 3).await && !process.allows(&mxid, n + 3..n + 4).await, "{n}");
        }
    }
}
