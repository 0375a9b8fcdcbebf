//! What a push service is to the rest of the gateway: something that delivers one notification to one device, or says
//! why it did not.
//!
//! Invariant: only [`Outcome::Rejected`] may put a pushkey into `rejected`, because a homeserver deletes the pusher for
//! it. A failure of our own is never one.

pub(crate) mod apns;
pub(crate) mod device_key;
pub(crate) mod fcm;
pub(crate) mod log_throttle;

use std::future::Future;
use std::time::{Duration, Instant};

use crate::notification::{Device, Notification};

/// One device's share of one request: what a provider is asked to deliver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery<'a> {
    /// What is to be said.
    pub(crate) notification: &'a Notification,
    /// To whom.
    pub(crate) device: &'a Device,
    /// The same on every attempt of this delivery: 16 random bytes.
    pub(crate) id: [u8; 16],
    /// No attempt may go on beyond this.
    pub(crate) deadline: Instant,
}

/// A push service with the credentials of one app.
pub(crate) trait Provider {
    /// Makes one attempt. The dispatcher repeats it; a provider itself sends a second time only what the push service
    /// did not process, or what it takes in another form (a renewed token, a smaller payload).
    fn deliver(&self, delivery: &Delivery<'_>) -> impl Future<Output = Result<Outcome, ProviderError>> + Send;
}

/// How a delivery ended for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The push service has accepted it.
    Delivered,
    /// The pushkey is dead.
    Rejected(Rejection),
    /// Nothing to send, or no attempt can ever help. The label comes from a closed set.
    Dropped(&'static str),
}

/// Why a pushkey is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// A label from a closed set, such as `Unregistered`.
    pub(crate) reason: &'static str,
    /// Whether a mistake of ours could look the same.
    pub(crate) certainty: Certainty,
}

/// Whether a mistake of ours could look like a dead pushkey; the breaker against mass rejections goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Certainty {
    /// The push service says that the app was removed or the key replaced.
    Certain,
    /// A wrong environment, topic or project would look the same.
    Suspect,
}

/// Why an attempt came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    /// Trouble at the push service or on the way to it.
    #[error("{reason}")]
    Temporary {
        /// A label from a closed set.
        reason: &'static str,
        /// How long the push service asks us to wait.
        retry_after: Option<Duration>,
        /// Whether it may be attempted again within this request.
        again: bool,
        /// Whether it speaks against the push service as a whole (network, timeout, 5xx) and counts for its circuit
        /// breaker.
        is_outage: bool,
    },
    /// Our key, topic, project or configuration is wrong; no attempt can help.
    #[error("{reason}: {detail}")]
    Permanent {
        /// A label from a closed set.
        reason: &'static str,
        /// For the operator's log: the push service's words, control characters escaped, 200 characters at most.
        detail: String,
    },
}
