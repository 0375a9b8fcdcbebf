//! The error body of the Matrix APIs: `{"errcode": …, "error": …}` (client-server API, "Standard error response").

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, RETRY_AFTER};
use actix_web::{HttpResponse, ResponseError};
use serde_json::{Map, Value, json};

use super::body::BodyError;

/// The code and the text of an error response, in its extensions, for the log line of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reason(pub(super) String);

/// An error response.
#[derive(Clone, Debug)]
pub struct MatrixError {
    status: StatusCode,
    members: Map<String, Value>,
    retry_after: Option<Duration>,
    allow: Option<Cow<'static, str>>,
}

impl MatrixError {
    /// An error with a status, a code and a text for people.
    pub fn new(status: StatusCode, errcode: &str, error: impl Into<String>) -> Self {
        let mut members = Map::new();
        members.insert("errcode".to_owned(), errcode.into());
        members.insert("error".to_owned(), error.into().into());
        Self { status, members, retry_after: None, allow: None }
    }

    /// 404 for an unknown path.
    pub fn unrecognized() -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", "Unrecognized request")
    }

    /// 405 for a method that the path does not support; `allow` lists those that it supports.
    pub fn method_not_allowed(allow: impl Into<Cow<'static, str>>) -> Self {
        let mut error = Self::new(StatusCode::METHOD_NOT_ALLOWED, "M_UNRECOGNIZED", "Unrecognized request");
        error.allow = Some(allow.into());
        error
    }

    /// 429 with the delay in the body (`retry_after_ms`) and in `Retry-After` (seconds, rounded up).
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", "Too many requests")
            .retry_after(retry_after)
            .with("retry_after_ms", json!(u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX)))
    }

    /// 413 for a body over the limit.
    pub fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", "The request body is too large")
    }

    /// 500 without details for the client; the log has the cause.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal server error")
    }

    /// 503 without details for the client, with the delay in `Retry-After`; the log has the cause.
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", "The server is temporarily unavailable")
            .retry_after(retry_after)
    }

    /// Adds `Retry-After` in seconds, rounded up.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Code and text. A text about the form of a request may quote it, such as the name of a field that is an address, so
    /// these have the code alone.
    fn reason(&self) -> Reason {
        const ABOUT_FORM: [&str; 3] = ["M_BAD_JSON", "M_INVALID_PARAM", "M_NOT_JSON"];
        let member = |name: &str| self.members.get(name).and_then(Value::as_str).unwrap_or_default();
        let errcode = member("errcode");
        Reason(match ABOUT_FORM.contains(&errcode) {
            true => errcode.to_owned(),
            false => format!("{errcode}: {}", member("error")),
        })
    }

    /// Adds a member to the body.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }
}

impl From<BodyError> for MatrixError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::too_large(),
            BodyError::TimedOut => Self::new(StatusCode::REQUEST_TIMEOUT, "M_UNKNOWN", error.to_string()),
            BodyError::Overloaded => Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", error.to_string())
                .retry_after(Duration::from_secs(1)),
            BodyError::Broken | BodyError::TooDeep => {
                Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", error.to_string())
            }
        }
    }
}

impl fmt::Display for MatrixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errcode = self.members.get("errcode").and_then(Value::as_str).unwrap_or_default();
        write!(f, "{} {errcode}", self.status.as_u16())
    }
}

impl ResponseError for MatrixError {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(wait) = self.retry_after {
            response.insert_header((RETRY_AFTER, wait.as_millis().div_ceil(1000).to_string()));
        }
        if let Some(allow) = &self.allow {
            response.insert_header((ALLOW, allow.as_ref()));
        }
        let mut response = response.json(&self.members);
        response.extensions_mut().insert(self.reason());
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::ResponseError;

    use actix_web::http::StatusCode;

    use super::{MatrixError, Reason};

    #[test]
    fn the_log_gets_no_text_that_may_quote_the_request() {
        for (errcode, text, expected) in [
            ("M_UNAUTHORIZED", "This user cannot use this server", "M_UNAUTHORIZED: This user cannot use this server"),
            ("M_INVALID_PARAM", "Invalid parameter alice@example.com: expected to be given once", "M_INVALID_PARAM"),
            ("M_BAD_JSON", "invalid type: string \"a pushkey\"", "M_BAD_JSON"),
            ("M_NOT_JSON", "a pushkey", "M_NOT_JSON"),
        ] {
            let response = MatrixError::new(StatusCode::BAD_REQUEST, errcode, text).error_response();
            assert_eq!(response.extensions().get::<Reason>(), Some(&Reason(expected.to_owned())));
        }
    }

    #[test]
    fn the_delay_is_sent_in_milliseconds_and_in_seconds_rounded_up() {
        let response = MatrixError::limit_exceeded(Duration::from_millis(1_001)).error_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers().get("retry-after").unwrap(), "2");
    }
}
