//! Reads a request's body within the limits for size and time, before the handler runs.
//!
//! Invariant: the server reads an oversized body to its end (within bounds) before it sends the error. A connection closed
//! with unread bytes is reset, and the client would never receive the error.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

/// The multiple of the size limit that the server reads and discards so that the client receives the error.
const DRAIN: usize = 16;

/// The largest body of a route that needs no large ones, in bytes.
const SMALL: usize = 64 * 1024;

/// The services refuse JSON that is nested more deeply, whatever its size.
const MAX_DEPTH: usize = 64;

/// The limits of a listener for one request.
#[derive(Clone, Debug)]
pub struct BodyLimits {
    /// The size in bytes.
    pub max: usize,
    /// Whether a body at this path may be that large; otherwise its limit is 64 KiB.
    pub may_be_large: fn(&str) -> bool,
    /// The time from the end of the header to the end of the body.
    pub timeout: Duration,
    /// The memory for the bodies of all requests.
    pub budget: Arc<Budget>,
}

impl BodyLimits {
    fn max_at(&self, path: &str) -> usize {
        if (self.may_be_large)(path) { self.max } else { self.max.min(SMALL) }
    }
}

/// The memory for the bodies of all requests of a process, in bytes. Without it, half-sent bodies of many connections would
/// take any amount.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self(AtomicUsize::new(bytes)))
    }
}

/// The share of one body; dropping it gives it back.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    fn of(budget: &Arc<Budget>) -> Self {
        Self { budget: budget.clone(), bytes: 0 }
    }

    /// Adds bytes that have arrived.
    fn grow(&mut self, bytes: usize) -> Result<(), BodyError> {
        let take = |left: usize| left.checked_sub(bytes);
        self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map_err(|_| BodyError::Overloaded)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// Why a body is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The body exceeds the size limit.
    #[error("the body is too large")]
    TooLarge,
    /// The body exceeded the time limit.
    #[error("the body did not come in time")]
    TimedOut,
    /// The body exceeds the size limit, and what arrived is nested too deeply for any JSON that the services read.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// The bodies of all requests together exceed the budget.
    #[error("too busy, try again later")]
    Overloaded,
    /// The transfer was interrupted or its framing is invalid.
    #[error("the body could not be read")]
    Broken,
}

/// The body, or why it is unavailable. The extractor itself never fails, so that a handler decides which error comes
/// first. Requires the middleware of [`super::server::run`].
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Result<Bytes, BodyError>,
    is_form: bool,
    /// Held as long as the bytes.
    _share: Option<Arc<Share>>,
}

impl Body {
    /// The bytes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn bytes(&self) -> Result<&Bytes, BodyError> {
        self.bytes.as_ref().map_err(|error| *error)
    }

    /// Whether the media type is `application/x-www-form-urlencoded`, regardless of parameters.
    pub fn is_form(&self) -> bool {
        self.is_form
    }

    /// The body of a request after [`receive`].
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

/// Reads the body of `request` within the listener's limits and stores it in the request as [`Body`].
///
/// Returns an unfinished body. Keep it until the response is written: the server closes the connection after a response
/// to an unfinished request, but reads on for ever once that body is dropped.
pub(super) async fn receive(request: &mut ServiceRequest) -> Option<Payload> {
    let is_form = is_form(request.headers());
    let mut payload = request.take_payload();
    let mut share = None;
    let (bytes, is_unfinished) = match (&payload, request.app_data::<Data<BodyLimits>>()) {
        (Payload::None, _) => (Ok(Bytes::new()), false),
        // CONNECT or an upgrade: no body follows (RFC 9112, section 6.3).
        (_, _) if !is_announced(request.headers()) => (Ok(Bytes::new()), true),
        (_, None) => (Err(BodyError::TooLarge), true),
        (_, Some(limits)) => {
            let share = share.insert(Share::of(&limits.budget));
            let deadline = Instant::now() + limits.timeout;
            read_or_drain(&mut payload, limits.max_at(request.path()), share, deadline).await
        }
    };
    // After an error nothing is kept.
    let _share = share.filter(|_| bytes.is_ok()).map(Arc::new);
    request.extensions_mut().insert(Body { bytes, is_form, _share });
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
async fn read_or_drain(
    payload: &mut Payload,
    max: usize,
    share: &mut Share,
    deadline: Instant,
) -> (Result<Bytes, BodyError>, bool) {
    match timeout_at(deadline, read(payload, max, share)).await {
        Ok(Err(error @ (BodyError::TooLarge | BodyError::TooDeep))) => {
            // An oversized body stays oversized, whatever the rest does.
            let came_to_its_end = timeout_at(deadline, drain(payload, max.saturating_mul(DRAIN))).await;
            (Err(error), !came_to_its_end.unwrap_or(false))
        }
        Ok(result) => (result.clone(), result.is_err()),
        Err(_) => (Err(BodyError::TimedOut), true),
    }
}

async fn read(payload: &mut Payload, max: usize, share: &mut Share) -> Result<Bytes, BodyError> {
    let mut body = BytesMut::new();
    let mut first: Option<Bytes> = None;
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| BodyError::Broken)?;
        if first.as_ref().map_or(body.len(), Bytes::len) + chunk.len() > max {
            let start = first.as_ref().map_or(&body[..], |first| &first[..]);
            let is_too_deep = is_too_deep(start.iter().chain(&chunk));
            return Err(if is_too_deep { BodyError::TooDeep } else { BodyError::TooLarge });
        }
        // Most bodies arrive in one piece, which is not copied.
        match first.take() {
            None if body.is_empty() => {
                share.grow(chunk.len())?;
                first = Some(chunk);
            }
            None => append(&mut body, &chunk, share)?,
            Some(earlier) => {
                append(&mut body, &earlier, share)?;
                append(&mut body, &chunk, share)?;
            }
        }
    }
    Ok(first.unwrap_or_else(|| body.freeze()))
}

/// Adds `chunk` to `body`. The capacity grows by a quarter, not to the double, and the budget counts all of it.
fn append(body: &mut BytesMut, chunk: &[u8], share: &mut Share) -> Result<(), BodyError> {
    let (before, length) = (body.capacity(), body.len() + chunk.len());
    if before < length {
        let mut larger = BytesMut::with_capacity(length + length / 4);
        share.grow(larger.capacity().saturating_sub(before))?;
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
    Ok(())
}

/// Whether this start of a JSON text is nested more deeply than [`MAX_DEPTH`].
fn is_too_deep<'a>(start: impl Iterator<Item = &'a u8>) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in start {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Discards up to `max` bytes; returns whether the body ended.
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

    use super::{Body, BodyError, BodyLimits, Budget, receive};

    const MAX: usize = 10;

    fn limits(budget: usize) -> BodyLimits {
        let timeout = Duration::from_secs(60);
        BodyLimits { max: MAX, may_be_large: |_| true, timeout, budget: Budget::new(budget) }
    }

    /// The result for `body`, and whether more of it may follow.
    async fn received(body: &'static [u8], announced: bool) -> (Result<Bytes, BodyError>, bool) {
        let limits = limits(1 << 20);
        let mut request = TestRequest::post().app_data(Data::new(limits)).set_payload(body).to_srv_request();
        if !announced {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        let unfinished: Option<Payload> = receive(&mut request).await;
        (Body::of(request.request()).unwrap().bytes, unfinished.is_some())
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_discarded() {
        assert_eq!(received(b"0123456789", true).await, (Ok(Bytes::from_static(b"0123456789")), false));
        assert_eq!(received(b"0123456789a", true).await, (Err(BodyError::TooLarge), false));
    }

    #[tokio::test]
    async fn the_budget_is_for_all_bodies_and_comes_back_with_each() {
        let limits = Data::new(limits(15));
        let receive_one = async || {
            let request = TestRequest::post().app_data(limits.clone()).set_payload(&b"0123456789"[..]);
            let mut request = request.to_srv_request();
            let unfinished = receive(&mut request).await;
            (Body::of(request.request()).unwrap(), unfinished.is_some())
        };
        let (first, _) = receive_one().await;
        assert!(first.bytes().is_ok());
        let (second, is_unfinished) = receive_one().await;
        assert_eq!((second.bytes(), is_unfinished), (Err(BodyError::Overloaded), true));
        drop(first);
        assert!(receive_one().await.0.bytes().is_ok());
    }

    #[test]
    fn a_small_route_has_a_small_limit() {
        let limits = BodyLimits { max: 1 << 20, may_be_large: |path| path == "/lookup", ..limits(0) };
        assert_eq!((limits.max_at("/lookup"), limits.max_at("/bind")), (1 << 20, 64 * 1024));
    }

    #[test]
    fn only_brackets_outside_of_texts_are_nesting() {
        let is_too_deep = |text: &str| super::is_too_deep(text.as_bytes().iter());
        assert!(is_too_deep(&"[".repeat(65)) && is_too_deep(&"{\"a\":".repeat(65)));
        assert!(!is_too_deep(&"[".repeat(64)) && !is_too_deep(&"[]".repeat(1000)));
        assert!(!is_too_deep(&format!("{{\"a\":\"\\\"{}", "[".repeat(1000))));
    }

    #[tokio::test]
    async fn bytes_after_a_header_without_a_body_are_not_read() {
        assert_eq!(received(b"\x81\x05hello", false).await, (Ok(Bytes::new()), true));
    }

    #[tokio::test]
    async fn only_the_media_type_identifies_a_form() {
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
