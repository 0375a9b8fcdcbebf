//! `POST /_matrix/identity/v2/account/register`, `GET …/account`, `POST …/account/logout`, and this server's own
//! `GET /_identity/v1/bindings`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>
//!
//! Invariant: registration and logout need no accepted terms, so that a client can always come and go.

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
use crate::flows::{authenticate, bind, register as registration, run_detached};
use crate::json::{FieldError, Object};
use crate::state::State;

/// The longest OpenID token in bytes.
const MAX_OPENID_TOKEN: usize = 2048;

/// The body of `POST /account/register`.
struct RegisterBody {
    access_token: Secret<String>,
    matrix_server_name: ServerName,
}

impl RegisterBody {
    fn parse(fields: &Object<'_>) -> Result<Self, Error> {
        fields.require(&["access_token", "matrix_server_name"])?;
        let access_token = fields.string("access_token")?;
        if !(1..=MAX_OPENID_TOKEN).contains(&access_token.len()) {
            return Err(FieldError::invalid("access_token", "1 to 2048 bytes").into());
        }
        let matrix_server_name = ServerName::parse(fields.string("matrix_server_name")?)
            .map_err(|_| FieldError::invalid("matrix_server_name", "a server name"))?;
        Ok(Self { access_token: Secret::new(access_token.to_owned()), matrix_server_name })
    }
}

/// `POST /account/register`
pub async fn register(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    let RegisterBody { access_token, matrix_server_name } = RegisterBody::parse(&input::object(&body.read().await)?)?;
    let client = client_address(&request);
    let wanted = Registration { openid_token: access_token, server: matrix_server_name, client };
    let state = state.into_inner();
    let token = run_detached(&state.clone(), async move { registration::register(&state, wanted).await }).await?;
    // The specification's text says `token`; its example and some clients say `access_token`.
    Ok(HttpResponse::Ok().json(json!({ "token": token.expose(), "access_token": token.expose() })))
}

/// `GET /account`
pub async fn account(state: Data<State>, credentials: Credentials) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    Ok(HttpResponse::Ok().json(json!({ "user_id": account.as_str() })))
}

/// `POST /account/logout`. It needs no body, but an invalid one is an error.
pub async fn logout(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let token = authenticate::authenticate_for_logout(&state, &credentials.tokens).await?;
    input::object(&body.read().await)?;
    authenticate::log_out(&state, token).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `GET /_identity/v1/bindings`: the caller's own addresses.
pub async fn bindings(state: Data<State>, credentials: Credentials) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
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
