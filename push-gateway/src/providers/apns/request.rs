//! The request to Apple: the path from the pushkey, and the header fields.
//!
//! Invariant: nothing of a pushkey or of an event gets into the path or a field but hexadecimal digits and the base64url
//! of a hash, so no request can be forged by what strangers write.

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Request, Uri};
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;

use super::settings::{Collapse, PushType, Settings, TokenEncoding};
use crate::notification::{Kind, Notification, Priority};

/// How long a call is worth anything, in seconds.
const CALL_EXPIRATION: u64 = 30;

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
const ID: HeaderName = HeaderName::from_static("apns-id");

/// What Apple knows a device by.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct DeviceToken(PathAndQuery);

impl DeviceToken {
    /// Reads a pushkey; `None` if it cannot be a token.
    pub(super) fn parse(pushkey: &str, encoding: TokenEncoding) -> Option<Self> {
        let hex = match encoding {
            TokenEncoding::Hex => from_hex(pushkey)?,
            TokenEncoding::Base64 => from_base64(pushkey)?,
            TokenEncoding::Auto => from_hex(pushkey).or_else(|| from_base64(pushkey))?,
        };
        format!("/3/device/{hex}").parse().ok().map(Self)
    }
}

fn from_hex(pushkey: &str) -> Option<String> {
    let right = (64..=200).contains(&pushkey.len())
        && pushkey.len().is_multiple_of(2)
        && pushkey.bytes().all(|c| c.is_ascii_hexdigit());
    right.then(|| pushkey.to_ascii_lowercase())
}

fn from_base64(pushkey: &str) -> Option<String> {
    /// 100 bytes in base64, padded; anything longer is not looked at.
    const LONGEST: usize = 136;
    if pushkey.len() > LONGEST {
        return None;
    }
    let bytes = lenient(&STANDARD).decode(pushkey).or_else(|_| lenient(&URL_SAFE).decode(pushkey)).ok()?;
    let hex = || bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    (32..=100).contains(&bytes.len()).then(hex)
}

fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// One push, to be sent to either of Apple's worlds, as often as need be.
#[derive(Clone)]
pub(super) struct Push {
    path: PathAndQuery,
    headers: HeaderMap,
    body: Bytes,
}

/// What goes into the header fields of a push, besides what the settings say.
pub(super) struct Envelope<'a> {
    pub(super) token: &'a DeviceToken,
    pub(super) notification: &'a Notification,
    /// 16 random bytes.
    pub(super) id: [u8; 16],
    pub(super) now: Timestamp,
    /// Whether the payload shows nothing.
    pub(super) background: bool,
}

/// The fields that are the same in every request of an app.
#[derive(Clone, Debug)]
pub(super) struct Fields {
    topic: HeaderValue,
}

impl Fields {
    /// `None` if the topic cannot stand in a header field.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let topic = settings.full_topic();
        (!topic.is_empty()).then(|| HeaderValue::try_from(topic).ok()).flatten().map(|topic| Self { topic })
    }

    /// The push of `body`.
    pub(super) fn push(&self, envelope: &Envelope<'_>, settings: &Settings, body: Bytes) -> Push {
        let Envelope { notification, now, .. } = *envelope;
        let push_type = match settings.push_type {
            Some(push_type) => push_type,
            None if envelope.background => PushType::Background,
            None => PushType::Alert,
        };
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static(push_type.as_str()));
        headers.insert(PRIORITY, HeaderValue::from_static(priority(push_type, notification)));
        headers.insert(EXPIRATION, HeaderValue::from(expiration(notification, settings, now)));
        if let Some(id) = collapse_id(notification, settings.collapse) {
            headers.insert(COLLAPSE_ID, unique(&id));
        }
        headers.insert(ID, unique(&uuid(envelope.id)));
        Push { path: envelope.token.0.clone(), headers, body }
    }
}

impl Push {
    /// Sets what proves that it is us.
    pub(super) fn authorize(&mut self, authorization: HeaderValue) {
        self.headers.insert(AUTHORIZATION, authorization);
    }

    /// Puts a smaller payload in.
    pub(super) fn set_body(&mut self, body: Bytes) {
        self.body = body;
    }

    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// The head of the request to `authority`.
    pub(super) fn head(&self, authority: &Authority) -> Request<()> {
        let mut uri = http::uri::Parts::default();
        (uri.scheme, uri.authority) = (Some(Scheme::HTTPS), Some(authority.clone()));
        uri.path_and_query = Some(self.path.clone());
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

fn priority(push_type: PushType, notification: &Notification) -> &'static str {
    match push_type {
        PushType::Voip => "10",
        // Apple refuses 10.
        PushType::Background => "5",
        _ if notification.priority == Priority::Low || notification.kind == Kind::Badge => "5",
        _ => "10",
    }
}

/// In seconds since the Unix epoch; 0 has Apple try once and forget.
fn expiration(notification: &Notification, settings: &Settings, now: Timestamp) -> i64 {
    let seconds = match settings.expiration.get().as_secs() {
        0 => return 0,
        _ if notification.is_call(&settings.call_types) => CALL_EXPIRATION,
        seconds => seconds,
    };
    (now.as_millis() / 1000).saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn collapse_id(notification: &Notification, collapse: Collapse) -> Option<String> {
    let id = match collapse {
        Collapse::None => return None,
        Collapse::Room => notification.room_id.as_ref(),
        Collapse::Event => notification.event_id.as_ref(),
    };
    id.map(|id| URL_SAFE_NO_PAD.encode(Sha256::digest(id)))
}

/// The canonical text of a UUID version 4 (RFC 9562) from 16 random bytes.
fn uuid(mut id: [u8; 16]) -> String {
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (place, byte) in id.iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    text
}

/// A value that is used once, and so is not worth a place in the connection's table of known fields.
#[expect(clippy::expect_used, reason = "hexadecimal digits, letters and dashes alone")]
fn unique(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
