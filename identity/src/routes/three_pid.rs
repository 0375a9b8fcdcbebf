//! `GET /_matrix/identity/v2/3pid/getValidated3pid`, `POST …/3pid/bind`, `POST …/3pid/unbind`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#establishing-associations>
//!
//! Invariant: unbind looks at its body before it asks who is calling, because the body says which proof there is. What
//! comes with a homeserver's signature is not refused as malformed before the signature is found good, because
//! homeservers take a 400 for a server that knows no unbind.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;

use super::auth::Credentials;
use super::input;
use crate::domain::mxid::UserId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::flows::authenticate_homeserver::{Request, authenticate_homeserver};
use crate::flows::bind as binding;
use crate::flows::unbind::{self as unbinding, Proof};
use crate::json::{FieldError, Object};
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
    tell_validated(&request, &state, Some(&account)).await
}

/// What an account, or nobody in particular, may hear of a session.
pub(super) async fn tell_validated(
    request: &HttpRequest,
    state: &State,
    account: Option<&UserId>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    query.require(&["client_secret", "sid"])?;
    let (sid, client_secret) = input::session(&query)?;
    let (threepid, validated_at) = binding::validated(state, sid, &client_secret, account).await?;
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
    publish(&state, Some(&account), &input::object_or_form(&body)?).await
}

/// Binds for an account, or for nobody in particular.
pub(super) async fn publish(
    state: &State,
    account: Option<&UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    fields.require(&["client_secret", "mxid", "sid"])?;
    let (sid, client_secret) = input::session(fields)?;
    let mxid = input::mxid(fields)?;
    let association = binding::bind(state, sid, &client_secret, mxid, account).await?;
    Ok(HttpResponse::Ok().json(association))
}

/// `POST /3pid/unbind`
///
/// # Errors
/// See [`unbinding::unbind`] and [`authenticate_homeserver`].
pub async fn unbind(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let fields = input::object(&body)?;
    let proof = proof_without_account(&request, &state, &credentials, &fields).await?;
    let (mxid, threepid) = subject(&fields)?;
    let proof = match proof {
        Some(proof) => proof,
        None => Proof::Owner(credentials.account(&state).await?),
    };
    unbinding::unbind(&state, threepid, mxid, proof).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// The session or the homeserver's signature that a request to unbind comes with, if it comes with one.
pub(super) async fn proof_without_account(
    request: &HttpRequest,
    state: &State,
    credentials: &Credentials,
    fields: &Object<'_>,
) -> Result<Option<Proof>, Error> {
    fields.require(&["mxid", "threepid"])?;
    if fields.present("sid").is_some() || fields.present("client_secret").is_some() {
        fields.require(&["client_secret", "sid"])?;
        let (sid, client_secret) = input::session(fields)?;
        return Ok(Some(Proof::Session(sid, client_secret)));
    }
    if credentials.x_matrix().is_empty() {
        return Ok(None);
    }
    // Not read anew: serde_json takes a member of a certain name for a text of JSON, here it is one like any other.
    let content = serde_json::to_value(fields)
        .map_err(|error| Error::Internal(format!("a body that was read cannot be written: {error}")))?;
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let client = client_address(request);
    let signed = Request { headers: credentials.x_matrix(), target, content: &content, client };
    authenticate_homeserver(state, &signed, fields.string("mxid")?).await?;
    Ok(Some(Proof::Homeserver))
}

/// Whose association to what is to be removed.
pub(super) fn subject(fields: &Object<'_>) -> Result<(UserId, ThreePid), Error> {
    let mxid = input::mxid(fields)?;
    let threepid = fields.object("threepid")?;
    threepid.require(&["address", "medium"])?;
    let medium: Medium =
        threepid.string("medium")?.parse().map_err(|_| FieldError::invalid("medium", "\"email\" or \"msisdn\""))?;
    let threepid = ThreePid::canonical(medium, threepid.string("address")?)
        .map_err(|_| FieldError::invalid("address", "an address of this medium"))?;
    Ok((mxid, threepid))
}
