//! Reading a request's body: all of it, within a size and a time, before anything is decided.
//!
//! Invariant: an oversized body is read to its end (within bounds) before the refusal, because a connection that is
//! closed on unread bytes is reset, and the client would never see why.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpRequest};
use futures_util::StreamExt;

/// How many times the limit is still read and thrown away so that the client can read the refusal.
const DRAIN: usize = 16;

/// What the listener takes from one request.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes.
    pub max: usize,
    /// From the end of the header to the end of the body.
    pub timeout: Duration,
}

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Over the limit.
    #[error("the body is too large")]
    TooLarge,
    /// The client took too long.
    #[error("the body did not come in time")]
    TimedOut,
    /// The transfer broke off or its framing is wrong.
    #[error("the body could not be read")]
    Broken,
}

/// The body as it came, or why it did not; as an extractor it never fails, so that a handler decides what comes first.
#[derive(Debug)]
pub struct Body {
    bytes: Result<Bytes, BodyError>,
    is_form: bool,
}

impl Body {
    /// The bytes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn bytes(&self) -> Result<&Bytes, BodyError> {
        self.bytes.as_ref().map_err(|error| *error)
    }

    /// Whether the client says that this is `application/x-www-form-urlencoded`; parameters after `;` do not count.
    pub fn is_form(&self) -> bool {
        self.is_form
    }
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Self::Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let limits = request.app_data::<Data<BodyLimits>>().map(|limits| ***limits);
        let is_form = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"));
        let payload = payload.take();
        Box::pin(async move {
            let limits = limits.ok_or_else(|| actix_web::error::ErrorInternalServerError("no body limits are set"))?;
            let bytes = match tokio::time::timeout(limits.timeout, read(payload, limits.max)).await {
                Ok(bytes) => bytes,
                Err(_) => Err(BodyError::TimedOut),
            };
            Ok(Self { bytes, is_form })
        })
    }
}

async fn read(mut payload: Payload, max: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut first: Option<Bytes> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if first.as_ref().map_or(body.len(), Bytes::len) + chunk.len() > max {
            drain(payload, max.saturating_mul(DRAIN)).await;
            return Err(BodyError::TooLarge);
        }
        // Most bodies come in one piece, which is then not copied.
        match first.take() {
            None if body.is_empty() => first = Some(chunk),
            None => body.extend_from_slice(&chunk),
            Some(earlier) => {
                body.extend_from_slice(&earlier);
                body.extend_from_slice(&chunk);
            }
        }
    }
    Ok(first.unwrap_or_else(|| body.freeze()))
}

async fn drain(mut payload: Payload, max: usize) {
    let mut seen = 0;
    while let Some(Ok(chunk)) = payload.next().await {
        seen += chunk.len();
        if seen > max {
            return;
        }
    }
}
