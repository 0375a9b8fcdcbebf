//! `POST /_matrix/identity/v2/validate/{email,msisdn}/requestToken`, `POST` and `GET …/submitToken`, and the `GET` under
//! `/_matrix/identity/api/v1`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#email-associations>,
//! <https://spec.matrix.org/v1.19/identity-service-api/#phone-number-associations>
//!
//! Invariant: the page shows one text for every failure, and HEAD (a scanner's look at a link) validates nothing.

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;

use super::auth::Credentials;
use super::input;
use crate::domain::msisdn::{Msisdn, NumberError};
use crate::domain::mxid::UserId;
use crate::domain::next_link::{NextLink, NextLinkRule};
use crate::domain::sid::Sid;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::request_token::{TokenRequest, email, sms};
use crate::flows::submit_token::{SubmittedToken, submit_token};
use crate::flows::to_the_end;
use crate::json::Object;
use crate::notify::templates::Audience;
use crate::notify::templates::page::Page;
use crate::state::State;

/// `POST /validate/email/requestToken`
///
/// # Errors
/// See [`email::request_email_token`].
pub async fn request_email_token(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let fields = input::object_or_form(&body)?;
    send_email_token(&request, state, Some(account), &fields).await
}

/// `POST /validate/msisdn/requestToken`
///
/// # Errors
/// See [`sms::request_sms_token`].
pub async fn request_msisdn_token(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let fields = input::object_or_form(&body)?;
    send_msisdn_token(&request, state, Some(account), &fields).await
}

/// Answers a request for a mail, whoever asks and however the fields came.
pub(super) async fn send_email_token(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    fields.require(&["client_secret", "email", "send_attempt"])?;
    let threepid = ThreePid::canonical(Medium::Email, fields.string("email")?).map_err(|_| Error::InvalidEmail)?;
    let wanted = token_request(request, &query, &state, account, fields, threepid)?;
    let state = state.into_inner();
    let sid = to_the_end(&state.clone(), email::request_email_token(state, wanted)).await?;
    Ok(HttpResponse::Ok().json(json!({ "sid": sid.as_str() })))
}

/// Answers a request for an SMS, whoever asks and however the fields came. The answer has what clients show: the number
/// as it is known from now on, and as people write it.
pub(super) async fn send_msisdn_token(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    fields.require(&["client_secret", "country", "phone_number", "send_attempt"])?;
    let (typed, country) = (fields.string("phone_number")?, fields.string("country")?);
    let number = Msisdn::dialled(typed, country, &state.config.msisdn.rules()).map_err(|error| match error {
        NumberError::Invalid => Error::InvalidNumber,
        NumberError::Rejected => Error::DestinationRejected,
    })?;
    let wanted = token_request(request, &query, &state, account, fields, ThreePid::from(&number))?;
    let (msisdn, intl_fmt) = (number.digits().to_owned(), number.international().to_owned());
    let state = state.into_inner();
    let sid = to_the_end(&state.clone(), sms::request_sms_token(state, number, wanted)).await?;
    let answer = json!({ "sid": sid.as_str(), "success": true, "msisdn": msisdn, "intl_fmt": intl_fmt });
    Ok(HttpResponse::Ok().json(answer))
}

fn token_request(
    request: &HttpRequest,
    query: &Object<'_>,
    state: &State,
    account: Option<UserId>,
    fields: &Object<'_>,
    threepid: ThreePid,
) -> Result<TokenRequest, Error> {
    let next_link = fields.optional_string("next_link")?;
    let next_link = next_link.map(|link| next_link_rule(state).check(link)).transpose();
    Ok(TokenRequest {
        account,
        threepid,
        client_secret: input::client_secret(fields)?,
        send_attempt: input::send_attempt(fields)?,
        next_link: next_link.map_err(|error| Error::InvalidParam(error.to_string()))?.flatten(),
        client: client_address(request),
        brand: query.optional_string("brand")?.map(str::to_owned),
        lang: query.optional_string("lang")?.map(str::to_owned),
        accept_language: input::header(request, "accept-language").map(str::to_owned),
    })
}

/// `POST /validate/email/submitToken`
pub async fn submit_email_token(state: Data<State>, credentials: Credentials, body: Body) -> HttpResponse {
    let fields = async {
        credentials.agreed_account(&state).await?;
        input::object_or_form(&body)
    };
    submit(&state, Medium::Email, fields.await).await
}

/// `POST /validate/msisdn/submitToken`
pub async fn submit_msisdn_token(state: Data<State>, credentials: Credentials, body: Body) -> HttpResponse {
    let fields = async {
        credentials.agreed_account(&state).await?;
        input::object_or_form(&body)
    };
    submit(&state, Medium::Msisdn, fields.await).await
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

/// `GET /validate/msisdn/submitToken`: the same for an SMS.
pub async fn follow_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow_link(&request, &state, Medium::Msisdn, |_| None).await
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
    // Nothing opens links in an SMS by itself.
    if medium == Medium::Email && state.config.email.confirm_click && text("confirm") != Some("1") {
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
