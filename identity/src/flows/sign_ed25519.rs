//! Signs a join with the key of an invitation, for a user who follows the link in its mail.
//!
//! Invariant: the token and the private key together are the credential. The private key is not stored, and the server's
//! own key never signs the object.

use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::domain::invite::{Invite, InviteToken};
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::signing::SigningKey;
use crate::state::State;
use crate::store::{ephemeral_keys, invites};

/// The key id that homeservers expect of every ephemeral key.
const KEY_VERSION: &str = "0";

/// The request of a client.
pub struct SigningRequest {
    /// The user who joins.
    pub mxid: UserId,
    /// The invite's token.
    pub token: InviteToken,
    /// The private half of the invite's key.
    pub private_key: Zeroizing<[u8; 32]>,
}

/// The signed object that permits `mxid` to join by the invite.
///
/// # Errors
/// [`Error::UnknownInvite`] if no open invite has the token, [`Error::InvalidParam`] if the key is not the invite's.
pub async fn sign_ed25519(state: &State, request: SigningRequest) -> Result<Map<String, Value>, Error> {
    let SigningRequest { mxid, token, private_key } = request;
    let now = state.clock.now();
    let key = SigningKey::from_seed(KEY_VERSION, &private_key).map_err(|error| Error::Internal(error.to_string()))?;
    let public_key = *key.public().as_bytes();
    let found = state.store.read(async move |conn| {
        let invite = invites::find_by_token(conn, token.as_str()).await?.ok_or(Error::UnknownInvite)?;
        Ok::<_, Error>((invite, ephemeral_keys::is_valid(conn, &public_key, now).await?))
    });
    let (invite, is_known_key) = found.await?;
    if !invite.is_open(now) {
        return Err(Error::UnknownInvite);
    }
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

/// Whether the key belongs to the invite. An imported invite without a stored key accepts any imported key.
fn is_key_of(invite: &Invite, public_key: [u8; 32], is_known_key: bool) -> bool {
    is_known_key && invite.public_key.is_none_or(|own| own == public_key)
}
