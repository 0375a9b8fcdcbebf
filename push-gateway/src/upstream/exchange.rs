//! One request on one connection, up to the status of its response.
//!
//! Invariant: a connection of HTTP/1.1 takes the next request only after a complete response.

use bytes::Bytes;
use h2::Reason;
use http_body_util::Full;

use super::no_response::NoResponse;
use super::origin::Origin;
use super::pool::Ticket;
use super::request::UpstreamRequest;
use super::response::{Body, StartOfResponse};

/// Sends `request` on a stream of the connection of `ticket`.
pub(super) async fn http2(
    ticket: Ticket,
    mut sender: h2::client::SendRequest<Bytes>,
    origin: &Origin,
    request: &UpstreamRequest,
) -> Result<StartOfResponse, NoResponse> {
    let has_body = !request.body.is_empty();
    // A failure here happens before anything is written.
    let (response, mut stream) =
        sender.send_request(request.http2(origin), !has_body).map_err(|_| NoResponse::NotProcessed)?;
    drop(sender);
    if has_body && let Err(error) = stream.send_data(request.body.clone(), true) {
        tracing::debug!(%error, "the request was not sent in full; the response decides its outcome");
    }
    let response = response.await.map_err(|error| {
        let failure = failure(&error);
        if error.is_go_away() && error.is_remote() {
            ticket.going_away(&error);
        }
        if error.is_reset() || failure == NoResponse::NotProcessed {
            ticket.reset(failure != NoResponse::NotProcessed);
        }
        failure
    })?;
    let (head, body) = response.into_parts();
    ticket.answered(head.status.as_u16());
    Ok(StartOfResponse { head, body: Body::Http2(body), ticket })
}

fn failure(error: &h2::Error) -> NoResponse {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    // A stream reports a GOAWAY as its own error only above the last stream that the server processed.
    if error.is_remote() && (refused || error.is_go_away()) {
        NoResponse::NotProcessed
    } else {
        // The server may have processed the request.
        NoResponse::Lost
    }
}

/// Sends `request` on the connection of `ticket`.
pub(super) async fn http1(
    ticket: Ticket,
    mut sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
    origin: &Origin,
    request: &UpstreamRequest,
) -> Result<StartOfResponse, NoResponse> {
    // The server may close a kept connection at any time.
    if sender.ready().await.is_err() {
        ticket.closed_unused();
        return Err(NoResponse::NotProcessed);
    }
    match sender.try_send_request(request.http1(origin, Full::new(request.body.clone()))).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            ticket.answered(head.status.as_u16());
            Ok(StartOfResponse { head, body: Body::Http1(body, sender), ticket })
        }
        // The request comes back if nothing of it was written.
        Err(error) if error.message().is_some() => {
            ticket.closed_unused();
            Err(NoResponse::NotProcessed)
        }
        Err(_) => Err(NoResponse::Lost),
    }
}
