//! Responses to a browser: pages and redirects.
//!
//! Invariant: none is cached, framed, or loads another resource, and the next site gets no referrer.

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::input;
use crate::error::Error;
use crate::json::Object;
use crate::notify::templates::Audience;
use crate::notify::templates::page::Page;
use crate::state::State;

const HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; img-src https:"),
];

/// The brand and the languages of the request; `fields` are its parameters.
pub(super) fn audience<'a>(request: &'a HttpRequest, fields: &'a Object<'_>) -> Audience<'a> {
    Audience {
        brand: fields.string("brand").ok(),
        lang: fields.string("lang").ok(),
        accept_language: input::header(request, "accept-language"),
    }
}

/// A page with this status.
pub(super) fn page(state: &State, status: StatusCode, page: &Page<'_>, audience: &Audience<'_>) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    HEADERS.into_iter().for_each(|header| {
        response.insert_header(header);
    });
    let body = state.templates.page(page, audience);
    response.insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8")).body(body)
}

/// The page for a failure: that of an outage, or `rejected` with status 400. It hides the reason; `to_wire` logs an
/// internal error.
pub(super) fn failure(state: &State, error: &Error, rejected: &Page<'_>, audience: &Audience<'_>) -> HttpResponse {
    let response = error.to_wire().error_response();
    if !response.status().is_server_error() {
        return page(state, StatusCode::BAD_REQUEST, rejected, audience);
    }
    let mut unavailable = page(state, response.status(), &Page::Unavailable, audience);
    if let Some(wait) = response.headers().get(header::RETRY_AFTER) {
        unavailable.headers_mut().insert(header::RETRY_AFTER, wait.clone());
    }
    unavailable
}

pub(super) fn redirect(target: &str) -> HttpResponse {
    let mut response = HttpResponse::Found();
    HEADERS.into_iter().for_each(|header| {
        response.insert_header(header);
    });
    response.insert_header((header::LOCATION, target)).finish()
}
