//! What the connections of the fake FCM share with the test.
//!
//! Invariant: a message is marked as accepted before its response is written.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shared::clock::{Clock, Timestamp};

use super::fault::Fault;
use crate::fake::Faults;

#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) token_uri: String,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) projects: HashSet<String>,
    pub(super) token_lifetime: Duration,
    pub(super) tokens: HashMap<String, Timestamp>,
    /// The access tokens of the identity pool.
    pub(super) federated: HashMap<String, Timestamp>,
    /// The valid token of the other issuer.
    pub(super) subject_token: String,
    /// Whether the token service wants to know its client.
    pub(super) wants_client: bool,
    pub(super) unregistered: HashSet<String>,
    pub(super) faults: Faults<Target, Fault>,
}

/// The requests that a fault matches.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Tokens,
    Subject,
    Exchange,
    Impersonation,
    Messages,
    Pushkey(String),
}

impl World {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
