//! Reading a request's body: all of it, within a size and a time, before anything is decided.
//!
//! Invariant: an oversized body is read to its end (within bounds) before the refusal, because a connection that is
//! closed on unread bytes is reset, and the client would never see why.

use std::future::{Ready, ready};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

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

/// The body as it came, or why it did not; as an extractor it does not fail for that, so that a handler decides what
/// comes first. It is there behind the middleware of [`super::server::run`] alone.
#[derive(Clone, Debug)]
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

    /// The body of a request, once [`receive`] has run.
    pub(super) fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(request).ok_or_else(|| actix_web::error::ErrorInternalServerError("no body was received")))
    }
}

/// Reads the body of `request`, within the listener's limits, and leaves it with the request as [`Body`].
///
/// Gives what has not come to its end. It must be kept until the answer is written: the server closes the connection
/// behind an answer whose request is unfinished, but goes on reading for ever if nobody has that end any more.
pub(super) async fn receive(request: &mut ServiceRequest) -> Option<Payload> {
    let is_form = is_form(request.headers());
    let mut payload = request.take_payload();
    let (bytes, is_unfinished) = match (&payload, request.app_data::<Data<BodyLimits>>()) {
        (Payload::None, _) => (Ok(Bytes::new()), false),
        // CONNECT, or the wish for another protocol: what follows is no body (RFC 9112, section 6.3).
        (_, _) if !is_announced(request.headers()) => (Ok(Bytes::new()), true),
        (_, None) => (Err(BodyError::TooLarge), true),
        (_, Some(limits)) => {
            let BodyLimits { max, timeout } = ***limits;
            read_or_drain(&mut payload, max, Instant::now() + timeout).await
        }
    };
    request.extensions_mut().insert(Body { bytes, is_form });
    is_unfinished.then_some(payload)
}

fn is_announced(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|v| v.split(';').next());
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

/// The body, and whether more of it may follow.
async fn read_or_drain(payload: &mut Payload, max: usize, deadline: Instant) -> (Result<Bytes, BodyError>, bool) {
    match timeout_at(deadline, read(payload, max)).await {
        Ok(Err(BodyError::TooLarge)) => {
            // Too large it stays, whatever becomes of the rest.
            let came_to_its_end = timeout_at(deadline, drain(payload, max.saturating_mul(DRAIN))).await;
            (Err(BodyError::TooLarge), !came_to_its_end.unwrap_or(false))
        }
        Ok(result) => (result.clone(), result.is_err()),
        Err(_) => (Err(BodyError::TimedOut), true),
    }
}

async fn read(payload: &mut Payload, max: usize) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut first: Option<Bytes> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if first.as_ref().map_or(body.len(), Bytes::len) + chunk.len() > max {
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

/// Throws away up to `max` bytes; whether that was all.
async fn drain(payload: &mut Payload, max: usize) -> bool {
    let mut seen = 0;
    while let Some(chunk) = payload.next().await {
        seen += chunk.map_or(max, |chunk| chunk.len());
        if seen >= max {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::dev::Payload;
    use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
    use actix_web::test::TestRequest;
    use actix_web::web::{Bytes, Data};

    use super::{Body, BodyError, BodyLimits, receive};

    const MAX: usize = 10;

    /// What becomes of `body`, and whether more of it may follow.
    async fn received(body: &'static [u8], announced: bool) -> (Result<Bytes, BodyError>, bool) {
        let limits = BodyLimits { max: MAX, timeout: Duration::from_secs(60) };
        let mut request = TestRequest::post().app_data(Data::new(limits)).set_payload(body).to_srv_request();
        if !announced {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        let unfinished: Option<Payload> = receive(&mut request).await;
        (Body::of(request.request()).unwrap().bytes, unfinished.is_some())
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_thrown_away() {
        assert_eq!(received(b"0123456789", true).await, (Ok(Bytes::from_static(b"0123456789")), false));
        assert_eq!(received(b"0123456789a", true).await, (Err(BodyError::TooLarge), false));
    }

    #[tokio::test]
    async fn what_follows_a_head_that_announces_no_body_is_not_read() {
        assert_eq!(received(b"\x81\x05hello", false).await, (Ok(Bytes::new()), true));
    }

    #[tokio::test]
    async fn a_form_is_known_by_its_media_type_alone() {
        for (content_type, is_form) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-form-urlencoded ; charset=utf-8", true),
            ("application/json", false),
            ("application/x-www-form-urlencoded2", false),
        ] {
            let mut request = TestRequest::post().insert_header((CONTENT_TYPE, content_type)).to_srv_request();
            receive(&mut request).await;
            assert_eq!(Body::of(request.request()).unwrap().is_form(), is_form, "{content_type}");
        }
    }
}
