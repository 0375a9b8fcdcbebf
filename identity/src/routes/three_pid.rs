//! `GET /_matrix/identity/v2/3pid/getValidated3pid`, `POST …/3pid/bind`, `POST …/3pid/unbind`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#establishing-associations>
//!
//! Invariant: unbind looks at its body before it asks who is calling, because the body says which proof there is.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::json::FieldError;

use super::auth::Credentials;
use super::input;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::bind as binding;
use crate::flows::unbind::{self as unbinding, Proof};
use crate::state::State;

/// `GET /3pid/getValidated3pid`
///
/// # Errors
/// See [`binding::validated`].
pub async fn get_validated_3pid(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let query = input::query(&request)?;
    query.require(&["client_secret", "sid"])?;
    let (sid, client_secret) = input::session(&query)?;
    let (threepid, validated_at) = binding::validated(&state, sid, &client_secret, &account).await?;
    Ok(HttpResponse::Ok().json(json!({
        "medium": threepid.medium().as_str(),
        "address": threepid.address().as_str(),
        "validated_at": validated_at,
    })))
}

/// `POST /3pid/bind`
///
/// # Errors
/// See [`binding::bind`].
pub async fn bind(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    let fields = input::object_or_form(&body)?;
    fields.require(&["client_secret", "mxid", "sid"])?;
    let (sid, client_secret) = input::session(&fields)?;
    let mxid = input::mxid(&fields)?;
    let association = binding::bind(&state, sid, &client_secret, mxid, &account).await?;
    Ok(HttpResponse::Ok().json(association))
}

/// `POST /3pid/unbind`
///
/// # Errors
/// See [`unbinding::unbind`].
pub async fn unbind(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    let fields = input::object(&body)?;
    fields.require(&["mxid", "threepid"])?;
    let mxid = input::mxid(&fields)?;
    let threepid = fields.object("threepid")?;
    threepid.require(&["address", "medium"])?;
    let medium: Medium =
        threepid.string("medium")?.parse().map_err(|_| FieldError::invalid("medium", "\"email\" or \"msisdn\""))?;
    let threepid = ThreePid::canonical(medium, threepid.string("address")?)
        .map_err(|_| FieldError::invalid("address", "an address of this medium"))?;

    let proof = if fields.present("sid").is_some() || fields.present("client_secret").is_some() {
        fields.require(&["client_secret", "sid"])?;
        let (sid, client_secret) = input::session(&fields)?;
        Proof::Session(sid, client_secret)
    } else if credentials.is_signed_by_homeserver() {
        return Err(Error::Forbidden(
            "Requests signed by a homeserver are not accepted yet: give sid and client_secret",
        ));
    } else {
        Proof::Owner(credentials.account(&state).await?)
    };
    unbinding::unbind(&state, threepid, mxid, proof).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}
