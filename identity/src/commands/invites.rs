//! `identity invites list` and `identity invites revoke`.
//!
//! Invariant: an invite that is revoked is revoked as a whole: its token, its key, and its mail if that still waits.

use serde_json::{Value, json};
use shared::clock::Clock;

use super::{CommandError, open_store};
use crate::config::Config;
use crate::domain::invite::Invite;
use crate::store::invites::{self, Filter};
use crate::store::{ephemeral_keys, outgoing_mails};

/// The invites that fit, oldest first, each as a JSON object for the operator. Neither token nor key is in it.
///
/// # Errors
/// [`CommandError`] if the database cannot be asked.
pub async fn list(config: &Config, filter: Filter) -> Result<Vec<Value>, CommandError> {
    let now = Clock::system().now();
    let store = open_store(config).await?;
    let found = store.read(async move |conn| invites::list(conn, &filter).await).await?;
    let shown = |invite: &Invite| {
        json!({
            "id": invite.id,
            "state": invite.state(now).as_str(),
            "medium": invite.threepid.medium().as_str(),
            "address": invite.threepid.address().as_str(),
            "room_id": invite.room_id.as_str(),
            "sender": invite.sender.as_str(),
            "created_at": invite.created_at,
            "expires_at": invite.expires_at,
        })
    };
    Ok(found.iter().map(shown).collect())
}

/// Takes back the invites that fit and are not revoked yet; their number.
///
/// # Errors
/// [`CommandError::Usage`] if nothing is said about which, or those of the database.
pub async fn revoke(config: &Config, filter: Filter) -> Result<usize, CommandError> {
    if filter.is_empty() {
        return Err(CommandError::Usage("say which invites to revoke: their ids, --address, --room or --sender"));
    }
    let now = Clock::system().now();
    let store = open_store(config).await?;
    let revoked = store.write(async move |conn| {
        let mut found = invites::list(conn, &filter).await?;
        found.retain(|invite| invite.revoked_at.is_none());
        for invite in &found {
            invites::revoke(conn, &invite.id, now).await?;
            outgoing_mails::delete(conn, &invite.id).await?;
            if let Some(public_key) = &invite.public_key {
                ephemeral_keys::revoke(conn, public_key, now).await?;
            }
        }
        Ok(found.len())
    });
    Ok(revoked.await?)
}
