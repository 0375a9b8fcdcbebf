//! Somebody follows the link in an invitation's mail: their join is signed with the key that stands in it.
//!
//! Invariant: token and private key together are the credential. The key is used and forgotten; what it signs is never
//! signed with the server's own.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::domain::invite::{Invite, InviteToken};
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::signing::SigningKey;
use crate::state::State;
use crate::store::{ephemeral_keys, invites};

/// Homeservers know the ephemeral keys by this id, all of them.
const KEY_VERSION: &str = "0";

/// What is to be signed, and with what.
pub struct SigningRequest {
    /// Who joins.
    pub mxid: UserId,
    /// The invite's token.
    pub token: InviteToken,
    /// The private half of its key.
    pub private_key: Zeroizing<[u8; 32]>,
}

/// The signed object that lets `mxid` join by the invite.
///
/// # Errors
/// [`Error::UnknownInvite`] if no open invite has the token, [`Error::InvalidParam`] if the key is not its key.
pub async fn sign_ed25519(state: &State, request: SigningRequest) -> Result<Map<String, Value>, Error> {
    let SigningRequest { mxid, token, private_key } = request;
    let now = state.clock.now();
    let key = SigningKey::from_seed(KEY_VERSION, &private_key).map_err(|error| Error::Internal(error.to_string()))?;
    let public_key = *key.public().as_bytes();
    let found = state.store.read(async move |conn| {
        let Some(invite) = invites::find_by_token(conn, token.as_str()).await? else { return Ok(None) };
        Ok(Some((invite, ephemeral_keys::is_valid(conn, &public_key, now).await?)))
    });
    let open = found.await?.filter(|(invite, _)| invite.is_open(now));
    let (invite, is_known_key) = open.ok_or(Error::UnknownInvite)?;
    if !is_key_of(&invite, public_key, is_known_key) {
        return Err(Error::InvalidParam("private_key is not the key of this invitation".to_owned()));
    }
    let mut signed = Map::new();
    signed.insert("mxid".to_owned(), json!(mxid.as_str()));
    signed.insert("sender".to_owned(), json!(invite.sender.as_str()));
    signed.insert("token".to_owned(), json!(invite.token.as_str()));
    key.sign(&state.identity.name, &mut signed).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(signed)
}

/// Invites that were imported from where their keys were not remembered are opened by any key that came with them.
fn is_key_of(invite: &Invite, public_key: [u8; 32], is_known_key: bool) -> bool {
    is_known_key && invite.public_key.is_none_or(|own| own == public_key)
}
