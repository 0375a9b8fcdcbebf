//! Why no response arrived.
//!
//! Invariant: only [`NoResponse::Lost`] and [`NoResponse::Timeout`] leave open whether the server processed the request.

use std::time::Duration;

use shared::outbound::failure::Failure;

/// No response arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoResponse {
    /// There is no connection. Nothing was sent.
    #[error("{failure}")]
    Unreachable {
        failure: Failure,
        /// The time until the client connects again.
        retry_after: Option<Duration>,
    },
    /// The server declined to process the request, each time that it was sent.
    #[error("it declined to process the request")]
    NotProcessed,
    /// The server may have processed the request.
    #[error("{}", Failure::Other)]
    Lost,
    /// The same.
    #[error("{}", Failure::Timeout)]
    Timeout,
}

impl NoResponse {
    /// A label from a closed set.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Unreachable { failure: Failure::Other, .. } | Self::Lost => "connection_lost",
            Self::Unreachable { failure, .. } => failure.label(),
            Self::NotProcessed => "not_processed",
            Self::Timeout => "timeout",
        }
    }

    /// The time until another attempt can succeed, if the client knows it.
    pub(crate) const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Unreachable { retry_after, .. } => retry_after,
            Self::NotProcessed | Self::Lost | Self::Timeout => None,
        }
    }
}
