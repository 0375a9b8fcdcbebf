//! `/_matrix/identity/api/v1/…`: the API that v1.1 of the specification removed, as far as the operator's profile serves it.
//! <https://spec.matrix.org/legacy/identity_service/r0.3.0.html>
//!
//! Invariant: these routes have no accounts, so none returns an error about one, and limits count client addresses. A path
//! outside the profile is a 404 for every method and body.

use std::net::IpAddr;
use std::sync::LazyLock;

use actix_web::guard;
use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::{client_address, client_of_route};
use shared::http::endpoint::{Endpoint, endpoint};
use shared::outbound::failure_log::FailureLog;

use super::auth::Credentials;
use super::{current_state, input, invitation, link, pubkey, status, three_pid, validate};
use crate::config::legacy_v1::Profile;
use crate::domain::threepid::Medium;
use crate::error::Error;
use crate::flows::look_up::{look_up_association, look_up_pairs};
use crate::json::{FieldError, Json, Object};
use crate::state::State;

/// Registers the routes of the profile.
pub fn configure(config: &mut ServiceConfig, profile: Profile) {
    match profile {
        Profile::Off => {}
        Profile::Invites => {
            always(config);
            links(config);
        }
        Profile::Delegate => {
            always(config);
            delegated(config);
            links(config);
        }
        Profile::Full => {
            always(config);
            delegated(config);
            full(config);
        }
    }
}

fn v1(path: &str) -> Endpoint {
    endpoint(&format!("/_matrix/identity/api/v1{path}"))
}

/// Routes that mails and rooms name.
fn always(config: &mut ServiceConfig) {
    config
        .service(v1("").get(status::ping))
        .service(v1("/").get(status::ping))
        .service(v1("/sign-ed25519").post(invitation::sign_ed25519_without_account))
        .service(v1("/pubkey/isvalid").get(pubkey::is_valid))
        .service(v1("/pubkey/ephemeral/isvalid").get(pubkey::is_ephemeral_valid))
        .service(v1("/pubkey/{keyId}").get(pubkey::pubkey));
}

/// The links in old messages. A client's POST to these paths is a 404, because the profile does not have it.
fn links(config: &mut ServiceConfig) {
    let is_no_post = || guard::Not(guard::Post());
    config
        .service(v1("/validate/email/submitToken").guard(is_no_post()).get(link::follow_old_email_link))
        .service(v1("/validate/msisdn/submitToken").guard(is_no_post()).get(link::follow_old_msisdn_link));
}

/// Routes of a homeserver that delegates the validation of telephone numbers: for the homeservers that the operator names,
/// or for every client.
fn delegated(config: &mut ServiceConfig) {
    let may_delegate = || {
        guard::fn_guard(|context| {
            let client = client_of_route(context);
            let may = current_state::has(context, |state| state.config.legacy_v1.may_delegate(client));
            if !may {
                report_refused(client);
            }
            may
        })
    };
    config
        .service(v1("/validate/msisdn/requestToken").guard(may_delegate()).post(request_msisdn_token))
        .service(
            v1("/validate/msisdn/submitToken")
                .guard(may_delegate())
                .get(link::follow_old_msisdn_link)
                .post(submit_msisdn_token),
        )
        .service(v1("/3pid/getValidated3pid").guard(may_delegate()).get(get_validated_3pid));
}

/// Logs a client that delegates and is not listed, once a minute: its homeserver gets a 404 and its users "not found".
fn report_refused(client: IpAddr) {
    static REFUSED: LazyLock<FailureLog> = LazyLock::new(FailureLog::default);
    if REFUSED.is_due(&client.to_string()) {
        tracing::warn!(%client, "a homeserver delegates, but [legacy_v1] delegate_allow_ips does not list its address");
    }
}

/// Routes of clients and homeservers without v2.
fn full(config: &mut ServiceConfig) {
    config
        .service(v1("/validate/email/requestToken").post(request_email_token))
        .service(v1("/validate/email/submitToken").get(link::follow_old_email_link).post(submit_email_token))
        .service(v1("/3pid/bind").post(bind))
        .service(v1("/3pid/unbind").post(unbind))
        .service(v1("/store-invite").post(store_invite))
        .service(v1("/lookup").get(lookup))
        .service(v1("/bulk_lookup").post(bulk_lookup));
}

/// The query of `GET /lookup`.
struct LookupQuery<'a> {
    medium: &'a str,
    address: &'a str,
}

impl<'a> LookupQuery<'a> {
    fn parse(query: &'a Object<'_>) -> Result<Self, Error> {
        query.require(&["address", "medium"])?;
        Ok(Self { medium: query.string("medium")?, address: query.string("address")? })
    }
}

/// The body of `POST /bulk_lookup`.
struct BulkLookupBody<'a> {
    /// Pairs of a medium and an address.
    threepids: Vec<(&'a str, &'a str)>,
}

impl<'a> BulkLookupBody<'a> {
    fn parse(fields: &'a Object<'_>) -> Result<Self, Error> {
        fields.require(&["threepids"])?;
        let threepids = pairs(fields).ok_or_else(|| FieldError::invalid("threepids", "a list of pairs of strings"))?;
        Ok(Self { threepids })
    }
}

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

/// `POST /validate/email/requestToken`
pub async fn request_email_token(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    validate::email_token_for(&request, state, None, &input::object_form_or_query(&request, &body.read().await)?).await
}

/// `POST /validate/msisdn/requestToken`
pub async fn request_msisdn_token(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    validate::msisdn_token_for(&request, state, None, &input::object_form_or_query(&request, &body.read().await)?).await
}

/// `POST /validate/email/submitToken`
pub async fn submit_email_token(request: HttpRequest, state: Data<State>, body: Body) -> HttpResponse {
    let body = body.read().await;
    submitted(validate::submit(&state, Medium::Email, input::object_form_or_query(&request, &body)).await)
}

/// `POST /validate/msisdn/submitToken`
pub async fn submit_msisdn_token(request: HttpRequest, state: Data<State>, body: Body) -> HttpResponse {
    let body = body.read().await;
    submitted(validate::submit(&state, Medium::Msisdn, input::object_form_or_query(&request, &body)).await)
}

/// A wrong or expired token is a result and no error in r0.3.0. Homeservers report every error of this route as an outage.
fn submitted(result: Result<(), Error>) -> HttpResponse {
    match result {
        Ok(()) => validate::succeeded(),
        Err(error @ (Error::TokenIncorrect | Error::SessionExpired)) => {
            let mut response = validate::failed(&error);
            response.head_mut().status = StatusCode::OK;
            response
        }
        Err(error) => validate::failed(&error),
    }
}

/// `GET /3pid/getValidated3pid`. The session of an account is not found.
pub async fn get_validated_3pid(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    three_pid::validated_for(&request, &state, None).await
}

/// `POST /3pid/bind`, to any user.
pub async fn bind(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    three_pid::bind_for(&state, None, &input::object_form_or_query(&request, &body.read().await)?).await
}

/// `POST /3pid/unbind`, with a session or a homeserver's signature; no access token suffices.
pub async fn unbind(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let body = body.read().await;
    let fields = input::object_form_or_query(&request, &body)?;
    three_pid::unbind_for(&request, &state, &credentials, None, &fields).await
}

/// `POST /store-invite`. The response has the URLs of v2, which homeservers use unchanged.
pub async fn store_invite(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    let caller = invitation::client(&request);
    invitation::store_for(&request, state, caller, &input::object_form_or_query(&request, &body.read().await)?).await
}

/// `GET /lookup`: the signed association of an address, or an empty object.
pub async fn lookup(request: HttpRequest, state: Data<State>) -> Result<HttpResponse, Error> {
    let query = input::query(&request)?;
    let LookupQuery { medium, address } = LookupQuery::parse(&query)?;
    let found = look_up_association(&state, client_address(&request), medium, address).await?;
    Ok(HttpResponse::Ok().json(found.unwrap_or_default()))
}

/// `POST /bulk_lookup`: the users of the bound addresses.
pub async fn bulk_lookup(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    let body = body.read().await;
    let fields = input::object_form_or_query(&request, &body)?;
    let BulkLookupBody { threepids } = BulkLookupBody::parse(&fields)?;
    let found = look_up_pairs(&state, client_address(&request), &threepids).await?;
    Ok(HttpResponse::Ok().json(json!({ "threepids": found })))
}
