//! Reads a request's body within the limits for size, time and memory, when the handler asks for it.
//!
//! Invariant: nothing of a body is read before its handler has checked what it can check without it. A body that is not
//! read to its end stays with the envelope, which closes the connection after the response.

use std::cell::RefCell;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use actix_web::web::{Bytes, BytesMut, Data};
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::body_budget::{Budget, Exhausted, Share};
use super::client_address::client_address;

/// How long the server waits for the rest of a short body that no handler wants, to keep the connection.
const SHORT_WAIT: Duration = Duration::from_millis(50);

/// The largest body of a route that needs no large ones, in bytes.
const SMALL: usize = 64 * 1024;

/// The services refuse JSON that is nested more deeply, of any size.
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

impl From<Exhausted> for BodyError {
    fn from(_: Exhausted) -> Self {
        Self::Overloaded
    }
}

/// The body of a request, which the handler may read. Requires the middleware of [`super::server::run`].
#[derive(Debug)]
pub struct Body {
    request: HttpRequest,
}

/// A body that was read, or why it is unavailable. A handler decides which error comes first.
#[derive(Debug)]
pub struct Received {
    bytes: Result<Bytes, BodyError>,
    is_form: bool,
    /// Held as long as the bytes.
    _share: Option<Share>,
}

impl Received {
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
}

impl Body {
    pub(super) fn of(request: HttpRequest) -> Self {
        Self { request }
    }

    /// Reads the body within the listener's limits. A second reading finds no body, nor does one without the middleware.
    pub async fn read(self) -> Received {
        self.read_within(usize::MAX, Duration::MAX).await
    }

    /// The same within smaller limits: a size in bytes, and the time from the end of the header to the end of the body.
    pub async fn read_within(self, max: usize, timeout: Duration) -> Received {
        let is_form = is_form(self.request.headers());
        let mut share = None;
        let bytes = self.receive(max, timeout, &mut share).await;
        // After an error nothing is kept.
        let share = share.filter(|_| bytes.is_ok());
        Received { bytes, is_form, _share: share }
    }

    async fn receive(&self, max: usize, timeout: Duration, share: &mut Option<Share>) -> Result<Bytes, BodyError> {
        let unread = self.request.extensions().get::<Unread>().cloned();
        let Some((unread, mut payload)) = unread.and_then(|unread| Some((unread.clone(), unread.take()?))) else {
            return Ok(Bytes::new());
        };
        let limits = self.request.app_data::<Data<BodyLimits>>();
        // CONNECT or an upgrade: no body follows (RFC 9112, section 6.3).
        if !is_announced(self.request.headers()) {
            unread.put(payload);
            return Ok(Bytes::new());
        }
        let Some(limits) = limits else { return Err(BodyError::TooLarge) };
        let share = share.insert(Share::of(&limits.budget, client_address(&self.request)));
        let max = limits.max_at(self.request.path()).min(max);
        let deadline = unread.since + limits.timeout.min(timeout);
        let read = timeout_at(deadline, read(&mut payload, max, share)).await;
        let bytes = read.unwrap_or(Err(BodyError::TimedOut));
        if bytes.is_err() {
            unread.put(payload);
        }
        bytes
    }
}

impl FromRequest for Body {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, Self::Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(request.clone())))
    }
}

/// The body of a request as far as it was not read.
#[derive(Clone)]
pub(super) struct Unread {
    payload: Rc<RefCell<Option<Payload>>>,
    /// When the header was complete.
    since: Instant,
}

impl Unread {
    /// Takes the body out of the request and leaves itself in its extensions, for [`Body`].
    pub(super) fn of(request: &mut ServiceRequest) -> Self {
        let payload = Some(request.take_payload()).filter(|payload| !matches!(payload, Payload::None));
        let unread = Self { payload: Rc::new(RefCell::new(payload)), since: Instant::now() };
        request.extensions_mut().insert(unread.clone());
        unread
    }

    fn take(&self) -> Option<Payload> {
        self.payload.borrow_mut().take()
    }

    fn put(&self, payload: Payload) {
        *self.payload.borrow_mut() = Some(payload);
    }

    /// What is left after the response was made, unless it is short and comes at once. Keep it until the response is
    /// written: the server closes the connection after a response to an unfinished request, but reads on for ever once its
    /// body is dropped.
    pub(super) async fn rest(self, headers: &HeaderMap) -> Option<Payload> {
        let mut payload = self.take()?;
        if !is_announced(headers) {
            return Some(payload);
        }
        let ended = timeout_at(Instant::now() + SHORT_WAIT, drain(&mut payload, SMALL)).await.unwrap_or(false);
        (!ended).then_some(payload)
    }
}

fn is_announced(headers: &HeaderMap) -> bool {
    headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING)
}

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).and_then(|v| v.split(';').next());
    media_type.is_some_and(|name| name.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
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

    use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
    use actix_web::test::TestRequest;
    use actix_web::web::{Bytes, Data};

    use super::{Body, BodyError, BodyLimits, Budget, Received, Unread};

    const MAX: usize = 10;

    fn limits(budget: usize) -> BodyLimits {
        let timeout = Duration::from_secs(60);
        BodyLimits { max: MAX, may_be_large: |_| true, timeout, budget: Budget::new(budget, MAX) }
    }

    /// What is read of the request's body, and whether more of it may follow.
    async fn receive(request: TestRequest, is_announced: bool) -> (Received, bool) {
        let mut request = request.to_srv_request();
        if !is_announced {
            request.headers_mut().remove(CONTENT_LENGTH);
        }
        let unread = Unread::of(&mut request);
        let received = Body::of(request.request().clone()).read().await;
        let rest = unread.rest(request.headers()).await;
        (received, rest.is_some())
    }

    async fn received(body: &'static [u8], is_announced: bool) -> (Result<Bytes, BodyError>, bool) {
        let request = TestRequest::post().app_data(Data::new(limits(1 << 20))).set_payload(body);
        let (received, is_unfinished) = receive(request, is_announced).await;
        (received.bytes, is_unfinished)
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_and_a_larger_one_is_discarded() {
        assert_eq!(received(b"0123456789", true).await, (Ok(Bytes::from_static(b"0123456789")), false));
        assert_eq!(received(b"0123456789a", true).await, (Err(BodyError::TooLarge), false));
    }

    #[tokio::test]
    async fn a_handler_may_set_a_smaller_limit() {
        for (max, expected) in [(3, Err(BodyError::TooLarge)), (4, Ok(Bytes::from_static(b"0123")))] {
            let request = TestRequest::post().app_data(Data::new(limits(1 << 20))).set_payload(&b"0123"[..]);
            let mut request = request.to_srv_request();
            let _unread = Unread::of(&mut request);
            let received = Body::of(request.request().clone()).read_within(max, Duration::MAX).await;
            assert_eq!(received.bytes, expected);
        }
    }

    #[tokio::test]
    async fn a_body_that_no_handler_reads_is_discarded_if_it_is_short() {
        let rest = async |body: Vec<u8>| {
            let mut request = TestRequest::post().set_payload(body).to_srv_request();
            Unread::of(&mut request).rest(request.headers()).await.is_some()
        };
        assert!(!rest(vec![b' '; 1000]).await);
        assert!(rest(vec![b' '; 1 << 20]).await);
    }

    #[tokio::test]
    async fn the_budget_is_for_all_bodies_and_comes_back_with_each() {
        let limits = Data::new(limits(15));
        let receive_one = async || {
            let request = TestRequest::post().app_data(limits.clone()).set_payload(&b"0123456789"[..]);
            receive(request, true).await.0
        };
        let first = receive_one().await;
        assert!(first.bytes().is_ok());
        assert_eq!(receive_one().await.bytes(), Err(BodyError::Overloaded), "nothing is left");
        drop(first);
        assert!(receive_one().await.bytes().is_ok());
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
            let request = TestRequest::post().insert_header((CONTENT_TYPE, content_type));
            assert_eq!(receive(request, true).await.0.is_form(), is_form, "{content_type}");
        }
    }
}
