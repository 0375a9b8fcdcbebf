//! `POST /_matrix/identity/v2/store-invite`, `POST /_matrix/identity/v2/sign-ed25519`, and the latter under
//! `/_matrix/identity/api/v1`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#invitation-storage>
//!
//! Invariant: a homeserver's text fields are dropped, except those named in `domain/invite_texts.rs`.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::json;
use shared::http::body::Body;
use shared::http::client_address::client_address;
use zeroize::Zeroizing;

use super::auth::Credentials;
use super::input::{self, AudienceQuery};
use crate::domain::invite::InviteToken;
use crate::domain::invite_texts::{self, InviteTexts};
use crate::domain::invitee::Invitee;
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::error::Error;
use crate::flows::run_detached;
use crate::flows::sign_ed25519::{SigningRequest, sign_ed25519 as sign};
use crate::flows::store_invite::{InviteRequest, store_invite as store};
use crate::json::{FieldError, Object};
use crate::limits::Caller;
use crate::signing::decode_key;
use crate::state::State;

/// The body of `POST /store-invite`.
struct StoreInviteBody {
    invitee: Invitee,
    room_id: RoomId,
    sender: UserId,
    texts: InviteTexts,
}

impl StoreInviteBody {
    fn parse(fields: &Object<'_>) -> Result<Self, Error> {
        fields.require(&["address", "medium", "room_id", "sender"])?;
        let (medium, address) = (fields.string("medium")?, fields.string("address")?);
        let room_id = RoomId::parse(fields.string("room_id")?)
            .map_err(|_| FieldError::invalid("room_id", "1 to 255 bytes without control characters and white space"))?;
        let sender = input::user_id(fields, "sender")?;
        Ok(Self { invitee: Invitee::new(medium, address), room_id, sender, texts: texts(fields)? })
    }
}

fn texts(fields: &Object<'_>) -> Result<InviteTexts, Error> {
    let mut texts = InviteTexts::default();
    for name in invite_texts::NAMES {
        let text = fields.optional_string(name)?.unwrap_or_default();
        texts.set(name, text).map_err(|_| FieldError::invalid(name, "at most 1024 bytes"))?;
    }
    Ok(texts)
}

/// The body, or the query, of `POST /sign-ed25519`.
struct SignBody {
    mxid: UserId,
    token: InviteToken,
    private_key: Zeroizing<[u8; 32]>,
}

impl SignBody {
    fn parse(fields: &Object<'_>) -> Result<Self, Error> {
        fields.require(&["mxid", "private_key", "token"])?;
        let mxid = input::mxid(fields)?;
        let token = InviteToken::from(fields.string("token")?.to_owned());
        // A query turns a plus that is not percent-encoded into a space.
        let private_key = Zeroizing::new(fields.string("private_key")?.replace(' ', "+"));
        let private_key =
            decode_key(&private_key).ok_or_else(|| FieldError::invalid("private_key", "base64 of 32 bytes"))?;
        Ok(Self { mxid, token, private_key })
    }
}

/// `POST /store-invite`
pub async fn store_invite(
    request: HttpRequest,
    state: Data<State>,
    credentials: Credentials,
    body: Body,
) -> Result<HttpResponse, Error> {
    let account = credentials.agreed_account(&state).await?;
    store_for(&request, state, Caller::Account(account), &input::object(&body.read().await)?).await
}

/// Stores an invitation of an account, or of a client of the legacy API.
pub(super) async fn store_for(
    request: &HttpRequest,
    state: Data<State>,
    caller: Caller,
    fields: &Object<'_>,
) -> Result<HttpResponse, Error> {
    let query = input::query(request)?;
    let StoreInviteBody { invitee, room_id, sender, texts } = StoreInviteBody::parse(fields)?;
    let AudienceQuery { brand, lang, accept_language } = AudienceQuery::parse(&query, request)?;
    let wanted = InviteRequest { caller, sender, room_id, invitee, texts, brand, lang, accept_language };
    let state = state.into_inner();
    let stored = run_detached(&state.clone(), store(state.clone(), wanted)).await?;
    // The URLs are v2 for invitations by v1 too: homeservers and clients use them unchanged.
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

/// The caller of a route without accounts.
pub(super) fn client(request: &HttpRequest) -> Caller {
    Caller::Client(client_address(request))
}

/// `POST /sign-ed25519`
pub async fn sign_ed25519(state: Data<State>, credentials: Credentials, body: Body) -> Result<HttpResponse, Error> {
    credentials.agreed_account(&state).await?;
    sign_for(&state, &input::object(&body.read().await)?).await
}

/// `POST /sign-ed25519` without an account, by v1 and, if the operator allows it, by v2. Browsers send all fields in the
/// query.
pub async fn sign_ed25519_without_account(
    request: HttpRequest,
    state: Data<State>,
    body: Body,
) -> Result<HttpResponse, Error> {
    sign_for(&state, &input::object_form_or_query(&request, &body.read().await)?).await
}

async fn sign_for(state: &State, fields: &Object<'_>) -> Result<HttpResponse, Error> {
    let SignBody { mxid, token, private_key } = SignBody::parse(fields)?;
    let signed = sign(state, SigningRequest { mxid, token, private_key }).await?;
    Ok(HttpResponse::Ok().json(signed))
}
