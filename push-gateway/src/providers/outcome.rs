//! The outcome of a delivery: one type from a provider's `response.rs` to the HTTP response.
//!
//! Invariant: only [`Outcome::Rejected`] may put a pushkey into `rejected`, because a homeserver deletes the pusher for
//! it. A failure of the gateway never does.

use std::time::Duration;

/// A label from a closed set, for metrics and logs.
pub(crate) type Reason = &'static str;

/// The longest wait inside a request when a push service asks for one.
const MAX_WAIT_IN_REQUEST: Duration = Duration::from_secs(10);

/// The result of one attempt, of one delivery, and of one device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The push service accepted the push.
    Delivered,
    /// The pushkey is dead.
    Rejected(Rejection),
    /// There is nothing to send, or no attempt can ever succeed.
    Dropped(Reason),
    /// The event is undelivered; the homeserver has to retry.
    Failed(Failure),
}

/// Why a pushkey is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// Such as `Unregistered`.
    pub(crate) reason: Reason,
    /// Whether a misconfiguration could look the same.
    pub(crate) certainty: Certainty,
}

/// Whether a misconfiguration could look like a dead pushkey; the mass-rejection guard reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Certainty {
    /// The push service reports that the app was removed or the key replaced.
    Certain,
    /// A wrong environment, topic or project would look the same.
    Suspect,
}

/// Why an event is undelivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) reason: Reason,
    pub(crate) cause: Cause,
    /// How long the push service, or a limit of the gateway, asks to wait.
    pub(crate) retry_after: Option<Duration>,
    /// Whether another attempt within the same request can succeed.
    pub(crate) retry_in_request: bool,
    /// Whether the push service refuses the rate (429).
    pub(crate) is_rate_refused: bool,
}

/// Where a failure comes from; decides the status of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The push service or the connection to it.
    Upstream {
        /// Whether the push service as a whole fails (network error, timeout, 5xx): the circuit breaker counts it. A 429
        /// or a missing access token concerns one device or one account only.
        is_outage: bool,
    },
    /// The gateway's key, topic, project or configuration. Retries are useless until the operator changes it.
    Ours {
        /// For the log: the push service's text and what to check, escaped, at most 200 characters.
        detail: Box<str>,
    },
    /// The gateway has too much to do.
    Overloaded,
    /// The caller exceeds a rate limit.
    Caller,
}

impl Outcome {
    /// The labels `outcome` and `reason` of metrics and logs.
    pub(crate) fn labels(&self) -> (&'static str, Reason) {
        match self {
            Self::Delivered => ("delivered", ""),
            Self::Dropped(reason) => ("dropped", reason),
            Self::Rejected(rejection) => ("rejected", rejection.reason),
            Self::Failed(Failure { cause: Cause::Ours { .. }, reason, .. }) => ("permanent", reason),
            Self::Failed(Failure { reason, .. }) => ("temporary", reason),
        }
    }

    pub(crate) fn rejected(reason: Reason, certainty: Certainty) -> Self {
        Self::Rejected(Rejection { reason, certainty })
    }
}

impl Failure {
    /// A failure that says nothing about the push service as a whole, final within the request.
    pub(crate) const fn upstream(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self::new(reason, Cause::Upstream { is_outage: false }, retry_after)
    }

    /// A network error, a timeout or a 5xx.
    pub(crate) fn outage(reason: Reason, retry_after: Option<Duration>) -> Self {
        Self { retry_in_request: true, ..Self::new(reason, Cause::Upstream { is_outage: true }, retry_after) }
    }

    /// A push service that asks for a pause: a short one is waited for inside the request.
    pub(crate) fn pause(reason: Reason, wait: Duration) -> Self {
        let retry_in_request = wait <= MAX_WAIT_IN_REQUEST;
        Self { retry_in_request, is_rate_refused: true, ..Self::upstream(reason, Some(wait)) }
    }

    /// A mistake in the configuration; cuts `detail` to 200 characters.
    pub(crate) fn ours(reason: Reason, detail: &str) -> Self {
        let end = detail.char_indices().nth(200).map_or(detail.len(), |(end, _)| end);
        Self::new(reason, Cause::Ours { detail: detail[..end].into() }, None)
    }

    /// More work than the gateway takes on at once.
    pub(crate) const fn overloaded() -> Self {
        Self::new("overloaded", Cause::Overloaded, Some(Duration::from_secs(1)))
    }

    /// A rate limit.
    pub(crate) const fn rate_limited(retry_after: Duration) -> Self {
        Self::new("rate_limited", Cause::Caller, Some(retry_after))
    }

    /// A failure that is final within the request.
    const fn new(reason: Reason, cause: Cause, retry_after: Option<Duration>) -> Self {
        Self { reason, cause, retry_after, retry_in_request: false, is_rate_refused: false }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
