//! `POST /_matrix/identity/v2/store-invite`, `POST /_matrix/identity/v2/sign-ed25519`, and the latter under
//! `/_matrix/identity/api/v1`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#invitation-storage>
//!
//! Invariant: of what a homeserver says only the fields named in `domain/invite_texts.rs` go any further.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use zeroize::Zeroizing;

use super::auth::Credentials;
use super::input;
use crate::domain::invite::InviteToken;
use crate::domain::invite_texts::{self, InviteTexts};
use crate::domain::invitee::Invitee;
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::error::Error;
use crate::flows::sign_ed25519::{SigningRequest, sign_ed25519 as sign};
use crate::flows::store_invite::{InviteRequest, store_invite as store};
use crate::flows::to_the_end;
use crate::json::{FieldError, Object};
use crate::limits::Caller;
use crate::signing::decode_key;
use crate::state::State;

/// `POST /store-invite`
///
/// # Errors
/// See [`store`].
pub async fn store_invite(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    store_by(&request, state, Some(account), &input::object(&body)?).await
}

/// Stores an invitation by an account, or by nobody in particular.
pub(super) async fn store_by(
    request: &HttpRequest,
    state: Data<State>,
    account: Option<UserId>,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    fields.require(&["address", "medium", "room_id", "sender"])?;
    let (medium, address) = (fields.string("medium")?, fields.string("address")?);
    let room_id = RoomId::parse(fields.string("room_id")?)
        .map_err(|_| FieldError::invalid("room_id", "1 to 255 bytes without control characters and white space"))?;
    let sender = UserId::parse(fields.string("sender")?).map_err(|_| FieldError::invalid("sender", "a user ID"))?;
    let wanted = InviteRequest {
        caller: account.map_or_else(|| Caller::Client(client_address(request)), Caller::Account),
        sender,
        room_id,
        invitee: Invitee::new(medium, address),
        texts: texts(fields)?,
        brand: query.optional_string("brand")?.map(str::to_owned),
        lang: query.optional_string("lang")?.map(str::to_owned),
        accept_language: input::header(request, "accept-language").map(str::to_owned),
    };
    let state = state.into_inner();
    let stored = to_the_end(&state.clone(), store(state.clone(), wanted)).await?;
    // v2 also for invitations that came by v1: both homeservers and clients take the URL as it is.
    let validity_url = |path: &str| format!("{}/_matrix/identity/v2/pubkey{path}", state.identity.base_url);
    Ok(HttpResponse::Ok().json(json!({
        "token": stored.token.as_str(),
        "public_key": stored.public_key,
        "public_keys": [
            { "public_key": stored.public_key, "key_validity_url": validity_url("/isvalid") },
            { "public_key": stored.ephemeral_public_key, "key_validity_url": validity_url("/ephemeral/isvalid") },
        ],
        "display_name": stored.display_name,
    })))
}

fn texts(fields: &Object<'_>) -> Result<InviteTexts, Error> {
    let mut texts = InviteTexts::default();
    for name in invite_texts::NAMES {
        let text = fields.optional_string(name)?.unwrap_or_default();
        texts.set(name, text).map_err(|_| FieldError::invalid(name, "at most 1024 bytes"))?;
    }
    Ok(texts)
}

/// `POST /sign-ed25519`. Where it does without an account, browsers come with everything in the query.
///
/// # Errors
/// See [`sign`], and those of an account where one is needed.
pub async fn sign_ed25519(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    if state.config.signs_without_account() {
        return sign_by(&state, &input::object_form_or_query(&request, &body)?).await;
    }
    credentials.agreed_account(&state).await?;
    sign_by(&state, &input::object(&body)?).await
}

/// `POST /_matrix/identity/api/v1/sign-ed25519`
///
/// # Errors
/// See [`sign`].
pub async fn sign_ed25519_by_v1(request: HttpRequest, state: Data<State>, body: Body) -> Result<HttpResponse, Error> {
    sign_by(&state, &input::object_form_or_query(&request, &body)?).await
}

async fn sign_by(state: &State, fields: &Object<'_>) -> Result<HttpResponse, Error> {
    fields.require(&["mxid", "private_key", "token"])?;
    let mxid = input::mxid(fields)?;
    let token = InviteToken::from(fields.string("token")?.to_owned());
    // A plus that was not percent-encoded comes out of a query as a space.
    let private_key = Zeroizing::new(fields.string("private_key")?.replace(' ', "+"));
    let private_key =
        decode_key(&private_key).ok_or_else(|| FieldError::invalid("private_key", "base64 of 32 bytes"))?;
    let signed = sign(state, SigningRequest { mxid, token, private_key }).await?;
    Ok(HttpResponse::Ok().json(signed))
}
