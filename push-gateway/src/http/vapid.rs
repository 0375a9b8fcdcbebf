//! `GET /_push/v1/vapid?app_id=`: the public key with which a browser subscribes. Not in the specification.
//!
//! Invariant: any web page may read it; it is the only endpoint for web pages.

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, HeaderValue};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;

use super::error::Error;
use crate::delivery::state::State;

/// The longest `app_id` in bytes.
const MAX_APP_ID: usize = 64;

/// The body of a 200.
#[derive(Serialize)]
struct VapidResponse<'a> {
    app_id: &'a str,
    /// The uncompressed public key in base64url.
    vapid: &'a str,
}

/// `GET /_push/v1/vapid`; a web page may read the errors too.
pub(crate) async fn vapid(state: Data<State>, request: HttpRequest) -> HttpResponse {
    let mut response = find_key(&state, &request).unwrap_or_else(|error| error.error_response());
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// # Errors
/// [`Error::AppId`], or [`Error::NoVapidKey`] for an app that is unknown or has no key.
fn find_key(state: &State, request: &HttpRequest) -> Result<HttpResponse, Error> {
    let query = Query::<Vec<(String, String)>>::from_query(request.query_string()).map_err(|_| Error::AppId)?;
    let mut app_ids = query.iter().filter(|(name, _)| name == "app_id").map(|(_, value)| value.as_str());
    let (Some(app_id), None) = (app_ids.next(), app_ids.next()) else { return Err(Error::AppId) };
    if app_id.is_empty() || app_id.len() > MAX_APP_ID {
        return Err(Error::AppId);
    }
    let setup = state.setup();
    let key = setup.apps.find(app_id).and_then(|app| app.vapid_public_key()).ok_or(Error::NoVapidKey)?;
    Ok(HttpResponse::Ok().insert_header((CACHE_CONTROL, "max-age=3600")).json(VapidResponse { app_id, vapid: key }))
}
