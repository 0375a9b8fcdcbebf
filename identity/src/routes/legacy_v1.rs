//! `/_matrix/identity/api/v1/…`: the API that v1.1 of the specification removed, as far as the operator's profile goes.
//! <https://spec.matrix.org/legacy/identity_service/r0.3.0.html>
//!
//! Invariant: nobody has an account here, so nothing is refused for want of one, and limits count client addresses; and a
//! path that a profile does not have is as unknown as any other, whatever is sent to it.

use actix_web::guard;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::{client_address, client_of_route};
use shared::http::endpoint::{Endpoint, endpoint};

use super::auth::Credentials;
use super::{input, invitation, pubkey, status, three_pid, validate};
use crate::config::legacy_v1::{LegacyV1, Profile};
use crate::domain::threepid::Medium;
use crate::error::Error;
use crate::flows::look_up::{look_up_association, look_up_pairs};
use crate::flows::unbind as unbinding;
use crate::json::{FieldError, Json, Object};
use crate::state::State;

/// Registers the routes of the profile.
pub fn configure(config: &mut ServiceConfig, settings: &LegacyV1) {
    match settings.profile {
        Profile::Off => {}
        Profile::Invites => {
            named_elsewhere(config);
            links(config);
        }
        Profile::Delegate => {
            named_elsewhere(config);
            delegated(config, settings);
            links(config);
        }
        Profile::Full => {
            named_elsewhere(config);
            delegated(config, settings);
            for_everyone(config);
        }
    }
}

fn v1(path: &str) -> Endpoint {
    endpoint(&format!("/_matrix/identity/api/v1{path}"))
}

/// What stands in mails and rooms, and what is called without having been asked.
fn named_elsewhere(config: &mut ServiceConfig) {
    config
        .service(v1("").get(status::ping))
        .service(v1("/").get(status::ping))
        .service(v1("/sign-ed25519").post(invitation::sign_ed25519_by_v1))
        .service(v1("/pubkey/isvalid").get(pubkey::is_valid))
        .service(v1("/pubkey/ephemeral/isvalid").get(pubkey::is_ephemeral_valid))
        .service(v1("/pubkey/{keyId}").get(pubkey::pubkey));
}

/// The links in old messages, for whoever has none of the other routes: a client's POST to these paths is among what is
/// not there, as if there were no such path.
fn links(config: &mut ServiceConfig) {
    let is_no_post = || guard::Not(guard::Post());
    config
        .service(v1("/validate/email/submitToken").guard(is_no_post()).get(validate::follow_old_email_link))
        .service(v1("/validate/msisdn/submitToken").guard(is_no_post()).get(validate::follow_old_msisdn_link));
}

/// What a homeserver calls that has telephone numbers validated here: there for those that the operator names, or for
/// everyone.
fn delegated(config: &mut ServiceConfig, settings: &LegacyV1) {
    let for_those = || {
        let settings = settings.clone();
        guard::fn_guard(move |context| settings.lets_delegate(client_of_route(context)))
    };
    config
        .service(v1("/validate/msisdn/requestToken").guard(for_those()).post(request_msisdn_token))
        .service(
            v1("/validate/msisdn/submitToken")
                .guard(for_those())
                .get(validate::follow_old_msisdn_link)
                .post(submit_msisdn_token),
        )
        .service(v1("/3pid/getValidated3pid").guard(for_those()).get(get_validated_3pid));
}

/// What clients and homeservers call that know no v2.
fn for_everyone(config: &mut ServiceConfig) {
    config
        .service(v1("/validate/email/requestToken").post(request_email_token))
        .service(v1("/validate/email/submitToken").get(validate::follow_old_email_link).post(submit_email_token))
        .service(v1("/3pid/bind").post(bind))
        .service(v1("/3pid/unbind").post(unbind))
        .service(v1("/store-invite").post(store_invite))
        .service(v1("/lookup").get(lookup))
        .service(v1("/bulk_lookup").post(bulk_lookup));
}

/// `POST /validate/email/requestToken`
///
/// # Errors
/// As by v2, less those of an account.
pub async fn request_email_token(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    validate::send_email_token(&request, state, None, &input::object_form_or_query(&request, &body)?).await
}

/// `POST /validate/msisdn/requestToken`
///
/// # Errors
/// As by v2, less those of an account.
pub async fn request_msisdn_token(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    validate::send_msisdn_token(&request, state, None, &input::object_form_or_query(&request, &body)?).await
}

/// `POST /validate/email/submitToken`
pub async fn submit_email_token(request: HttpRequest, state: Data<State>, body: Body) -> HttpResponse {
    validate::submit(&state, Medium::Email, input::object_form_or_query(&request, &body)).await
}

/// `POST /validate/msisdn/submitToken`
pub async fn submit_msisdn_token(request: HttpRequest, state: Data<State>, body: Body) -> HttpResponse {
    validate::submit(&state, Medium::Msisdn, input::object_form_or_query(&request, &body)).await
}

/// `GET /3pid/getValidated3pid`
///
/// # Errors
/// As by v2, less those of an account; a session that an account has started is not to be found.
pub async fn get_validated_3pid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    three_pid::tell_validated(&request, &state, None).await
}

/// `POST /3pid/bind`, to any user.
///
/// # Errors
/// As [`get_validated_3pid`], and [`Error::Forbidden`] if the user's homeserver may not.
pub async fn bind(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    three_pid::publish(&state, None, &input::object_form_or_query(&request, &body)?).await
}

/// `POST /3pid/unbind`, by a session or a homeserver's signature.
///
/// # Errors
/// As by v2; [`Error::Unauthorized`] without either, whatever token there is.
pub async fn unbind(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let fields = input::object_form_or_query(&request, &body)?;
    let proof = three_pid::proof_without_account(&request, &state, &credentials, &fields).await?;
    let (mxid, threepid) = three_pid::subject(&fields)?;
    unbinding::unbind(&state, threepid, mxid, proof.ok_or(Error::Unauthorized)?).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

/// `POST /store-invite`. The answer is v2's, with v2's URLs: homeservers take them as they are.
///
/// # Errors
/// As by v2, less those of an account.
pub async fn store_invite(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    invitation::store_by(&request, state, None, &input::object_form_or_query(&request, &body)?).await
}

/// `GET /lookup`: the signed association of an address, or an empty object.
///
/// # Errors
/// See [`look_up_association`].
pub async fn lookup(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    query.require(&["address", "medium"])?;
    let (medium, address) = (query.string("medium")?, query.string("address")?);
    let found = look_up_association(&state, client_address(&request), medium, address).await?;
    Ok(HttpResponse::Ok().json(found.unwrap_or_default()))
}

/// `POST /bulk_lookup`: the users of those addresses that belong to somebody.
///
/// # Errors
/// See [`look_up_pairs`].
pub async fn bulk_lookup(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    let fields = input::object_form_or_query(&request, &body)?;
    fields.require(&["threepids"])?;
    let pairs = pairs(&fields).ok_or_else(|| FieldError::invalid("threepids", "a list of pairs of strings"))?;
    let found = look_up_pairs(&state, client_address(&request), &pairs).await?;
    Ok(HttpResponse::Ok().json(json!({ "threepids": found })))
}

/// Each a medium and an address.
fn pairs<'a>(fields: &'a Object<'_>) -> Option<Vec<(&'a str, &'a str)>> {
    let Some(Json::Array(entries)) = fields.present("threepids") else { return None };
    let pair = |entry: &'a Json<'_>| match entry {
        Json::Array(pair) => match pair.as_slice() {
            [Json::Text(medium), Json::Text(address)] => Some((medium.as_ref(), address.as_ref())),
            _ => None,
        },
        _ => None,
    };
    entries.iter().map(pair).collect()
}
