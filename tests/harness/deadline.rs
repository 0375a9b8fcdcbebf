//! A deadline for every test that starts a service.
//!
//! Invariant: a test that hangs ends the test process with its name; the demo and the load run, which work on the main
//! thread, have no deadline.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use crate::options;

/// The longest time between the start of a service and the end of its test.
const LIMIT: Duration = Duration::from_secs(600);

/// The same with `GATEHOUSE_LONG_TESTS=1`.
const LONG_LIMIT: Duration = Duration::from_secs(3600);

/// Tests that run, with the time at which they must have ended.
static RUNNING: Mutex<BTreeMap<u64, (String, Instant)>> = Mutex::new(BTreeMap::new());

/// Ends when its test ends.
#[derive(Debug)]
pub(crate) struct Deadline(Option<u64>);

impl Deadline {
    /// A deadline for the test of this thread.
    pub(crate) fn start() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        static WATCH: Once = Once::new();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        if test == "main" {
            return Self(None);
        }
        WATCH.call_once(|| drop(std::thread::spawn(watch)));
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let end = Instant::now() + options::scale(LIMIT, LONG_LIMIT);
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (test, end));
        Self(Some(number))
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            RUNNING.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
    }
}

fn watch() {
    loop {
        #[expect(clippy::disallowed_methods, reason = "a thread of its own looks once a second at the deadlines")]
        std::thread::sleep(Duration::from_secs(1));
        let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((test, _)) = running.values().find(|(_, end)| *end < Instant::now()) {
            // Written past the capture of the test's output.
            drop(writeln!(std::io::stderr(), "\nthe test {test} has not ended at its deadline"));
            std::process::exit(101);
        }
    }
}
