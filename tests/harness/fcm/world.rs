//! What the connections of the fake Google share with the test.
//!
//! Invariant: the newest fault that fits a request meets it, and a spent one meets none.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use shared::clock::{Clock, Timestamp};
use tokio::sync::watch;

use super::{Fault, Request};

/// What the connections share with the test.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Clock,
    pub(super) authority_of_tokens: String,
    pub(super) state: Mutex<State>,
    pub(super) connections: AtomicUsize,
    /// Raised to end every connection there is.
    pub(super) killed: watch::Sender<u64>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) tls: Arc<ServerConfig>,
    pub(super) silent: bool,
    pub(super) projects: HashSet<String>,
    pub(super) token_lifetime: Duration,
    pub(super) tokens: HashMap<String, Timestamp>,
    pub(super) unregistered: HashSet<String>,
    pub(super) requests: Vec<Request>,
    pub(super) faults: Vec<Rule>,
    pub(super) director: Option<Director>,
}

/// Decides about each message.
pub(super) struct Director(pub(super) Decide);

pub(super) type Decide = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

/// Which requests a fault meets, and how often.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) to: Target,
    pub(super) fault: Fault,
    pub(super) left: Option<usize>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Target {
    Tokens,
    Messages,
    Pushkey(String),
}

impl World {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the message was taken.
    pub(super) fn accept(&self, number: usize) {
        self.state().requests[number].is_accepted = true;
    }
}

impl State {
    /// The fault that meets `request`, which goes to `targets`, now.
    pub(super) fn next_fault(&mut self, targets: &[Target], request: &Request) -> Option<Fault> {
        let fits = |rule: &Rule| targets.contains(&rule.to) && rule.left != Some(0);
        let Some(at) = self.faults.iter().rposition(fits) else {
            let director = self.director.as_mut().filter(|_| targets.contains(&Target::Messages));
            return director.and_then(|director| (director.0)(request));
        };
        let rule = &mut self.faults[at];
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }
}

impl std::fmt::Debug for Director {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Director")
    }
}
