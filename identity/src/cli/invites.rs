//! `identity invites`: lists and revokes invitations.
//!
//! Invariant: a revocation covers the invite's token, its key, and its mail if that is queued.

use shared::clock::{Clock, Timestamp};

use super::database::open;
use super::table::{aligned, roughly};
use crate::config::Config;
use crate::domain::invite::Invite;
use crate::domain::redaction::{Shown, redacted};
use crate::store::invites::{self, Filter};
use crate::store::{StoreError, ephemeral_keys, outgoing_mails};

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
pub enum InvitesError {
    /// The database fails.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No filter is given.
    #[error("no filter: give ids, --address, --room or --sender")]
    NoFilter,
    /// No invite matches the filter, or none has one of its ids.
    #[error("no such invitation{}", if .0.is_empty() { String::new() } else { format!(": {}", .0.join(", ")) })]
    Unknown(Vec<String>),
}

/// A table of the matching invites, oldest first, with a line of headings; a single line if there are none. Addresses are
/// redacted.
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

/// Revokes the matching invites that are not revoked; returns their number.
///
/// # Errors
/// [`InvitesError::NoFilter`] if the filter matches every invite, [`InvitesError::Unknown`] if it matches none or an id
/// is unknown; nothing is revoked then.
pub async fn revoke(config: &Config, filter: Filter) -> Result<usize, InvitesError> {
    if filter.is_empty() {
        return Err(InvitesError::NoFilter);
    }
    let (store, now) = (open(config).await?, Clock::system().now());
    let revoked = store.write(async move |conn| {
        let mut found = invites::list(conn, &filter).await?;
        let is_unknown = |id: &&String| found.iter().all(|invite| invite.id != **id);
        let unknown: Vec<String> = filter.ids.iter().filter(is_unknown).cloned().collect();
        if found.is_empty() || !unknown.is_empty() {
            return Ok(Err(unknown));
        }
        found.retain(|invite| invite.revoked_at.is_none());
        for invite in &found {
            invites::revoke(conn, &invite.id, now).await?;
            outgoing_mails::delete(conn, &invite.id).await?;
            if let Some(public_key) = &invite.public_key {
                ephemeral_keys::revoke(conn, public_key, now).await?;
            }
        }
        Ok::<_, StoreError>(Ok(found.len()))
    });
    revoked.await?.map_err(InvitesError::Unknown)
}

fn table(found: &[Invite], now: Timestamp) -> Vec<String> {
    let rows = found.iter().map(|invite| {
        [
            invite.id.clone(),
            invite.state(now).as_str().to_owned(),
            format!("{} ago", roughly(now.since(invite.created_at))),
            redacted(invite.threepid.address().as_str(), &Shown { local: 3, domain: 3 }),
            invite.room_id.as_str().to_owned(),
            invite.sender.as_str().to_owned(),
        ]
    });
    aligned(["ID", "STATE", "CREATED", "ADDRESS", "ROOM", "SENDER"], rows)
}
