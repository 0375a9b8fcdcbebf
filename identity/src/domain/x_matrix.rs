//! `Authorization: X-Matrix`: parses the header and verifies that a homeserver signed the request for this server
//! (server-server API, "Request Authentication"; the signed object is that of homeservers' own code).
//!
//! Invariant: the cost of parsing and verifying is linear in the request's length. A signature that does not cover one of
//! this server's names never counts.

use std::borrow::Cow;
use std::slice;

use serde_json::Value;

use super::server_name::ServerName;
use crate::canonical_json::{self, NotCanonical};
use crate::signing::PublicKey;

/// The members of the signed object that may hold this server's name: homeservers' own, then the specification's.
const DESTINATION_MEMBERS: [&str; 2] = ["destination_is", "destination"];

/// One `Authorization: X-Matrix` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// As written, because the signature covers this spelling.
    origin: String,
    server: ServerName,
    key: String,
    sig: String,
    destination: Option<String>,
}

/// The header breaks the grammar, or lacks `origin`, `key` or `sig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the X-Matrix header is malformed")]
pub struct Malformed;

/// The names of this server, and the path prefix of its public URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    names: Vec<String>,
    path: String,
}

/// The parts of a `POST` request that a signature covers, besides origin and destination.
#[derive(Clone, Debug)]
pub struct SignedRequest<'a> {
    target: &'a str,
    content: String,
}

impl XMatrix {
    /// Parses the parameters after the scheme: a list of `name=value` by RFC 9110, section 11.4. A value without quotes may
    /// hold any visible character except quotes, backslashes and commas (old homeservers do not quote colons).
    ///
    /// # Errors
    /// [`Malformed`], also if one of the four known parameters occurs twice.
    pub fn parse(parameters: &[u8]) -> Result<Self, Malformed> {
        let (mut origin, mut key, mut sig, mut destination) = (None, None, None, None);
        let mut rest = parameters;
        loop {
            rest = skip(rest, b" \t,");
            if rest.is_empty() {
                break;
            }
            let (parameter, after) = parameter(rest)?;
            rest = after;
            let place = match parameter.name.to_ascii_lowercase().as_slice() {
                b"origin" => &mut origin,
                b"key" => &mut key,
                b"sig" => &mut sig,
                b"destination" => &mut destination,
                _ => continue,
            };
            let text = String::from_utf8(parameter.value.into_owned()).map_err(|_| Malformed)?;
            if place.replace(text).is_some() {
                return Err(Malformed);
            }
        }
        let origin = origin.ok_or(Malformed)?;
        let server = ServerName::parse(&origin).map_err(|_| Malformed)?;
        Ok(Self { origin, server, key: key.ok_or(Malformed)?, sig: sig.ok_or(Malformed)?, destination })
    }

    /// The homeserver that claims to have signed.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// The id of the key, expected to start with `ed25519:`.
    pub fn key_id(&self) -> &str {
        &self.key
    }

    /// Whether `mxid` is a user of this homeserver. Everything after the first colon must equal the origin as written: the
    /// server of `@x:y:hs` is not `hs`.
    pub fn speaks_for(&self, mxid: &str) -> bool {
        let parts = mxid.strip_prefix('@').and_then(|rest| rest.split_once(':'));
        parts.is_some_and(|(localpart, server)| !localpart.is_empty() && server == self.origin)
    }

    /// Whether the header names this server, or no server.
    pub fn is_for(&self, ours: &Destinations) -> bool {
        self.destination.as_deref().is_none_or(|destination| ours.contain(destination))
    }

    /// Whether `key` signed `request` for one of this server's names: the name in the header as written, or any name if the
    /// header has none.
    pub fn is_signed(&self, request: &SignedRequest<'_>, ours: &Destinations, key: &PublicKey) -> bool {
        let names = self.destination.as_ref().map_or(ours.names.as_slice(), slice::from_ref);
        let origin = canonical_json::string_to_string(&self.origin);
        self.is_for(ours)
            && ours.uris(request.target).any(|uri| {
                let uri = canonical_json::string_to_string(&uri);
                names.iter().any(|name| {
                    let name = canonical_json::string_to_string(name);
                    DESTINATION_MEMBERS.iter().any(|member| {
                        // Members sorted by name, as canonical JSON requires.
                        let content = &request.content;
                        let text = format!(
                            r#"{{"content":{content},"{member}":{name},"method":"POST","origin":{origin},"uri":{uri}}}"#
                        );
                        key.verify_text(&self.sig, &text).is_ok()
                    })
                })
            })
    }
}

impl Destinations {
    /// This server's names, the preferred name first, and the path of the public base URL (empty, or with a leading and
    /// without a trailing slash). A name is a host with an optional port and an optional path.
    pub fn new(names: impl IntoIterator<Item = String>, path: &str) -> Self {
        let mut distinct = Vec::new();
        for name in names {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        Self { names: distinct, path: path.to_owned() }
    }

    /// The preferred name.
    pub fn foremost(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    fn contain(&self, destination: &str) -> bool {
        let parts = |name: &str| name.find('/').unwrap_or(name.len());
        let (host, path) = destination.split_at(parts(destination));
        self.names.iter().any(|name| {
            let (our_host, our_path) = name.split_at(parts(name));
            our_host.eq_ignore_ascii_case(host) && our_path == path
        })
    }

    /// The URIs that the homeserver may have signed for a request to `target`: a proxy may have removed the path prefix, or
    /// the homeserver may have omitted it.
    fn uris<'a>(&self, target: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        let inside = target.strip_prefix(&self.path).filter(|rest| rest.starts_with('/'));
        let other = match inside {
            _ if self.path.is_empty() => None,
            Some(inside) => Some(Cow::Borrowed(inside)),
            None => Some(Cow::Owned(format!("{}{target}", self.path))),
        };
        std::iter::once(Cow::Borrowed(target)).chain(other)
    }
}

impl<'a> SignedRequest<'a> {
    /// A `POST` of `content` to `target`, path and query as received.
    ///
    /// # Errors
    /// [`NotCanonical`] if `content` has no canonical form and so no signature.
    pub fn post(target: &'a str, content: &Value) -> Result<Self, NotCanonical> {
        Ok(Self { target, content: canonical_json::to_string(content)? })
    }
}

struct Parameter<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

/// The first `name=value` of `text`, and the rest: empty, or from a comma on.
fn parameter(text: &[u8]) -> Result<(Parameter<'_>, &[u8]), Malformed> {
    let (name, rest) = split_while(text, is_token);
    let rest = skip(rest, b" \t").strip_prefix(b"=").filter(|_| !name.is_empty()).ok_or(Malformed)?;
    let rest = skip(rest, b" \t");
    let (value, rest) = match rest.strip_prefix(b"\"") {
        Some(rest) => quoted(rest)?,
        None => match split_while(rest, |b| b.is_ascii_graphic() && !b"\",\\".contains(&b)) {
            (b"", _) => return Err(Malformed),
            (value, rest) => (Cow::Borrowed(value), rest),
        },
    };
    let rest = skip(rest, b" \t");
    if rest.first().is_none_or(|&next| next == b',') { Ok((Parameter { name, value }, rest)) } else { Err(Malformed) }
}

/// A quoted value, after its opening quote.
fn quoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let mut value = Cow::Borrowed(&text[..0]);
    let mut rest = text;
    loop {
        let (plain, after) = split_while(rest, |b| !is_control(b) && b != b'"' && b != b'\\');
        // A value without escapes is borrowed.
        if value.is_empty() {
            value = Cow::Borrowed(plain);
        } else {
            value.to_mut().extend_from_slice(plain);
        }
        match after {
            [b'"', after @ ..] => return Ok((value, after)),
            [b'\\', escaped, after @ ..] if !is_control(*escaped) => {
                value.to_mut().push(*escaped);
                rest = after;
            }
            _ => return Err(Malformed),
        }
    }
}

fn skip<'a>(text: &'a [u8], what: &[u8]) -> &'a [u8] {
    split_while(text, |b| what.contains(&b)).1
}

fn split_while(text: &[u8], is_part: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|&b| !is_part(b)).unwrap_or(text.len()))
}

/// A character of a token (RFC 9110, section 5.6.2).
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// A control character, except the tab, which may occur in quotes.
fn is_control(b: u8) -> bool {
    b.is_ascii_control() && b != b'\t'
}

#[cfg(test)]
mod tests;
