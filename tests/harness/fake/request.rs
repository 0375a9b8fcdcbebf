//! A request that reached a fake service.
//!
//! Invariant: it is kept byte for byte, as it arrived.

use std::sync::Arc;

use http::HeaderMap;
use hyper::body::Bytes;
use serde_json::Value;

use super::Connection;

/// A request that arrived completely.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target: path and query, as sent.
    pub target: String,
    /// `:authority` over HTTP/2; empty over HTTP/1.1, see the `Host` header.
    pub authority: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The name in the TLS handshake (SNI); none for an IP literal.
    pub sni: Option<String>,
    /// Whether it came over HTTP/2.
    pub is_http2: bool,
    /// The connection, counted from 1.
    pub connection: usize,
    /// The identifier of the HTTP/2 stream; 0 over HTTP/1.1.
    pub stream: u32,
    /// The status of the response, once it is sent; only APNs notes it.
    pub status: Option<u16>,
    /// Whether the service accepted it, even if the response was lost.
    pub is_accepted: bool,
    pub(crate) over: Arc<Connection>,
}

impl Request {
    pub(super) fn new(head: http::request::Parts, body: Bytes, stream: u32, over: &Arc<Connection>) -> Self {
        Self {
            method: head.method.to_string(),
            target: head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string),
            authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
            headers: head.headers,
            body,
            sni: over.sni.clone(),
            is_http2: stream != 0,
            connection: over.number,
            stream,
            status: None,
            is_accepted: false,
            over: Arc::clone(over),
        }
    }

    /// A POST to `target` on no connection.
    #[cfg(test)]
    pub(crate) fn post(target: &str, body: &'static str) -> Self {
        let head = http::Request::post(target).body(()).expect("a valid target").into_parts().0;
        Self::new(head, Bytes::from(body), 0, &Arc::new(Connection::new(0, None, 0).0))
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, as sent; empty without one.
    pub fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Whether the client received the head of the response, or will receive it, over HTTP/2. An accepted request without
    /// it may be sent again.
    pub fn was_answered(&self) -> bool {
        self.over.wire.was_answered(self.stream)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}
