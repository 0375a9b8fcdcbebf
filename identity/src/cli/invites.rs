//! `identity invites`: lists and revokes invitations, and allows blocked ones again.
//!
//! Invariant: a revocation covers the invite's token, its key, and its mail if that is queued.

use shared::clock::{Clock, Timestamp};

use super::ConfigSource;
use super::database::open;
use super::table::{aligned, roughly};
use crate::config::Config;
use crate::domain::invite::Invite;
use crate::domain::invite_block::block_text;
use crate::domain::mxid::UserId;
use crate::domain::redaction::{Shown, redacted};
use crate::domain::room_id::RoomId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::signing_keys::{SigningKeys, SigningKeysError};
use crate::store::invites::{self, Filter};
use crate::store::{StoreError, ephemeral_keys, invite_blocks, outgoing_mails};

#[derive(clap::Subcommand)]
pub(super) enum InvitesCommand {
    /// List invitations, oldest first.
    List {
        #[command(flatten)]
        source: ConfigSource,
        #[command(flatten)]
        filter: InviteFilter,
    },
    /// Revoke invitations: their links stop working, and queued mails are not sent.
    Revoke {
        #[command(flatten)]
        source: ConfigSource,
        #[command(flatten)]
        filter: InviteFilter,
    },
    /// Allow invitations to an address again whose owner has blocked them by the link in a mail.
    Unblock {
        #[command(flatten)]
        source: ConfigSource,
        /// The e-mail address.
        #[arg(long, value_parser = |text: &str| ThreePid::canonical(Medium::Email, text))]
        address: ThreePid,
        /// The blocked sender. Default: the block of all senders.
        #[arg(long, value_parser = UserId::parse)]
        sender: Option<UserId>,
    },
}

/// Selects invitations that match all filters.
#[derive(clap::Args)]
pub(super) struct InviteFilter {
    /// Ids of invitations.
    ids: Vec<String>,
    /// The invited e-mail address.
    #[arg(long, value_parser = |text: &str| ThreePid::canonical(Medium::Email, text))]
    address: Option<ThreePid>,
    /// The room.
    #[arg(long, value_parser = RoomId::parse)]
    room: Option<RoomId>,
    /// The sender.
    #[arg(long, value_parser = UserId::parse)]
    sender: Option<UserId>,
}

impl From<InviteFilter> for Filter {
    fn from(InviteFilter { ids, address, room, sender }: InviteFilter) -> Self {
        Self { ids, threepid: address, room_id: room, sender }
    }
}

/// Runs a command; returns its lines.
///
/// # Errors
/// Those of the configuration and of the command.
pub(super) async fn run(command: InvitesCommand) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    Ok(match command {
        InvitesCommand::List { source, filter } => list(&source.load_stored()?, filter.into()).await?,
        InvitesCommand::Revoke { source, filter } => {
            let number = revoke(&source.load_stored()?, filter.into()).await?;
            vec![format!("{number} revoked")]
        }
        InvitesCommand::Unblock { source, address, sender } => {
            let was_blocked = unblock(&source.load_stored()?, &address, sender.as_ref()).await?;
            vec![if was_blocked { "allowed again" } else { "was not blocked" }.to_owned()]
        }
    })
}

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
enum InvitesError {
    /// The database fails.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The digests of blocked invitations need the key file.
    #[error(transparent)]
    Keys(#[from] SigningKeysError),
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
async fn list(config: &Config, filter: Filter) -> Result<Vec<String>, InvitesError> {
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
async fn revoke(config: &Config, filter: Filter) -> Result<usize, InvitesError> {
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

/// Removes the block of all invitations to an address, or of those of one sender; returns whether there was one.
///
/// # Errors
/// [`InvitesError`] if the database or the key file cannot be read.
async fn unblock(config: &Config, threepid: &ThreePid, sender: Option<&UserId>) -> Result<bool, InvitesError> {
    let keys = SigningKeys::read(&config.keys.file, &config.keys.revoked, Vec::new())?;
    let digests = keys.digests().digests(&block_text(threepid, sender));
    let store = open(config).await?;
    Ok(store.write(async move |conn| invite_blocks::delete(conn, &digests).await).await? > 0)
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
