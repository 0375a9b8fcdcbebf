//! `GET /_matrix/identity/v2/validate/{email,msisdn}/submitToken`, and the same under `/_matrix/identity/api/v1`: the link
//! in a validation message, opened by a browser without an account.
//! <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validateemailsubmittoken>
//!
//! Invariant: every failure of the link shows the same page. A failure of this server shows that the link stays good.

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};

use super::input;
use crate::domain::next_link::{NextLink, NextLinkRule};
use crate::domain::threepid::Medium;
use crate::flows::follow_link::{Concerned, FollowedLink, NextPage, RawSubmission, follow_link};
use crate::json::Object;
use crate::notify::templates::Audience;
use crate::notify::templates::page::{Form, Page, Subject};
use crate::state::State;

/// `GET /validate/email/submitToken`: the link of a mail.
pub async fn follow_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Email, |_| None).await
}

/// `GET /validate/msisdn/submitToken`: the link of an SMS.
pub async fn follow_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Msisdn, |_| None).await
}

/// `GET /_matrix/identity/api/v1/validate/email/submitToken`: the link of an old mail, which has a `nextLink`.
pub async fn follow_old_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Email, |query| old_next_link(&state, query)).await
}

/// `GET /_matrix/identity/api/v1/validate/msisdn/submitToken`: the link of an old SMS.
pub async fn follow_old_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Msisdn, |query| old_next_link(&state, query)).await
}

/// Anyone can write the `nextLink` of a link, so it counts only with a list of hosts.
fn old_next_link(state: &State, query: &Object<'_>) -> Option<NextLink> {
    Some(state.config.next_link_rule())
        .filter(NextLinkRule::redirects)?
        .check(query.string("nextLink").ok()?)
        .ok()
        .flatten()
}

async fn follow(
    request: &HttpRequest,
    state: &State,
    medium: Medium,
    next_link: impl Fn(&Object<'_>) -> Option<NextLink>,
) -> HttpResponse {
    let query = input::link_query(request).unwrap_or_default();
    let text = |name: &'static str| query.string(name).ok();
    let raw = match (text("sid"), text("client_secret"), text("token")) {
        (Some(sid), Some(client_secret), Some(token)) => Some(RawSubmission { sid, client_secret, token }),
        _ => None,
    };
    let link = FollowedLink {
        medium,
        is_head: request.method() == Method::HEAD,
        is_confirmed: text("confirm") == Some("1"),
        raw,
        submitted: input::submission(medium, &query),
        next_link: next_link(&query),
    };
    let audience = Audience {
        brand: text("brand"),
        lang: text("lang"),
        accept_language: input::header(request, "accept-language"),
    };
    let page = |status: StatusCode, page: &Page<'_>| html(status, state.templates.page(page, &audience));
    match follow_link(state, link).await {
        Ok(NextPage::Verified(concerned, button)) => {
            let subject = concerned.as_ref().map(subject);
            let continue_to = button.as_ref().map(|button| (button.host.as_str(), button.target.as_str()));
            page(StatusCode::OK, &Page::Confirmed { subject, continue_to })
        }
        Ok(NextPage::Confirm(asked)) => {
            let RawSubmission { sid, client_secret, token } = asked.raw;
            let next_link = asked.next_link.as_ref().map(NextLink::as_str);
            let form = Form { sid, client_secret, token, next_link };
            let (subject, expires_in) = (subject(&asked.concerned), asked.expires_in);
            page(StatusCode::OK, &Page::Confirm { subject, expires_in, form })
        }
        Ok(NextPage::Redirect(target)) => redirect(&target),
        Err(error) => {
            // The page hides the reason; to_wire logs an internal error.
            let response = error.to_wire().error_response();
            if response.status().is_server_error() {
                let mut unavailable = page(response.status(), &Page::Unavailable);
                if let Some(wait) = response.headers().get(header::RETRY_AFTER) {
                    unavailable.headers_mut().insert(header::RETRY_AFTER, wait.clone());
                }
                unavailable
            } else {
                page(StatusCode::BAD_REQUEST, &Page::Expired { lifetime: state.config.sessions.lifetime.get() })
            }
        }
    }
}

fn subject(concerned: &Concerned) -> Subject<'_> {
    Subject { masked_address: &concerned.masked_address, mxid: &concerned.mxid }
}

/// The headers of every response to a browser: no cache, no frame, no external resource, no referrer for the next site.
const BROWSER_HEADERS: [(header::HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; img-src https:"),
];

fn html(status: StatusCode, body: String) -> HttpResponse {
    let mut response = HttpResponse::build(status);
    BROWSER_HEADERS.into_iter().for_each(|header| {
        response.insert_header(header);
    });
    response.insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8")).body(body)
}

fn redirect(target: &str) -> HttpResponse {
    let mut response = HttpResponse::Found();
    BROWSER_HEADERS.into_iter().for_each(|header| {
        response.insert_header(header);
    });
    response.insert_header((header::LOCATION, target)).finish()
}
