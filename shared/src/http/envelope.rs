//! Wraps every request and response of every listener: keeps what no handler reads of the body, and adds a request id and
//! the listener's headers to the response.
//!
//! Invariant: the response to an unfinished request closes the connection, and the rest of that body is never
//! interpreted.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, StatusCode};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{Error, ResponseError};

use super::body::Unread;
use super::error::MatrixError;
use crate::random::Random;

/// Header fields for every response, errors included.
pub type Headers = &'static [(&'static str, &'static str)];

/// The longest header of a request, in bytes.
const MAX_HEADER: usize = 16 * 1024;

/// The bytes of the request line and the fields, without separators.
fn header_size(request: &ServiceRequest) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    request.uri().to_string().len() + fields.sum::<usize>()
}

/// Calls `next` and adds the headers and the request id to its response.
///
/// # Errors
/// Those of an inner middleware; a handler's error is already a response.
pub(super) async fn envelop(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    headers: Headers,
    request_id: &str,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let is_too_long = header_size(&request) > MAX_HEADER;
    let unread = Unread::of(&mut request);
    let mut response = if is_too_long {
        let error =
            MatrixError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "M_UNKNOWN", "The header is too long");
        let mut response = request.into_response(error.error_response());
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        response
    } else {
        next.call(request).await?.map_into_boxed_body()
    };
    let fields = response.headers_mut();
    for (name, value) in headers {
        fields.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        fields.insert(HeaderName::from_static("x-request-id"), value);
    }
    let unfinished = unread.rest(response.request().headers()).await;
    Ok(match unfinished {
        Some(unfinished) => response.map_body(|_, body| BoxBody::new(Last { body, _unfinished: unfinished })),
        None => response,
    })
}

/// The proxy's request id if it is harmless, which connects both logs; else a new one.
pub(super) fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    match headers.get("x-request-id").and_then(|value| value.to_str().ok()).filter(harmless) {
        Some(id) => id.to_owned(),
        None => Random.unique_base62(12),
    }
}

/// The body of the last response on a connection. Holds the rest of the request until it is written, see [`Unread::rest`].
struct Last {
    body: BoxBody,
    _unfinished: Payload,
}

impl MessageBody for Last {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
