//! The request to a push service (RFC 8030 §5).
//!
//! Invariant: `TTL` is at least one second, and nothing is sent in the headers of older drafts.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;

use super::base64::encode;
use crate::notification::call::Occasion;
use crate::notification::{Notification, Priority};
use crate::upstream::request::UpstreamRequest;

const TTL: HeaderName = HeaderName::from_static("ttl");
const URGENCY: HeaderName = HeaderName::from_static("urgency");
const TOPIC_FIELD: HeaderName = HeaderName::from_static("topic");
const AES128GCM: HeaderValue = HeaderValue::from_static("aes128gcm");

/// The characters of a topic: 24 bytes in base64url, which every push service accepts.
const TOPIC: usize = 32;

/// How a push service is to treat a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Handling {
    pub(super) ttl: Duration,
    pub(super) urgency: &'static str,
    pub(super) topic: Option<String>,
}

/// A body, and what it is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    /// RFC 8291.
    Encrypted(Bytes),
    /// Plain JSON. `is_labelled`: as if it were encrypted, because some push servers accept nothing else.
    Json { json: Bytes, is_labelled: bool },
}

impl Handling {
    /// `has_topic`: a newer message replaces an older one that is not delivered yet, if they are of one call, or
    /// `is_last_of_room` says so.
    pub(super) fn new(
        notification: &Notification,
        occasion: Occasion,
        ttl: Duration,
        has_topic: bool,
        is_last_of_room: bool,
    ) -> Self {
        let urgency = match (occasion, notification.priority) {
            (Occasion::Ring(_), _) => "high",
            (Occasion::Nudge, _) | (_, Priority::Low) => "low",
            (Occasion::Ordinary | Occasion::ExpiredCall, Priority::High) => "normal",
        };
        let of_room = || {
            let room = notification.room_id.as_ref().filter(|_| is_last_of_room)?;
            Some(encode(digest(&SHA256, room.as_bytes()).as_ref()))
        };
        let topic = notification.call_collapse_id(occasion).or_else(of_room).filter(|_| has_topic);
        let topic = topic.map(|mut topic| {
            topic.truncate(TOPIC);
            topic
        });
        let ttl = occasion.ring().map_or(ttl, |ring| Duration::from_secs(ring.seconds()));
        Self { ttl, urgency, topic }
    }
}

/// The request. `None` if a value has no place in a header.
pub(super) fn request(
    path: PathAndQuery,
    handling: &Handling,
    authorization: Option<HeaderValue>,
    body: Body,
) -> Option<UpstreamRequest> {
    let (bytes, content_type, is_labelled) = match body {
        Body::Encrypted(bytes) => (bytes, "application/octet-stream", true),
        Body::Json { json, is_labelled } => (json, "application/json", is_labelled),
    };
    let mut headers = HeaderMap::with_capacity(7);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    if is_labelled {
        headers.insert(CONTENT_ENCODING, AES128GCM);
    }
    headers.insert(TTL, HeaderValue::from(handling.ttl.as_secs().max(1)));
    headers.insert(URGENCY, HeaderValue::from_static(handling.urgency));
    if let Some(topic) = &handling.topic {
        headers.insert(TOPIC_FIELD, HeaderValue::try_from(topic).ok()?);
    }
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    Some(UpstreamRequest::post(path, headers, bytes))
}
