//! `POST /_matrix/identity/v2/validate/email/requestToken`, `POST` and `GET …/validate/email/submitToken`, and the `GET`
//! under `/_matrix/identity/api/v1`, for both media.
//! <https://spec.matrix.org/v1.19/identity-service-api/#email-associations>
//!
//! Invariant: the page shows one text for every failure, and HEAD (a scanner's look at a link) validates nothing.

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::json::Object;

use super::auth::Credentials;
use super::input;
use crate::domain::mxid::UserId;
use crate::domain::next_link::{NextLink, NextLinkRule};
use crate::domain::sid::Sid;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::request_token::{TokenRequest, request_token};
use crate::flows::submit_token::{SubmittedToken, submit_token};
use crate::flows::to_the_end;
use crate::notify::page::Page;
use crate::notify::templates::Audience;
use crate::state::State;

/// `POST /validate/email/requestToken`
///
/// # Errors
/// See [`request_token`].
pub async fn request_email_token(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    send_email_token(&request, state, Some(account), &input::object_or_form(&body)?).await
}

/// Sends a token for an account, or for nobody in particular.
pub(super) async fn send_email_token(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    fields.require(&["client_secret", "email", "send_attempt"])?;
    let client_secret = input::client_secret(fields)?;
    let send_attempt = input::send_attempt(fields)?;
    let email = fields.string("email")?;
    let next_link = fields.optional_string("next_link")?;
    let next_link = next_link.map(|link| next_link_rule(&state).check(link)).transpose();
    let wanted = TokenRequest {
        account,
        next_link: next_link.map_err(|error| Error::InvalidParam(error.to_string()))?.flatten(),
        threepid: ThreePid::canonical(Medium::Email, email).map_err(|_| Error::InvalidEmail)?,
        client_secret,
        send_attempt,
        client: client_address(request),
        brand: query.optional_string("brand")?.map(str::to_owned),
        lang: query.optional_string("lang")?.map(str::to_owned),
        accept_language: input::header(request, "accept-language").map(str::to_owned),
    };
    let state = state.into_inner();
    let sid = to_the_end(&state.clone(), request_token(state, wanted)).await?;
    Ok(HttpResponse::Ok().json(json!({ "sid": sid.as_str() })))
}

/// `POST /validate/email/submitToken`
pub async fn submit_email_token(state: Data<State>, credentials: Credentials, body: Body) -> HttpResponse {
    let fields = async {
        credentials.agreed_account(&state).await?;
        input::object_or_form(&body)
    };
    submit(&state, Medium::Email, fields.await).await
}

/// Submits the token, if it could be read: every refusal has `"success": false` too.
pub(super) async fn submit(state: &State, medium: Medium, fields: Result<Object<'_>, Error>) -> HttpResponse {
    let submitted = async {
        let fields = fields?;
        fields.require(&["client_secret", "sid", "token"])?;
        submit_token(state, submission(medium, &fields)?).await
    };
    match submitted.await {
        Ok(_) => HttpResponse::Ok().json(json!({ "success": true })),
        Err(error) => error.to_wire().with("success", json!(false)).error_response(),
    }
}

/// `GET /validate/email/submitToken`: the link in the mail, opened by a browser without any account.
pub async fn follow_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow_link(&request, &state, Medium::Email, |_| None).await
}

/// `GET /_matrix/identity/api/v1/validate/email/submitToken`: the link in an old mail, which says itself where to go on.
pub async fn follow_old_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow_link(&request, &state, Medium::Email, |query| old_next_link(&state, query)).await
}

/// `GET /_matrix/identity/api/v1/validate/msisdn/submitToken`: the same in an old SMS.
pub async fn follow_old_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow_link(&request, &state, Medium::Msisdn, |query| old_next_link(&state, query)).await
}

fn old_next_link(state: &State, query: &Object<'_>) -> Option<NextLink> {
    next_link_rule(state).check(query.string("nextLink").ok()?).ok().flatten()
}

fn next_link_rule(state: &State) -> NextLinkRule {
    NextLinkRule {
        hosts: state.config.sessions.next_link_hosts.clone(),
        allow_http_to_loopback: state.config.server.allow_http_base_url,
    }
}

async fn follow_link(
    request: &HttpRequest,
    state: &State,
    medium: Medium,
    linked: impl Fn(&Object<'_>) -> Option<NextLink>,
) -> HttpResponse {
    let query = input::query(request).unwrap_or_default();
    let text = |name: &'static str| query.string(name).ok();
    let audience = Audience {
        brand: text("brand"),
        lang: text("lang"),
        accept_language: input::header(request, "accept-language"),
    };
    let page = |status: StatusCode, page: &Page<'_>| html(status, state.templates.page(page, &audience));
    if request.method() == Method::HEAD {
        return page(StatusCode::OK, &Page::Verified);
    }
    if state.config.email.confirm_click && text("confirm") != Some("1") {
        let (Some(sid), Some(client_secret), Some(token)) = (text("sid"), text("client_secret"), text("token")) else {
            return page(StatusCode::BAD_REQUEST, &Page::Failed);
        };
        return page(StatusCode::OK, &Page::Confirm { sid, client_secret, token });
    }
    match validate_by_link(state, medium, &query).await {
        // What the session remembers comes first: it was said with the client's secret.
        Ok((sid, next_link)) => match next_link.or_else(|| linked(&query)) {
            Some(next_link) => redirect(&next_link.with_sid(&sid)),
            None => page(StatusCode::OK, &Page::Verified),
        },
        Err(error) => {
            // The page hides what is wrong; our own faults still reach the log.
            let status = error.to_wire().status_code();
            let status = if status.is_server_error() { status } else { StatusCode::BAD_REQUEST };
            page(status, &Page::Failed)
        }
    }
}

async fn validate_by_link(state: &State, medium: Medium, query: &Object<'_>) -> Result<(Sid, Option<NextLink>), Error> {
    let submitted = submission(medium, query)?;
    let sid = submitted.sid.clone();
    Ok((sid, submit_token(state, submitted).await?))
}

fn submission(medium: Medium, fields: &Object<'_>) -> Result<SubmittedToken, Error> {
    let (sid, client_secret) = input::session(fields)?;
    Ok(SubmittedToken { medium, sid, client_secret, token: fields.string("token")?.to_owned() })
}

/// The headers of every answer to a browser: not kept, not framed, nothing loaded, and no link told to the next site.
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
