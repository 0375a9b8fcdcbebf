//! From the body and the query of a request to fields, and from fields to the types of the domain.
//!
//! Invariant: missing fields are reported before invalid ones, and no error shows a value.

use actix_web::HttpRequest;
use shared::http::body::Received;

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::session::SendAttempt;
use crate::domain::sid::Sid;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::submit_token::SubmittedToken;
use crate::json::{FieldError, Json, Object};

/// The body as a JSON object; an empty body is an empty object.
pub(super) fn object(body: &Received) -> Result<Object<'_>, Error> {
    let bytes = text(body)?;
    if bytes.is_empty() {
        return Ok(Object::default());
    }
    Ok(Object::parse(bytes)?)
}

/// The body as a JSON object, or as a form if it is no object and its content type is that of a form.
pub(super) fn object_or_form(body: &Received) -> Result<Object<'_>, Error> {
    let bytes = text(body)?;
    if body.is_form() && !is_object(bytes) { Ok(Object::from_form(bytes)?) } else { object(body) }
}

/// The fields of a browser or of a v1 client, which may send them in any form: a JSON object or a form, and the query for
/// the fields that the body lacks. An empty body or `null` has no fields.
pub(super) fn object_form_or_query<'a>(request: &HttpRequest, body: &'a Received) -> Result<Object<'a>, Error> {
    let bytes = text(body)?;
    let is_json = header(request, "content-type")
        .is_some_and(|name| name.trim_start().to_ascii_lowercase().starts_with("application/json"));
    let fields = if bytes.is_empty() || bytes.trim_ascii() == b"null" {
        return query(request);
    } else if is_json || is_object(bytes) {
        Object::parse(bytes)?
    } else {
        Object::from_form(bytes)?
    };
    Ok(fields.or(query(request)?))
}

/// The body without a byte order mark, which some clients send.
fn text(body: &Received) -> Result<&[u8], Error> {
    let bytes: &[u8] = body.bytes()?;
    Ok(bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes))
}

/// Whether the first character is that of a JSON object. The content type does not decide: many clients send a wrong one.
fn is_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

/// The query of a link that a browser opened.
pub(super) fn link_query(request: &HttpRequest) -> Result<Object<'static>, Error> {
    const KNOWN: [&str; 7] = ["brand", "client_secret", "confirm", "lang", "nextLink", "sid", "token"];
    Ok(Object::from_link(request.query_string().as_bytes(), &KNOWN)?)
}

/// The query of a link that blocks invitations.
pub(super) fn block_query(request: &HttpRequest) -> Result<Object<'static>, Error> {
    Ok(Object::from_link(request.query_string().as_bytes(), &["brand", "lang", "token"])?)
}

/// The query string.
pub(super) fn query(request: &HttpRequest) -> Result<Object<'static>, Error> {
    Ok(Object::from_form(request.query_string().as_bytes())?)
}

/// The text of a header, if it is ASCII.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `brand`, `lang` and `Accept-Language`: which template a message is made from.
pub(super) struct AudienceQuery {
    pub(super) brand: Option<String>,
    pub(super) lang: Option<String>,
    pub(super) accept_language: Option<String>,
}

impl AudienceQuery {
    pub(super) fn parse(query: &Object<'_>, request: &HttpRequest) -> Result<Self, Error> {
        Ok(Self {
            brand: query.optional_string("brand")?.map(str::to_owned),
            lang: query.optional_string("lang")?.map(str::to_owned),
            accept_language: header(request, "accept-language").map(str::to_owned),
        })
    }
}

/// `sid` and `client_secret`, both required.
pub(super) fn session(fields: &Object<'_>) -> Result<(Sid, ClientSecret), Error> {
    let sid = Sid::from(fields.string("sid")?.to_owned());
    Ok((sid, client_secret(fields)?))
}

/// `sid` and `client_secret`; both are required if either is present.
pub(super) fn optional_session(fields: &Object<'_>) -> Result<Option<(Sid, ClientSecret)>, Error> {
    if fields.present("sid").is_none() && fields.present("client_secret").is_none() {
        return Ok(None);
    }
    fields.require(&["client_secret", "sid"])?;
    session(fields).map(Some)
}

/// `sid`, `client_secret` and `token` of `submitToken`.
pub(super) fn submission(medium: Medium, fields: &Object<'_>) -> Result<SubmittedToken, Error> {
    let (sid, client_secret) = session(fields)?;
    Ok(SubmittedToken { medium, sid, client_secret, token: fields.string("token")?.to_owned() })
}

/// `client_secret`.
pub(super) fn client_secret(fields: &Object<'_>) -> Result<ClientSecret, Error> {
    let text = fields.string("client_secret")?;
    ClientSecret::parse(text).map_err(|error| Error::InvalidParam(error.to_string()))
}

/// `mxid`.
pub(super) fn mxid(fields: &Object<'_>) -> Result<UserId, Error> {
    user_id(fields, "mxid")
}

/// A field with a user ID.
pub(super) fn user_id(fields: &Object<'_>, name: &'static str) -> Result<UserId, Error> {
    Ok(UserId::parse(fields.string(name)?).map_err(|_| FieldError::invalid(name, "a user ID"))?)
}

/// `threepid`: an object with `medium` and `address`.
pub(super) fn threepid(fields: &Object<'_>) -> Result<ThreePid, Error> {
    let threepid = fields.object("threepid")?;
    threepid.require(&["address", "medium"])?;
    let medium: Medium =
        threepid.string("medium")?.parse().map_err(|_| FieldError::invalid("medium", "\"email\" or \"msisdn\""))?;
    Ok(ThreePid::canonical(medium, threepid.string("address")?)
        .map_err(|_| FieldError::invalid("address", "an address of this medium"))?)
}

/// `send_attempt`.
pub(super) fn send_attempt(fields: &Object<'_>) -> Result<SendAttempt, Error> {
    Ok(SendAttempt::from_field(fields.present("send_attempt").unwrap_or(&Json::Null))?)
}
