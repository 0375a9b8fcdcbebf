//! The request to APNs: the path from the pushkey, and the header fields.
//!
//! Invariant: a pushkey or an event reaches the path or a field only as hexadecimal digits or as the base64url of a hash, so
//! that outsiders cannot forge a request.

use std::borrow::Cow;

use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;

use super::settings::{Collapse, PushType, Settings, TokenEncoding};
use crate::notification::call::Occasion;
use crate::notification::relayed::Relayed;
use crate::notification::{Kind, Notification, Priority};
use crate::providers::Payload;
use crate::upstream::request::UpstreamRequest;

/// How long APNs stores a nudge, in seconds.
const NUDGE_EXPIRATION: u64 = 60 * 60;

const TOPIC: HeaderName = HeaderName::from_static("apns-topic");
const PUSH_TYPE: HeaderName = HeaderName::from_static("apns-push-type");
const PRIORITY: HeaderName = HeaderName::from_static("apns-priority");
const EXPIRATION: HeaderName = HeaderName::from_static("apns-expiration");
const COLLAPSE_ID: HeaderName = HeaderName::from_static("apns-collapse-id");
const ID: HeaderName = HeaderName::from_static("apns-id");

/// The start of every path.
const DEVICE: &str = "/3/device/";

/// The path that identifies a device.
pub(super) struct DeviceToken(PathAndQuery);

impl DeviceToken {
    /// Reads a pushkey; `None` for an invalid token.
    pub(super) fn parse(pushkey: &str, encoding: TokenEncoding) -> Option<Self> {
        [DEVICE, &encoding.digits(pushkey)?].concat().try_into().ok().map(Self)
    }

    /// The token itself.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let digit =
            |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or_default();
        self.hex().as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |byte, part| byte << 4 | digit(*part))).collect()
    }

    /// The token in lower-case hexadecimal digits.
    fn hex(&self) -> &str {
        self.0.path().trim_start_matches(DEVICE)
    }
}

impl TokenEncoding {
    /// The encodings in which a client may name a token if this one is configured for pushkeys.
    #[must_use]
    pub(super) fn lenient(self) -> Self {
        match self {
            Self::Base64 => Self::Base64,
            Self::Hex | Self::Auto => Self::Auto,
        }
    }

    /// The token in lower-case hexadecimal digits; `None` for an invalid one.
    pub(super) fn digits(self, pushkey: &str) -> Option<Cow<'_, str>> {
        match self {
            Self::Hex => from_hex(pushkey),
            Self::Base64 => from_base64(pushkey),
            Self::Auto => from_hex(pushkey).or_else(|| from_base64(pushkey)),
        }
    }

    /// The pushkey of a device with this token.
    pub(super) fn encode(self, token: &[u8]) -> String {
        match self {
            Self::Base64 => BASE64.encode(token),
            Self::Hex | Self::Auto => hex(token),
        }
    }
}

fn from_hex(pushkey: &str) -> Option<Cow<'_, str>> {
    let right = (64..=200).contains(&pushkey.len())
        && pushkey.len().is_multiple_of(2)
        && pushkey.bytes().all(|c| c.is_ascii_hexdigit());
    let is_canonical = !pushkey.bytes().any(|c| c.is_ascii_uppercase());
    right.then(|| if is_canonical { Cow::Borrowed(pushkey) } else { Cow::Owned(pushkey.to_ascii_lowercase()) })
}

fn from_base64<'a>(pushkey: &str) -> Option<Cow<'a, str>> {
    /// 100 bytes in padded base64.
    const LONGEST: usize = 136;
    if pushkey.len() > LONGEST {
        return None;
    }
    let mut bytes = [0; LONGEST];
    let length =
        LENIENT.decode_slice(pushkey, &mut bytes).or_else(|_| LENIENT_URL_SAFE.decode_slice(pushkey, &mut bytes));
    let bytes = &bytes[..length.ok()?];
    (32..=100).contains(&bytes.len()).then(|| Cow::Owned(hex(bytes)))
}

static LENIENT: GeneralPurpose = lenient(&STANDARD);
static LENIENT_URL_SAFE: GeneralPurpose = lenient(&URL_SAFE);

/// Decodes with or without padding.
const fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// One push, ready for either environment.
pub(super) struct Push(UpstreamRequest);

/// What the header fields of a push depend on, besides the settings.
pub(super) struct PushHeaders<'a> {
    pub(super) notification: &'a Notification,
    /// 16 random bytes.
    pub(super) id: [u8; 16],
    pub(super) occasion: Occasion,
    pub(super) now: Timestamp,
}

/// The parts that every push of an app has in common.
pub(super) struct PushTemplate {
    topic: HeaderValue,
}

/// A topic that is missing, or that a header field cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic: expected the app's bundle id")]
pub(super) struct InvalidTopic;

impl PushTemplate {
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidTopic> {
        let topic = settings.full_topic();
        let topic = HeaderValue::try_from(topic).ok().filter(|topic| !topic.is_empty());
        topic.map(|topic| Self { topic }).ok_or(InvalidTopic)
    }

    /// The push of `payload` to `token`, not authorized yet.
    pub(super) fn push(
        &self,
        token: DeviceToken,
        headers: &PushHeaders<'_>,
        settings: &Settings,
        payload: &Payload,
    ) -> Push {
        let PushHeaders { notification, id, occasion, now } = *headers;
        let relayed = notification.relayed.as_ref();
        let push_type = match settings.push_type {
            _ if relayed.is_some() && !payload.is_background => PushType::Alert,
            _ if relayed.is_some() => PushType::Background,
            Some(push_type) if occasion != Occasion::Nudge || push_type == PushType::Voip => push_type,
            Some(_) => PushType::Background,
            None if payload.is_background => PushType::Background,
            None => PushType::Alert,
        };
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(TOPIC, self.topic.clone());
        headers.insert(PUSH_TYPE, HeaderValue::from_static(push_type.as_str()));
        headers.insert(PRIORITY, HeaderValue::from_static(priority(push_type, notification, occasion)));
        headers.insert(EXPIRATION, HeaderValue::from(expiration(relayed, occasion, settings, now)));
        let own = || collapse_id(notification, occasion, push_type, settings.collapse);
        if let Some(id) = relayed.map_or_else(own, |relayed| relayed.collapse_id.clone()) {
            headers.insert(COLLAPSE_ID, unique(&id));
        }
        headers.insert(ID, unique(&uuid(id)));
        Push(UpstreamRequest::post(token.0, headers, payload.body.clone()))
    }
}

impl Push {
    pub(super) fn authorize(&mut self, authorization: HeaderValue) {
        self.0.headers.insert(AUTHORIZATION, authorization);
    }

    pub(super) fn set_body(&mut self, body: Bytes) {
        self.0.body = body;
    }

    pub(super) fn request(&self) -> &UpstreamRequest {
        &self.0
    }
}

fn priority(push_type: PushType, notification: &Notification, occasion: Occasion) -> &'static str {
    match push_type {
        PushType::Voip => "10",
        // APNs refuses 10.
        PushType::Background => "5",
        _ if occasion.ring().is_some() => "10",
        _ if notification.priority == Priority::Low || notification.kind == Kind::Badge => "5",
        _ => "10",
    }
}

/// In seconds since the Unix epoch; APNs tries a push with 0 once and stores nothing.
fn expiration(relayed: Option<&Relayed>, occasion: Occasion, settings: &Settings, now: Timestamp) -> i64 {
    let stored = relayed.map_or(settings.expiration.get().as_secs(), |relayed| u64::from(relayed.ttl));
    let seconds = match (stored, occasion) {
        (0, _) => return 0,
        (_, Occasion::Ring(ring)) => ring.seconds(),
        (_, Occasion::Nudge) => NUDGE_EXPIRATION,
        (seconds, Occasion::Ordinary | Occasion::ExpiredCall) => seconds,
    };
    (now.as_millis() / 1000).saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX))
}

fn collapse_id(
    notification: &Notification,
    occasion: Occasion,
    push_type: PushType,
    collapse: Collapse,
) -> Option<String> {
    if occasion == Occasion::Nudge {
        return Some("nudge".to_owned());
    }
    // Every VoIP push reports a call of its own.
    let call = (push_type != PushType::Voip).then(|| notification.call_collapse_id(occasion)).flatten();
    if call.is_some() {
        return call;
    }
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
    for (place, part) in [&id[..4], &id[4..6], &id[6..8], &id[8..10], &id[10..]].into_iter().enumerate() {
        if place > 0 {
            text.push('-');
        }
        push_hex(&mut text, part);
    }
    text
}

/// Lower-case hexadecimal digits.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
}

/// A value that is used once: it stays out of the connection's table of known fields.
#[expect(clippy::expect_used, reason = "hexadecimal digits, letters and dashes alone")]
fn unique(text: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(text).expect("visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
