//! The application server's identification (VAPID, RFC 8292) on a push to the relay.
//!
//! Invariant: nothing that the token says of its own verification counts: the algorithm is ES256, and the key is the one in the
//! header field, which the URL of the push resource names.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use shared::clock::Timestamp;
use url::{Origin, Url};

/// The longest `Authorization` in bytes.
const LONGEST: usize = 2048;
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(60);
/// The longest lifetime of a token (RFC 8292, section 2).
const LONGEST_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// An uncompressed point of P-256.
const POINT: usize = 65;

/// `Authorization: vapid t=…, k=…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Credentials<'a> {
    token: &'a str,
    /// The application server's key in uncompressed form.
    pub(crate) key: [u8; POINT],
}

/// Why a push is not authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The token is invalid, has expired, or is for another push service.
    Invalid,
    /// The token is for the host that the request names, and the gateway does not know that this is its own.
    WrongPublicUrl,
}

impl<'a> Credentials<'a> {
    /// Reads the value of the header field; `None` if it identifies no application server. Whether its key is a point of the
    /// curve shows later: it need not be computed again for a token that was verified before.
    pub(crate) fn parse(value: &'a str) -> Option<Self> {
        let (scheme, parameters) = value.trim_matches([' ', '\t']).split_once([' ', '\t'])?;
        if value.len() > LONGEST || !scheme.eq_ignore_ascii_case("vapid") {
            return None;
        }
        let (mut token, mut key) = (None, None);
        for parameter in elements(parameters).map(|parameter| parameter.trim_matches([' ', '\t'])) {
            // A list may have empty elements (RFC 9110, section 5.6.1).
            if parameter.is_empty() {
                continue;
            }
            let (name, value) = parameter.split_once('=')?;
            // White space around the sign is allowed (RFC 9110, section 11.2).
            let (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
            let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
            let slot = match name {
                _ if name.eq_ignore_ascii_case("t") => &mut token,
                _ if name.eq_ignore_ascii_case("k") => &mut key,
                _ => continue,
            };
            if value.is_empty() || slot.replace(value).is_some() {
                return None;
            }
        }
        Some(Self { token: token?, key: read_key(key?)? })
    }

    /// The token, signature included.
    pub(crate) fn token(&self) -> &str {
        self.token
    }

    /// Whether the key is a point of the curve.
    pub(crate) fn has_point(&self) -> bool {
        is_point(&self.key)
    }

    /// Verifies the token; returns when it expires. `own` are the origins of the gateway, `host` is the request's `Host`.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(crate) fn verify(&self, own: &[Origin], host: Option<&str>, now: Timestamp) -> Result<Timestamp, Refusal> {
        let (signed, signature) = self.token.rsplit_once('.').ok_or(Refusal::Invalid)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Invalid)?;
        if json(header)?.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err(Refusal::Invalid);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refusal::Invalid)?;
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key).map_err(|_| Refusal::Invalid)?;
        key.verify_sig(signed.as_bytes(), &signature).map_err(|_| Refusal::Invalid)?;
        let claims = json(claims)?;
        if claims.get("sub").is_some_and(|sub| !sub.is_string()) {
            return Err(Refusal::Invalid);
        }
        let expires = expiry(claims.get("exp"), now).ok_or(Refusal::Invalid)?;
        let audiences: Vec<Origin> = match claims.get("aud") {
            Some(Value::String(audience)) => origin(audience).into_iter().collect(),
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(|one| origin(one.as_str()?)).collect()
            }
            _ => return Err(Refusal::Invalid),
        };
        if audiences.iter().any(|audience| own.contains(audience)) {
            return Ok(expires);
        }
        let of_request = host.and_then(|host| origin(&format!("https://{host}")));
        let is_of_request = of_request.is_some_and(|origin| audiences.contains(&origin));
        Err(if is_of_request { Refusal::WrongPublicUrl } else { Refusal::Invalid })
    }
}

/// The elements of a list, between the commas that are outside of quotes (RFC 9110, section 5.6).
fn elements(list: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    list.split(move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '"' if !was_escaped => is_quoted = !is_quoted,
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            _ => {}
        }
        c == ',' && !is_quoted
    })
}

/// A key in base64url or base64, with or without padding.
pub(crate) fn parse_key(text: &str) -> Option<[u8; POINT]> {
    read_key(text).filter(is_point)
}

/// The same, on the curve or not.
fn read_key(text: &str) -> Option<[u8; POINT]> {
    let bytes = lenient(&URL_SAFE).decode(text).or_else(|_| lenient(&STANDARD).decode(text)).ok()?;
    let key: [u8; POINT] = bytes.try_into().ok()?;
    (key[0] == 4).then_some(key)
}

/// The digest of a key, in base64url or base64.
pub(crate) fn read_digest(text: &str) -> Option<[u8; 32]> {
    lenient(&URL_SAFE).decode(text).or_else(|_| lenient(&STANDARD).decode(text)).ok()?.try_into().ok()
}

fn is_point(key: &[u8; POINT]) -> bool {
    ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).is_ok()
}

/// Whether a token that expires then is valid now.
pub(crate) fn is_current(expires: Timestamp, now: Timestamp) -> bool {
    expires > now.minus(LEEWAY) && expires <= now.plus(LONGEST_LIFE + LEEWAY)
}

fn lenient(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// The origin of a URL without a path, a query and a user.
pub(crate) fn origin(text: &str) -> Option<Origin> {
    // Spellings that only browsers accept are no origins.
    let lower = text.to_ascii_lowercase();
    let is_spelt = (lower.starts_with("https://") || lower.starts_with("http://"))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\');
    let url = Url::parse(text).ok().filter(|_| is_spelt)?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let origin = url.origin();
    (is_bare && url.username().is_empty() && url.password().is_none() && origin.is_tuple()).then_some(origin)
}

/// The time of `exp`, unless it is past or too far ahead.
fn expiry(exp: Option<&Value>, now: Timestamp) -> Option<Timestamp> {
    #[expect(clippy::cast_possible_truncation, reason = "the value is compared with the present time first")]
    let millis = |seconds: f64| (seconds * 1000.0) as i64;
    let seconds = exp?.as_f64().filter(|seconds| (0.0..1e12).contains(seconds))?;
    let expires = Timestamp::from_millis(millis(seconds));
    is_current(expires, now).then_some(expires)
}

fn json(part: &str) -> Result<BTreeMap<String, Value>, Refusal> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Invalid)?;
    let Members(members) = serde_json::from_slice(&bytes).map_err(|_| Refusal::Invalid)?;
    Ok(members)
}

/// An object in which no name occurs twice: readers differ in which of the two they take.
struct Members(BTreeMap<String, Value>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object without repeated names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name occurs twice"));
                    }
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests;
