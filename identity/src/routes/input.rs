//! From the texts of a request to the types of the domain.
//!
//! Invariant: missing fields are told before wrong ones, and no error shows a value.

use actix_web::HttpRequest;
use shared::http::body::Body;

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::session::SendAttempt;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::json::{FieldError, Json, Object};

/// The body as a JSON object; an empty body is an object without members.
pub(super) fn object(body: &Body) -> Result<Object<'_>, Error> {
    let bytes = body.bytes()?;
    if bytes.is_empty() {
        return Ok(Object::default());
    }
    Ok(Object::parse(bytes)?)
}

/// The body as a JSON object, or as a form if it says that it is one.
pub(super) fn object_or_form(body: &Body) -> Result<Object<'_>, Error> {
    if body.is_form() { Ok(Object::from_form(body.bytes()?)?) } else { object(body) }
}

/// The arguments of a browser or of a v1 client, who send them in any way: JSON, if that is what the body says it is; else
/// a form and the query together; and the query alone if there is no body, or only `null`.
pub(super) fn object_form_or_query<'a>(request: &HttpRequest, body: &'a Body) -> Result<Object<'a>, Error> {
    let bytes = body.bytes()?;
    let is_json = header(request, "content-type").is_some_and(|name| name.trim_start().starts_with("application/json"));
    if bytes.is_empty() || bytes.trim_ascii() == b"null" {
        query(request)
    } else if is_json {
        Ok(Object::parse(bytes)?)
    } else {
        let both = [bytes.as_ref(), b"&", request.query_string().as_bytes()].concat();
        Ok(Object::from_form(&both)?)
    }
}

/// The query string.
pub(super) fn query(request: &HttpRequest) -> Result<Object<'static>, Error> {
    Ok(Object::from_form(request.query_string().as_bytes())?)
}

/// A header's text, if it is readable.
pub(super) fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// `sid` and `client_secret`, both required.
pub(super) fn session(fields: &Object<'_>) -> Result<(Sid, ClientSecret), Error> {
    let sid = Sid::from(fields.string("sid")?.to_owned());
    Ok((sid, client_secret(fields)?))
}

/// `client_secret`.
pub(super) fn client_secret(fields: &Object<'_>) -> Result<ClientSecret, Error> {
    let text = fields.string("client_secret")?;
    ClientSecret::parse(text).map_err(|error| Error::InvalidParam(error.to_string()))
}

/// `mxid`.
pub(super) fn mxid(fields: &Object<'_>) -> Result<UserId, Error> {
    Ok(UserId::parse(fields.string("mxid")?).map_err(|_| FieldError::invalid("mxid", "a user ID"))?)
}

/// `send_attempt`.
pub(super) fn send_attempt(fields: &Object<'_>) -> Result<SendAttempt, Error> {
    Ok(SendAttempt::from_field(fields.present("send_attempt").unwrap_or(&Json::Null))?)
}
