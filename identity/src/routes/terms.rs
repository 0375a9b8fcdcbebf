//! `GET /_matrix/identity/v2/terms`, `POST /_matrix/identity/v2/terms`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#terms-of-service>
//!
//! Invariant: reading the terms needs no account, accepting them does.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::json;
use shared::http::body::Body;

use super::auth::Credentials;
use super::input;
use crate::error::Error;
use crate::flows::accept_terms;
use crate::json::Object;
use crate::state::State;

/// The body of `POST /terms`.
struct AcceptBody<'a> {
    user_accepts: Vec<&'a str>,
}

impl<'a> AcceptBody<'a> {
    fn parse(fields: &'a Object<'_>) -> Result<Self, Error> {
        Ok(Self { user_accepts: fields.strings("user_accepts")? })
    }
}

/// `GET /terms`
pub async fn terms(state: Data<State>) -> HttpResponse {
    HttpResponse::Ok().json(state.terms.to_wire())
}

/// `POST /terms`
pub async fn accept(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let account = credentials.account(&state).await?;
    let body = body.read().await;
    let fields = input::object(&body)?;
    let AcceptBody { user_accepts } = AcceptBody::parse(&fields)?;
    accept_terms::accept_terms(&state, &account, &user_accepts).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}
