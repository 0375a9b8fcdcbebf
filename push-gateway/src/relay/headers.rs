//! The header fields of a push to the relay (RFC 8030, section 5; RFC 8188).
//!
//! Invariant: pure. The checks are in their order; the first one that fails answers.

use std::str::FromStr;

use serde::Deserialize;

use crate::notification::relayed::CODING;

/// The largest `TTL`.
const MAX_TTL: u32 = i32::MAX.unsigned_abs();
/// The longest `Topic` (RFC 8030, section 5.4).
const MAX_TOPIC: usize = 32;

/// `Urgency`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Urgency {
    VeryLow,
    Low,
    Normal,
    High,
}

impl FromStr for Urgency {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let known = [("very-low", Self::VeryLow), ("low", Self::Low), ("normal", Self::Normal), ("high", Self::High)];
        let found = known.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        found.map(|(_, urgency)| urgency).ok_or(InvalidField::Urgency)
    }
}

/// What the header fields say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PushFields {
    /// In seconds.
    pub(crate) ttl: u32,
    pub(crate) urgency: Option<Urgency>,
    /// Without padding.
    pub(crate) topic: Option<String>,
    /// Whether `Content-Encoding` is `aes128gcm`; without it only an empty body is a push.
    pub(crate) is_encrypted: bool,
}

/// The field that is missing or invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidField {
    #[error("TTL: expected one number of seconds")]
    Ttl,
    #[error("Urgency: expected very-low, low, normal or high")]
    Urgency,
    #[error("Topic: expected 1 to 32 characters of base64url")]
    Topic,
    /// Not `aes128gcm`.
    #[error("Content-Encoding: expected aes128gcm")]
    ContentEncoding,
    /// The form of a draft of RFC 8291.
    #[error("Encryption and Crypto-Key: expected the keys in the body (RFC 8188)")]
    Draft,
    /// No receipts are offered, so none is valid (RFC 8030, section 5.1).
    #[error("Push-Receipt: receipts are not supported")]
    Receipt,
}

impl PushFields {
    /// Reads the fields; `values` returns the values of all fields with a name. `has_body`: a body is certain to follow.
    ///
    /// # Errors
    /// [`InvalidField`].
    pub(crate) fn read<'a>(has_body: bool, values: impl Fn(&str) -> Vec<&'a [u8]>) -> Result<Self, InvalidField> {
        let one = |name: &str, error: InvalidField| match values(name)[..] {
            [] => Ok(None),
            [value] => std::str::from_utf8(value).map(|value| Some(value.trim_matches([' ', '\t']))).map_err(|_| error),
            _ => Err(error),
        };
        let ttl = one("ttl", InvalidField::Ttl)?.and_then(seconds).ok_or(InvalidField::Ttl)?;
        let urgency = one("urgency", InvalidField::Urgency)?.map(str::parse).transpose()?;
        let topic = match one("topic", InvalidField::Topic)? {
            Some(value) => Some(topic(value).ok_or(InvalidField::Topic)?),
            None => None,
        };
        let encoding = one("content-encoding", InvalidField::ContentEncoding)?;
        let is_encrypted = encoding.is_some();
        if encoding.map_or(has_body, |encoding| !encoding.eq_ignore_ascii_case(CODING)) {
            return Err(InvalidField::ContentEncoding);
        }
        let is_key = |part: &[u8]| part.trim_ascii().get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"dh="));
        let has_key = |value: &&[u8]| value.split(|byte| b",;".contains(byte)).any(is_key);
        if !values("encryption").is_empty() || values("crypto-key").iter().any(has_key) {
            return Err(InvalidField::Draft);
        }
        if !values("push-receipt").is_empty() {
            return Err(InvalidField::Receipt);
        }
        Ok(Self { ttl, urgency, topic, is_encrypted })
    }
}

fn seconds(value: &str) -> Option<u32> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    // Only a value that is too large does not parse.
    is_number.then(|| value.parse().unwrap_or(MAX_TTL).min(MAX_TTL))
}

/// One sender pads the topic, which no alphabet of RFC 8030 allows.
fn topic(value: &str) -> Option<String> {
    let text = value.strip_suffix("==").or(value.strip_suffix('=')).unwrap_or(value);
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    (value.len() <= MAX_TOPIC && !text.is_empty() && text.bytes().all(is_valid)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{InvalidField, PushFields, Urgency};

    fn read(fields: &[(&str, &str)]) -> Result<PushFields, InvalidField> {
        PushFields::read(false, |name| {
            fields.iter().filter(|(n, _)| *n == name).map(|(_, value)| value.as_bytes()).collect()
        })
    }

    const TTL: (&str, &str) = ("ttl", "60");
    const ENCODING: (&str, &str) = ("content-encoding", "aes128gcm");

    #[test]
    fn the_fields_of_known_senders_are_read() {
        let push = PushFields { ttl: 60, urgency: None, topic: None, is_encrypted: true };
        assert_eq!(read(&[TTL, ENCODING]), Ok(push.clone()));
        for (value, urgency) in [
            ("HIGH", Urgency::High),
            ("normal", Urgency::Normal),
            ("low", Urgency::Low),
            ("very-low", Urgency::VeryLow),
        ] {
            let expected = PushFields { urgency: Some(urgency), ..push.clone() };
            assert_eq!(read(&[TTL, ("urgency", value), ENCODING]), Ok(expected));
        }
        for (value, topic) in [
            ("room-topic_0123456789", "room-topic_0123456789"),
            ("012345678901234567890123456789==", "012345678901234567890123456789"),
            ("a=", "a"),
        ] {
            let expected = PushFields { topic: Some(topic.to_owned()), ..push.clone() };
            assert_eq!(read(&[TTL, ("topic", value), ENCODING]), Ok(expected));
        }
        for (value, ttl) in [("0", 0), ("172800", 172_800), ("99999999999999999999", i32::MAX.unsigned_abs())] {
            let expected = PushFields { ttl, ..push.clone() };
            assert_eq!(read(&[("ttl", value), ("content-encoding", "AES128GCM")]), Ok(expected));
        }
        let wake_up = PushFields { is_encrypted: false, ..push };
        assert_eq!(read(&[TTL, ("crypto-key", "p256ecdsa=AAAA")]), Ok(wake_up));
    }

    #[test]
    fn the_first_invalid_field_is_named() {
        let long = "a".repeat(33);
        for (fields, expected) in [
            (vec![ENCODING], InvalidField::Ttl),
            (vec![("ttl", "-1")], InvalidField::Ttl),
            (vec![("ttl", "1.5")], InvalidField::Ttl),
            (vec![("ttl", " ")], InvalidField::Ttl),
            (vec![("ttl", "abc")], InvalidField::Ttl),
            (vec![TTL, TTL], InvalidField::Ttl),
            (vec![TTL, ("urgency", "urgent")], InvalidField::Urgency),
            (vec![TTL, ("urgency", "low"), ("urgency", "low")], InvalidField::Urgency),
            (vec![TTL, ("topic", &long)], InvalidField::Topic),
            (vec![TTL, ("topic", "a b")], InvalidField::Topic),
            (vec![TTL, ("topic", "é")], InvalidField::Topic),
            (vec![TTL, ("topic", "")], InvalidField::Topic),
            (vec![TTL, ("topic", "==")], InvalidField::Topic),
            (vec![TTL, ("topic", "a"), ("topic", "a")], InvalidField::Topic),
            (vec![TTL, ("content-encoding", "aesgcm"), ("encryption", "salt=x")], InvalidField::ContentEncoding),
            (vec![TTL, ("content-encoding", "gzip")], InvalidField::ContentEncoding),
            (vec![TTL, ("content-encoding", "aes128gcm, gzip")], InvalidField::ContentEncoding),
            (vec![TTL, ENCODING, ENCODING], InvalidField::ContentEncoding),
            (vec![TTL, ENCODING, ("encryption", "salt=x")], InvalidField::Draft),
            (vec![TTL, ENCODING, ("crypto-key", "p256ecdsa=x;dh=y")], InvalidField::Draft),
            (vec![TTL, ENCODING, ("push-receipt", "x")], InvalidField::Receipt),
        ] {
            assert_eq!(read(&fields), Err(expected), "{fields:?}");
        }
        assert_eq!(
            PushFields::read(true, |name| if name == "ttl" { vec![b"60"] } else { Vec::new() }),
            Err(InvalidField::ContentEncoding)
        );
    }
}
