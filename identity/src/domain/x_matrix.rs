//! `Authorization: X-Matrix`: a request that a homeserver has signed, and whether it is one that we are meant by
//! (server-server API, "Request Authentication"; the object that is signed is the one of homeservers' own code).
//!
//! Invariant: parsing and verifying cost no more than the length of what came, and nothing that is not signed with one
//! of our names in it ever counts.

use std::borrow::Cow;
use std::slice;

use serde_json::Value;

use super::server_name::ServerName;
use crate::canonical_json::{self, NotCanonical};
use crate::signing::PublicKey;

/// Under which member our name may stand in the signed object: homeservers' own, then the specification's.
const DESTINATION_MEMBERS: [&str; 2] = ["destination_is", "destination"];

/// What one `Authorization: X-Matrix` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XMatrix {
    /// As it was written, because so it is signed.
    origin: String,
    server: ServerName,
    key: String,
    sig: String,
    destination: Option<String>,
}

/// The header is not of the grammar, or lacks `origin`, `key` or `sig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the X-Matrix header is malformed")]
pub struct Malformed;

/// The names under which others mean us, and what stands in front of our paths outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destinations {
    names: Vec<String>,
    path: String,
}

/// The parts of a `POST` request that a signature covers, besides who sent it to whom.
#[derive(Clone, Debug)]
pub struct SignedRequest<'a> {
    target: &'a str,
    content: String,
}

impl XMatrix {
    /// Reads what follows the scheme: a list of `name=value` after RFC 9110, section 11.4, in which a value without
    /// quotes may hold any visible character but quotes, backslashes and commas (old homeservers do not quote colons).
    ///
    /// # Errors
    /// [`Malformed`], also for a parameter of ours that is given twice.
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

    /// The id of its key, which is to be an `ed25519:` one.
    pub fn key_id(&self) -> &str {
        &self.key
    }

    /// Whether `mxid` is a user of this homeserver. All after the first colon is compared, and as it is written: of
    /// `@x:y:hs` the server is no `hs`.
    pub fn speaks_for(&self, mxid: &str) -> bool {
        let parts = mxid.strip_prefix('@').and_then(|rest| rest.split_once(':'));
        parts.is_some_and(|(localpart, server)| !localpart.is_empty() && server == self.origin)
    }

    /// Whether the request is for us, as far as the header says for whom it is.
    pub fn is_for(&self, ours: &Destinations) -> bool {
        self.destination.as_deref().is_none_or(|destination| ours.contain(destination))
    }

    /// Whether `key` has signed `request` for one of our names: the one in the header as it is written there, or
    /// any if it has none.
    pub fn is_signed(&self, request: &SignedRequest<'_>, ours: &Destinations, key: &PublicKey) -> bool {
        let names = self.destination.as_ref().map_or(ours.names.as_slice(), slice::from_ref);
        let origin = canonical_json::string_to_string(&self.origin);
        self.is_for(ours)
            && ours.uris(request.target).any(|uri| {
                let uri = canonical_json::string_to_string(&uri);
                names.iter().any(|name| {
                    let name = canonical_json::string_to_string(name);
                    DESTINATION_MEMBERS.iter().any(|member| {
                        // The members in the order of their names, which is what makes it canonical.
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
    /// From our names, the foremost first, and the path of our base URL (empty, or with a slash in front and none at
    /// the end). A name is a host, perhaps with a port, perhaps with a path behind it.
    pub fn new(names: impl IntoIterator<Item = String>, path: &str) -> Self {
        let mut distinct = Vec::new();
        for name in names {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        Self { names: distinct, path: path.to_owned() }
    }

    /// The name that others should use.
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

    /// What the homeserver may have signed for a request that came to `target`: a proxy may have taken our path away,
    /// and a homeserver may have left it out.
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
    /// A `POST` of `content` to `target`, path and query as they came.
    ///
    /// # Errors
    /// [`NotCanonical`] if nobody can have signed `content`.
    pub fn post(target: &'a str, content: &Value) -> Result<Self, NotCanonical> {
        Ok(Self { target, content: canonical_json::to_string(content)? })
    }
}

struct Parameter<'a> {
    name: &'a [u8],
    value: Cow<'a, [u8]>,
}

/// The first `name=value` of `text`, and what follows it: nothing, or a comma.
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

/// A quoted value, of which the opening quote has been read.
fn quoted(text: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Malformed> {
    let mut value = Cow::Borrowed(&text[..0]);
    let mut rest = text;
    loop {
        let (plain, after) = split_while(rest, |b| !is_control(b) && b != b'"' && b != b'\\');
        // Most values have no escape and are not copied.
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

/// A tab is none here: it may stand in quotes.
fn is_control(b: u8) -> bool {
    b.is_ascii_control() && b != b'\t'
}

#[cfg(test)]
mod tests;
