//! Waits until every replica has read a change that one of them committed.
//!
//! A logout, and with `[lookup] index = "memory"` a bind or an unbind, takes effect in the other replicas within
//! `poll_interval`. A client that never waits would find the documented delay and no defect.
//!
//! Invariant: the wait ends by what the replicas report, not by time.

use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// How often the replicas are asked.
const INTERVAL: Duration = Duration::from_millis(5);

/// The age of the last reading of the changes, in `/metrics`.
const AGE: &str = "identity_changes_age_seconds ";

/// Waits until the replicas with these admin listeners have read all changes up to now.
///
/// # Panics
/// If one does not within half a minute.
pub(crate) async fn wait_for_replicas(client: &reqwest::Client, admin_urls: &[String]) {
    let change = Instant::now();
    for url in admin_urls {
        // Not with `wait_for`: a future with its closure is not `Send` for every lifetime.
        let read = async {
            loop {
                let asked = Instant::now();
                let Ok(answer) = client.get(format!("{url}/metrics")).send().await else {
                    // A replica that was killed answers no lookup.
                    return;
                };
                let text = answer.text().await.unwrap_or_default();
                if age(&text).and_then(|age| asked.checked_sub(age)).is_some_and(|read| read > change) {
                    return;
                }
                tokio::time::sleep(INTERVAL).await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, read).await.is_ok();
        assert!(in_time, "{url} has not read the changes within {DEADLINE:?}");
    }
}

fn age(metrics: &str) -> Option<Duration> {
    let age = metrics.lines().find_map(|line| line.strip_prefix(AGE))?;
    Duration::try_from_secs_f64(age.parse().ok()?).ok()
}
