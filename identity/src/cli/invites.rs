//! `identity invites`: the invitations in the database, for the operator.
//!
//! Invariant: an invite that is revoked is revoked as a whole: its token, its key, and its mail if that still waits.

use shared::clock::{Clock, Timestamp};

use super::database::open;
use super::table::{aligned, roughly};
use crate::config::Config;
use crate::domain::invite::Invite;
use crate::domain::redaction::redacted;
use crate::store::invites::{self, Filter};
use crate::store::{StoreError, ephemeral_keys, outgoing_mails};

/// Why the operator gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// The database does not do what it should.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Nothing is said about which.
    #[error("say which invitations to revoke: their ids, --address, --room or --sender")]
    All,
}

/// A table of the invites that fit, oldest first, a line each under a line of headings; one line alone if there is
/// none. Addresses stand there as rooms' members see them.
///
/// # Errors
/// [`InvitesError::Store`].
pub async fn list(config: &Config, filter: Filter) -> Result<Vec<String>, InvitesError> {
    let store = open(config).await?;
    let found = store.read(async move |conn| invites::list(conn, &filter).await).await?;
    if found.is_empty() {
        return Ok(vec!["no invitations".to_owned()]);
    }
    Ok(table(&found, Clock::system().now()))
}

/// Takes back the invites that fit and are not revoked yet; gives how many those are.
///
/// # Errors
/// [`InvitesError::All`] if every invite fits.
pub async fn revoke(config: &Config, filter: Filter) -> Result<usize, InvitesError> {
    if filter.is_empty() {
        return Err(InvitesError::All);
    }
    let (store, now) = (open(config).await?, Clock::system().now());
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

fn table(found: &[Invite], now: Timestamp) -> Vec<String> {
    let rows = found.iter().map(|invite| {
        [
            invite.id.clone(),
            invite.state(now).as_str().to_owned(),
            format!("{} ago", roughly(now.since(invite.created_at))),
            redacted(invite.threepid.address().as_str(), 3, 3),
            invite.room_id.as_str().to_owned(),
            invite.sender.as_str().to_owned(),
        ]
    });
    aligned(["ID", "STATE", "MADE", "ADDRESS", "ROOM", "SENDER"], rows)
}
