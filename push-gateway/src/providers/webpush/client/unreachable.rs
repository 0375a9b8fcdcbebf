//! The hosts whose names do not resolve, or lead to addresses that are not permitted.
//!
//! Invariant: bounded, and an entry ends after a minute.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::{Clock, Timestamp};
use shared::outbound::failure::Failure;

/// How long a host counts as unreachable.
const DURATION: Duration = Duration::from_secs(60);
/// The most hosts.
const CAPACITY: usize = 10_000;

/// Clones share the hosts.
#[derive(Clone)]
pub(super) struct Unreachable {
    hosts: Arc<Mutex<HashMap<String, (Timestamp, Failure)>>>,
    clock: Clock,
}

impl Unreachable {
    pub(super) fn new(clock: Clock) -> Self {
        Self { hosts: Arc::default(), clock }
    }

    pub(super) fn find(&self, host: &str) -> Option<Failure> {
        let now = self.clock.now();
        let hosts = self.hosts.lock();
        hosts.get(host).filter(|(since, _)| is_recent(*since, now)).map(|(_, failure)| *failure)
    }

    pub(super) fn insert(&self, host: &str, failure: Failure) {
        let now = self.clock.now();
        let mut hosts = self.hosts.lock();
        if hosts.len() >= CAPACITY {
            hosts.retain(|_, (since, _)| is_recent(*since, now));
            if hosts.len() >= CAPACITY {
                hosts.clear();
            }
        }
        hosts.insert(host.to_owned(), (now, failure));
    }
}

/// A clock that was set back ends an entry.
fn is_recent(since: Timestamp, now: Timestamp) -> bool {
    since <= now && now.since(since) < DURATION
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::{Clock, Timestamp};
    use shared::outbound::failure::Failure;

    use super::{CAPACITY, Unreachable};

    #[test]
    fn a_host_is_unreachable_for_a_minute() {
        let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
        let hosts = Unreachable::new(clock.clone());
        hosts.insert("a.example", Failure::Dns);
        assert_eq!((hosts.find("a.example"), hosts.find("b.example")), (Some(Failure::Dns), None));
        clock.advance(Duration::from_secs(60));
        assert_eq!(hosts.find("a.example"), None);
        for number in 0..=CAPACITY {
            hosts.insert(&number.to_string(), Failure::Blocked);
        }
        assert!(hosts.hosts.lock().len() <= CAPACITY);
    }
}
