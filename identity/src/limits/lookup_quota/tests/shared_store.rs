//! Several processes on one database.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn processes(store: &Store, quota: usize, per_homeserver: usize) -> Vec<Process> {
    (0..3).map(|_| Process::start(store, quota, per_homeserver)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn small_quotas_are_exact_over_three_processes() {
    for store in stores().await {
        for (n, (quota, accounts, per_homeserver, allowed)) in
            [(3, 1, 0, 3), (10, 1, 0, 10), (10, 3, 25, 25), (0, 4, 7, 7), (10, 2, 1_000, 20)].into_iter().enumerate()
        {
            let processes = processes(&store, quota, per_homeserver);
            let mut counted = 0;
            for number in 0..60 {
                let account = format!("@u{}:hs{n}.example", number % accounts);
                counted += u32::from(processes[number as usize % 3].allows(&account, number..number + 1).await);
            }
            assert_eq!(counted, allowed, "{quota} {per_homeserver}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_counted_is_free_at_the_others() {
    for store in stores().await {
        let processes = processes(&store, 100, 100);
        assert!(processes[0].allows("@alice:hs", 0..90).await);
        for process in &processes {
            assert!(process.allows("@alice:hs", 0..90).await);
            assert!(process.allows("@alice:hs", 20..60).await);
        }
        // Also in part, and while another account uses up the quota of the homeserver.
        assert!(processes[1].allows("@alice:hs", 80..95).await);
        assert!(processes[2].allows("@bob:hs", 0..5).await);
        for process in &processes {
            assert!(!process.allows("@alice:hs", 95..96).await);
            assert!(process.allows("@alice:hs", 0..95).await);
            assert!(process.allows("@bob:hs", 0..5).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_three_processes_counted_inside_their_leases_is_charged_once() {
    for store in stores().await {
        let processes = processes(&store, 2_000, 3_000);
        let mut allowed = 0;
        for number in 0..2_000 {
            let mut all = true;
            for process in &processes {
                all &= process.allows("@alice:hs", number..number + 1).await;
            }
            if !all {
                break;
            }
            allowed += 1;
        }
        // What is counted twice at the end is inside the last lease of each.
        assert!(allowed > 1_900, "{allowed}");
        assert!(!processes[0].allows("@alice:hs", 5_000..5_100).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_counted_elsewhere_after_a_refusal_is_free() {
    for store in stores().await {
        let [one, other] = [Process::start(&store, 3, 0), Process::start(&store, 3, 0)];
        assert!(!one.allows("@alice:hs", 0..4).await);
        assert!(other.allows("@alice:hs", 0..3).await);
        assert!(one.allows("@alice:hs", 0..3).await);
        assert!(!one.allows("@alice:hs", 3..4).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_requests_use_the_quotas_exactly_and_never_more() {
    for store in stores().await {
        let processes = Arc::new(processes(&store, 50, 120));
        let counted: Arc<[AtomicU32; 5]> = Arc::default();
        let tasks = (0..300_u32).map(|n| {
            let (processes, counted) = (Arc::clone(&processes), Arc::clone(&counted));
            tokio::spawn(async move {
                let account = n as usize % counted.len();
                if processes[n as usize % 3].allows(&format!("@u{account}:hs"), n..n + 1).await {
                    counted[account].fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        let counted: Vec<u32> = counted.iter().map(|counted| counted.load(Ordering::Relaxed)).collect();
        assert_eq!(counted.iter().sum::<u32>(), 120, "{counted:?}");
        assert!(counted.iter().all(|counted| *counted <= 50), "{counted:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_not_free_while_another_one_for_the_same_addresses_is_decided() {
    for store in stores().await {
        let process = Arc::new(Process::start(&store, 100, 0));
        for round in 0..10 {
            let tasks = (0..8).map(|_| {
                let process = Arc::clone(&process);
                tokio::spawn(async move { process.allows(&format!("@u{round}:hs"), 0..101).await })
            });
            for task in tasks.collect::<Vec<_>>() {
                assert!(!task.await.unwrap(), "{round}");
            }
            assert!(process.allows(&format!("@u{round}:hs"), 0..100).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_whose_clocks_differ_at_midnight_count_both_days() {
    for store in stores().await {
        let processes = processes(&store, 10, 0);
        let alice = user("@alice:hs");
        let minute = Duration::from_secs(60);
        let midnight = NOON.plus(HALF_A_DAY);
        let (mut first, mut second) = (0, 0);
        for step in 0..120 {
            // From a minute before midnight to a minute after it; the last process is a minute behind the first.
            let now = midnight.minus(minute).plus(Duration::from_secs(step));
            let of = [now.plus(minute / 2), now, now.minus(minute / 2)];
            for (process, now) in processes.iter().zip(of) {
                let number = u32::try_from(step).unwrap();
                if process.allows_at(LimitKey::Account(&alice), number..number + 1, now).await {
                    *(if now < midnight { &mut first } else { &mut second }) += 1;
                }
            }
        }
        // Before midnight all three ask for the ten that the first has counted. After it the others ask for later ones when
        // the first has used the quota up.
        assert_eq!((first, second), (30, 10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_finds_the_count_of_that_day() {
    for store in stores().await {
        let process = Process::start(&store, 10, 0);
        let alice = user("@alice:hs");
        let day = |n: u64| NOON.plus(Duration::from_secs(n * 86_400));
        for n in [3, 4, 5, 2] {
            assert!(process.allows_at(LimitKey::Account(&alice), 0..10, day(n)).await);
        }
        store.write(async move |conn| delete_past(conn, day(4)).await).await.unwrap();
        for n in [4, 3, 5, 3, 4] {
            assert!(!process.allows_at(LimitKey::Account(&alice), 10..11, day(n)).await, "{n}");
            assert!(process.allows_at(LimitKey::Account(&alice), 0..10, day(n)).await, "{n}");
        }
    }
}
