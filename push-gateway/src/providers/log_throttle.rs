//! Limits how often one error is logged.
//!
//! Invariant: at most one line a minute, so that a wrong key does not fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::clock::Timestamp;

/// Lets an error through once a minute, so that a wrong key does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct Complaints(Mutex<Option<Timestamp>>);

/// The pause between two complaints about one app.
const COMPLAINTS_APART: Duration = Duration::from_secs(60);

impl Complaints {
    /// Whether it is time to complain (again).
    pub(crate) fn may(&self, now: Timestamp) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let may = last.is_none_or(|last| now.since(last) >= COMPLAINTS_APART);
        if may {
            *last = Some(now);
        }
        may
    }
}
