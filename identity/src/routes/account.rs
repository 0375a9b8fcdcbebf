//! `POST /_matrix/identity/v2/account/register`, `GET …/account`, `POST …/account/logout`, and our own
//! `GET /_identity/v1/bindings`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>
//!
//! Invariant: none of these but `account` asks whether the terms are accepted: a client must be able to come and go.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::secret::Secret;

use super::auth::Credentials;
use super::input;
use crate::domain::server_name::ServerName;
use crate::error::Error;
use crate::flows::register::Registration;
use crate::flows::{authenticate, bind, register as registration, to_the_end};
use crate::json::FieldError;
use crate::state::State;

/// The longest OpenID token in bytes.
const MAX_OPENID_TOKEN: usize = 2048;

/// `POST /account/register`
///
/// # Errors
/// See [`registration::register`].
pub async fn register(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    let fields = input::object(&body)?;
    fields.require(&["access_token", "matrix_server_name"])?;
    let openid_token = fields.string("access_token")?;
    if !(1..=MAX_OPENID_TOKEN).contains(&openid_token.len()) {
        return Err(FieldError::invalid("access_token", "1 to 2048 bytes").into());
    }
    let server = ServerName::parse(fields.string("matrix_server_name")?)
        .map_err(|_| FieldError::invalid("matrix_server_name", "a server name"))?;
    let wanted =
        Registration { openid_token: Secret::new(openid_token.to_owned()), server, client: client_address(&request) };
    let state = state.into_inner();
    let token = to_the_end(&state.clone(), async move { registration::register(&state, wanted).await }).await?;
    // The specification's text says `token`, its example and some clients `access_token`.
    Ok(HttpResponse::Ok().json(json!({ "token": token.expose(), "access_token": token.expose() })))
}

/// `GET /account`
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::TermsNotSigned`].
pub async fn account(state: Data<State>, credentials: Credentials) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    Ok(HttpResponse::Ok().json(json!({ "user_id": account.as_str() })))
}

/// `POST /account/logout`
///
/// # Errors
/// [`Error::Unauthorized`] without a token, [`Error::UnknownToken`] for one that nobody has, or those of a body that is
/// there although none is needed.
pub async fn logout(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let token = credentials.token(&state).ok_or(Error::Unauthorized)?;
    authenticate::authenticate(&state, token).await.map_err(|error| match error {
        Error::Unauthorized => Error::UnknownToken,
        other => other,
    })?;
    input::object(&body)?;
    authenticate::log_out(&state, token).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `GET /_identity/v1/bindings`: the caller's own addresses, if the operator allows it.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::TermsNotSigned`], [`Error::Forbidden`].
pub async fn bindings(state: Data<State>, credentials: Credentials) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    if !state.config.account.list_own_bindings {
        return Err(Error::Forbidden("This server does not list addresses"));
    }
    let own = bind::list_own(&state, &account).await?;
    let bindings: Vec<Value> = own
        .iter()
        .map(|association| {
            json!({
                "medium": association.threepid.medium().as_str(),
                "address": association.threepid.address().as_str(),
                "ts": association.ts,
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "bindings": bindings })))
}
