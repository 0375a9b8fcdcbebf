//! Blocked invitations: the link in each invitation, and what a blocked one does instead of sending a mail.
//!
//! Invariant: the sender of a blocked invitation gets the response of any other one, after about the same time.

use std::sync::atomic::Ordering;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::invite::Invite;
use crate::domain::invite_block::{InviteBlock, SEALED_AS, Scope, block_url};
use crate::error::Error;
use crate::state::State;

fn block_of(invite: &Invite) -> InviteBlock {
    InviteBlock { threepid: invite.threepid.clone(), sender: invite.sender.clone() }
}

/// The link that blocks further invitations.
///
/// # Errors
/// [`Error::Internal`] if its content cannot be sealed.
pub fn link(state: &State, invite: &Invite) -> Result<String, Error> {
    let sealed = state.keys.sealing().seal(&block_of(invite).to_bytes(), SEALED_AS, state.random)?;
    Ok(block_url(&state.identity.base_url, &sealed))
}

/// The digests of which any one blocks the invite.
pub fn digests(state: &State, invite: &Invite) -> Vec<[u8; 32]> {
    let (keys, block) = (&state.keys, block_of(invite));
    Scope::ALL.iter().flat_map(|scope| keys.digests().digests(&block.text(*scope))).collect()
}

/// Remembers how long the mail of an invitation took.
pub fn remember_time(state: &State, begin: Timestamp) {
    let millis = state.clock.now().since(begin).as_millis();
    state.invite_mail_time.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Relaxed);
}

/// Counts a blocked invitation, and waits as long as the last mail took.
pub async fn pretend_to_send(state: &State) {
    metrics::counter!("identity_messages_total", "medium" => "email", "kind" => "invite", "result" => "blocked")
        .increment(1);
    tokio::time::sleep(Duration::from_millis(state.invite_mail_time.load(Ordering::Relaxed))).await;
}
