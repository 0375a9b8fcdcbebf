//! Blocks invitations by mail to an address, for the person who opened the link in one.
//!
//! Invariant: the sealed link is the proof that the person has received an invitation at the address.

use crate::domain::invite_block::{InviteBlock, SEALED_AS, Scope, unsealed_token};
use crate::domain::redaction::masked;
use crate::error::Error;
use crate::state::State;
use crate::store::invite_blocks;

/// What a link is about, for its page.
pub struct Linked {
    block: InviteBlock,
    /// The invited address, redacted.
    pub masked_address: String,
    /// The sender of the invitation, as shown.
    pub sender: String,
}

/// Reads the token of a link; `None` if this server has not made it.
pub fn read_link(state: &State, token: &str) -> Option<Linked> {
    let sealed = unsealed_token(token)?;
    let opened = state.keys.sealing().open(&sealed, SEALED_AS).ok()?;
    let block = InviteBlock::from_bytes(&opened)?;
    Some(Linked {
        masked_address: masked(&block.threepid, &state.config.invites.shown()),
        sender: block.sender.shown(),
        block,
    })
}

/// Blocks the invitations of `scope`.
///
/// # Errors
/// Those of the store.
pub async fn block_invites(state: &State, linked: &Linked, scope: Scope) -> Result<(), Error> {
    let digests = state.keys.digests().digests(&linked.block.text(scope));
    let now = state.clock.now();
    if let Some(digest) = digests.first().copied() {
        state.store.write(async move |conn| invite_blocks::insert(conn, &digest, now).await).await?;
        tracing::info!(scope = scope.as_str(), "a recipient blocked invitations");
    }
    Ok(())
}
