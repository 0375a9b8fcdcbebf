//! `POST /_matrix/identity/v2/validate/{email,msisdn}/requestToken`, and `POST …/submitToken`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#email-associations>,
//! <https://spec.matrix.org/v1.19/identity-service-api/#phone-number-associations>
//!
//! Invariant: every error of `submitToken` has `"success": false`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;

use super::auth::Credentials;
use super::input::{self, AudienceQuery};
use crate::domain::client_secret::ClientSecret;
use crate::domain::msisdn::{Msisdn, NumberError, NumberRules};
use crate::domain::mxid::UserId;
use crate::domain::next_link::{NextLink, NextLinkRule};
use crate::domain::session::SendAttempt;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::request_token::{TokenRequest, email, sms};
use crate::flows::run_detached;
use crate::flows::submit_token::submit_token;
use crate::json::Object;
use crate::state::State;

/// The body of `POST /validate/email/requestToken`.
struct EmailTokenBody {
    email: ThreePid,
    session: SessionFields,
}

impl EmailTokenBody {
    fn parse(fields: &Object<'_>, rule: &NextLinkRule) -> Result<Self, Error> {
        fields.require(&["client_secret", "email", "send_attempt"])?;
        let email = ThreePid::canonical(Medium::Email, fields.string("email")?).map_err(|_| Error::InvalidEmail)?;
        Ok(Self { email, session: SessionFields::parse(fields, rule)? })
    }
}

/// The body of `POST /validate/msisdn/requestToken`.
struct MsisdnTokenBody {
    number: Msisdn,
    session: SessionFields,
}

impl MsisdnTokenBody {
    fn parse(fields: &Object<'_>, number_rules: &NumberRules, rule: &NextLinkRule) -> Result<Self, Error> {
        fields.require(&["client_secret", "country", "phone_number", "send_attempt"])?;
        let (typed, country) = (fields.string("phone_number")?, fields.string("country")?);
        let number = Msisdn::dialled(typed, country, number_rules).map_err(|error| match error {
            NumberError::Invalid => Error::InvalidNumber,
            NumberError::Rejected => Error::DestinationRejected,
        })?;
        Ok(Self { number, session: SessionFields::parse(fields, rule)? })
    }
}

/// The fields of both bodies.
struct SessionFields {
    client_secret: ClientSecret,
    send_attempt: SendAttempt,
    next_link: Option<NextLink>,
}

impl SessionFields {
    fn parse(fields: &Object<'_>, rule: &NextLinkRule) -> Result<Self, Error> {
        let next_link = fields.optional_string("next_link")?;
        let client_secret = input::client_secret(fields)?;
        let send_attempt = input::send_attempt(fields)?;
        let next_link = next_link.map(|link| rule.check(link)).transpose();
        let next_link = next_link.map_err(|error| Error::InvalidParam(error.to_string()))?.flatten();
        Ok(Self { client_secret, send_attempt, next_link })
    }
}

/// `POST /validate/email/requestToken`
pub async fn request_email_token(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let body = body.read().await;
    let fields = input::object_or_form(&body)?;
    email_token_for(&request, state, Some(account), &fields).await
}

/// `POST /validate/msisdn/requestToken`
pub async fn request_msisdn_token(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let body = body.read().await;
    let fields = input::object_or_form(&body)?;
    msisdn_token_for(&request, state, Some(account), &fields).await
}

/// Sends a mail for an account, or for a client of the legacy API.
pub(super) async fn email_token_for(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    let EmailTokenBody { email, session } = EmailTokenBody::parse(fields, &state.config.next_link_rule())?;
    let wanted = token_request(request, &query, account, email, session)?;
    let state = state.into_inner();
    let sid = run_detached(&state.clone(), email::request_email_token(state, wanted)).await?;
    Ok(HttpResponse::Ok().json(json!({ "sid": sid.as_str() })))
}

/// Sends an SMS for an account, or for a client of the legacy API. The response has the number in both forms that clients
/// show: canonical and international.
pub(super) async fn msisdn_token_for(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    let (number_rules, rule) = (state.config.msisdn.rules(), state.config.next_link_rule());
    let MsisdnTokenBody { number, session } = MsisdnTokenBody::parse(fields, &number_rules, &rule)?;
    let wanted = token_request(request, &query, account, ThreePid::from(&number), session)?;
    let (msisdn, intl_fmt) = (number.digits().to_owned(), number.international().to_owned());
    let state = state.into_inner();
    let sid = run_detached(&state.clone(), sms::request_sms_token(state, number, wanted)).await?;
    let answer = json!({ "sid": sid.as_str(), "success": true, "msisdn": msisdn, "intl_fmt": intl_fmt });
    Ok(HttpResponse::Ok().json(answer))
}

fn token_request(
    request: &HttpRequest,
    query: &Object<'_>,
    account: Option<UserId>,
    threepid: ThreePid,
    session: SessionFields,
) -> Result<TokenRequest, Error> {
    let SessionFields { client_secret, send_attempt, next_link } = session;
    let AudienceQuery { brand, lang, accept_language } = AudienceQuery::parse(query, request)?;
    let client = client_address(request);
    Ok(TokenRequest { account, threepid, client_secret, send_attempt, next_link, client, brand, lang, accept_language })
}

/// `POST /validate/email/submitToken`
pub async fn submit_email_token(state: Data<State>, credentials: Credentials, body: Body) -> HttpResponse {
    submit_for_account(&state, Medium::Email, &credentials, body).await
}

/// `POST /validate/msisdn/submitToken`
pub async fn submit_msisdn_token(state: Data<State>, credentials: Credentials, body: Body) -> HttpResponse {
    submit_for_account(&state, Medium::Msisdn, &credentials, body).await
}

async fn submit_for_account(state: &State, medium: Medium, credentials: &Credentials, body: Body) -> HttpResponse {
    let received;
    let fields = match credentials.agreed_account(state).await {
        Ok(_) => {
            received = body.read().await;
            input::object_or_form(&received)
        }
        Err(error) => Err(error),
    };
    match submit(state, medium, fields).await {
        Ok(()) => succeeded(),
        Err(error) => failed(&error),
    }
}

/// The response to a token that validates its session.
pub(super) fn succeeded() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "success": true }))
}

/// The response to every failure.
pub(super) fn failed(error: &Error) -> HttpResponse {
    error.to_wire().with("success", json!(false)).error_response()
}

/// Submits a token; `fields` may be the error of an earlier step.
pub(super) async fn submit(state: &State, medium: Medium, fields: Result<Object<'_>, Error>) -> Result<(), Error> {
    let fields = fields?;
    fields.require(&["client_secret", "sid", "token"])?;
    submit_token(state, input::submission(medium, &fields)?).await.map(drop)
}
