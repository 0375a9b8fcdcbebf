//! `GET /_matrix/identity/v2/3pid/getValidated3pid`, `POST …/3pid/bind`, `POST …/3pid/unbind`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#establishing-associations>
//!
//! Invariant: unbind reads its body before it authenticates the caller, because the body says which proof it carries.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use shared::http::body::Body;
use shared::http::client_address::client_address;

use super::auth::Credentials;
use super::input;
use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::flows::authenticate::PresentedTokens;
use crate::flows::authenticate_homeserver::XMatrixRequest;
use crate::flows::bind as binding;
use crate::flows::unbind::{UnbindRequest, unbind as remove};
use crate::json::Object;
use crate::state::State;

/// The query of `GET /3pid/getValidated3pid`.
struct ValidatedQuery {
    sid: Sid,
    client_secret: ClientSecret,
}

impl ValidatedQuery {
    fn parse(query: &Object<'_>) -> Result<Self, Error> {
        query.require(&["client_secret", "sid"])?;
        let (sid, client_secret) = input::session(query)?;
        Ok(Self { sid, client_secret })
    }
}

/// The body of `POST /3pid/bind`.
struct BindBody {
    sid: Sid,
    client_secret: ClientSecret,
    mxid: UserId,
}

impl BindBody {
    fn parse(fields: &Object<'_>) -> Result<Self, Error> {
        fields.require(&["client_secret", "mxid", "sid"])?;
        let (sid, client_secret) = input::session(fields)?;
        Ok(Self { sid, client_secret, mxid: input::mxid(fields)? })
    }
}

/// `GET /3pid/getValidated3pid`
pub async fn get_validated_3pid(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    validated_for(&request, &state, Some(&account)).await
}

/// Returns the address of a session to an account, or to a client of the legacy API.
pub(super) async fn validated_for(
    request: &HttpRequest,
    state: &State,
    account: Option<&UserId>,
) -> Result<HttpResponse, Error> {
    let ValidatedQuery { sid, client_secret } = ValidatedQuery::parse(&input::query(request)?)?;
    let (threepid, validated_at) = binding::validated(state, sid, &client_secret, account).await?;
    Ok(HttpResponse::Ok().json(json!({
        "medium": threepid.medium().as_str(),
        "address": threepid.address().as_str(),
        "validated_at": validated_at,
    })))
}

/// `POST /3pid/bind`
pub async fn bind(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    bind_for(&state, Some(&account), &input::object_or_form(&body.read().await)?).await
}

/// Binds an address for an account, or for a client of the legacy API.
pub(super) async fn bind_for(
    state: &State,
    account: Option<&UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let BindBody { sid, client_secret, mxid } = BindBody::parse(fields)?;
    let association = binding::bind(state, sid, &client_secret, mxid, account).await?;
    Ok(HttpResponse::Ok().json(association))
}

/// `POST /3pid/unbind`
pub async fn unbind(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    unbind_for(&request, &state, &credentials, Some(&credentials.tokens), &input::object(&body.read().await)?).await
}

/// Removes an association. The legacy API has no `tokens`.
pub(super) async fn unbind_for(
    request: &HttpRequest,
    state: &State,
    credentials: &Credentials,
    tokens: Option<&PresentedTokens>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    fields.require(&["mxid", "threepid"])?;
    let session = input::optional_session(fields)?;
    let content = (!credentials.x_matrix.is_empty()).then(|| content(fields)).transpose()?;
    let signed = match &content {
        None => None,
        Some(content) => Some(XMatrixRequest {
            headers: &credentials.x_matrix,
            target: request.uri().path_and_query().map_or("", |target| target.as_str()),
            content,
            mxid: fields.string("mxid")?,
            client: client_address(request),
        }),
    };
    let association = input::mxid(fields).and_then(|mxid| Ok((mxid, input::threepid(fields)?)));
    remove(state, UnbindRequest { session, signed, tokens, association }).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// The body as a signature covers it. Converted instead of parsed again: serde_json's parser gives one member name a
/// special meaning.
fn content(fields: &Object<'_>) -> Result<Value, Error> {
    serde_json::to_value(fields)
        .map_err(|error| Error::Internal(format!("a parsed body cannot be serialized: {error}")))
}
