//! Everything that a request can come to, and how it goes over the wire (Push Gateway API, and the behaviour that
//! homeservers show: anything but 200 makes them keep the event and try again).
//!
//! Invariant: every kind has its line in one match without a fallback. A fault of ours says nothing to the client and
//! everything, once, to the log.

use std::time::Duration;

use actix_web::http::{ConnectionType, StatusCode};
use actix_web::{HttpResponse, ResponseError};
use shared::http::body::BodyError;
use shared::http::error::MatrixError;

use crate::notification::parse::ParseError;

/// The longest wait that a homeserver is asked for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The wait when nobody knows a better one and the trouble is our own.
const OWN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request is not answered with 200.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The body is not JSON, or JSON of another shape.
    #[error("{0}")]
    Parse(#[from] ParseError),
    /// The body did not come.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// Some devices are not done with: the homeserver has to try again.
    #[error("{}", .0.status)]
    Owed(#[from] Owed),
}

/// What the homeserver has to come again for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}")]
pub(crate) struct Owed {
    /// Whose trouble it is.
    pub(crate) status: OwedStatus,
    /// The largest known wait.
    pub(crate) retry_after: Option<Duration>,
}

/// Whose trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OwedStatus {
    /// A push service's, or that of our configuration of it.
    #[error("Push service unavailable, try again later")]
    Upstream,
    /// Ours: too much to do, or about to stop.
    #[error("Too busy, try again later")]
    Overloaded,
    /// The caller's: too many requests.
    #[error("Too many requests")]
    RateLimited,
}

impl Owed {
    /// There is too much to do at the moment.
    pub(crate) const OVERLOADED: Self = Self { status: OwedStatus::Overloaded, retry_after: Some(OWN_RETRY_AFTER) };
}

impl Owed {
    /// The status of the answer.
    pub(crate) fn code(self) -> u16 {
        Error::from(self).to_wire().status_code().as_u16()
    }
}

impl Error {
    /// The answer's body and status.
    pub(crate) fn to_wire(&self) -> MatrixError {
        let refuse = |status, errcode| MatrixError::new(status, errcode, self.to_string());
        match self {
            Self::Parse(ParseError::NotJson(_)) | Self::Body(BodyError::Broken) => {
                refuse(StatusCode::BAD_REQUEST, "M_NOT_JSON")
            }
            Self::Parse(ParseError::Shape { .. }) => refuse(StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::Body(BodyError::TooLarge) => MatrixError::too_large(),
            Self::Body(BodyError::TimedOut) => refuse(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN"),
            Self::Owed(Owed { status, retry_after }) => {
                let wait = retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
                match status {
                    OwedStatus::Upstream => {
                        let error = refuse(StatusCode::BAD_GATEWAY, "M_UNKNOWN");
                        wait.map_or(error.clone(), |wait| error.retry_after(wait))
                    }
                    OwedStatus::Overloaded => refuse(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN")
                        .retry_after(wait.unwrap_or(OWN_RETRY_AFTER)),
                    OwedStatus::RateLimited => MatrixError::limit_exceeded(wait.unwrap_or(OWN_RETRY_AFTER)),
                }
            }
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.to_wire().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = self.to_wire().error_response();
        if let Self::Body(BodyError::TooLarge) = self {
            // Whoever sends that much once will do so again.
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::ResponseError;
    use actix_web::body::MessageBody;
    use serde_json::{Value, json};

    use super::{Error, Owed, OwedStatus};

    fn owed(status: OwedStatus, seconds: Option<u64>) -> (u16, Option<String>, Value) {
        let response = Error::from(Owed { status, retry_after: seconds.map(Duration::from_secs) }).error_response();
        let wait = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let status = response.status().as_u16();
        let body = response.into_body().try_into_bytes().unwrap();
        (status, wait, serde_json::from_slice(&body).unwrap())
    }

    #[test]
    fn what_is_owed_says_when_to_come_again() {
        let body = json!({ "errcode": "M_UNKNOWN", "error": "Push service unavailable, try again later" });
        assert_eq!(owed(OwedStatus::Upstream, None), (502, None, body.clone()));
        assert_eq!(owed(OwedStatus::Upstream, Some(99_999_999)), (502, Some("3600".to_owned()), body));
        let (status, wait, body) = owed(OwedStatus::Overloaded, None);
        assert_eq!((status, wait.as_deref(), &body["errcode"]), (503, Some("1"), &json!("M_UNKNOWN")));
        let (status, wait, body) = owed(OwedStatus::RateLimited, Some(7));
        assert_eq!((status, wait.as_deref(), &body["errcode"]), (429, Some("7"), &json!("M_LIMIT_EXCEEDED")));
        assert_eq!(body["retry_after_ms"], 7000);
    }
}
