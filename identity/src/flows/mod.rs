//! The flows of the server, one file each: the order of the steps of one operation.
//!
//! Invariant: a flow knows neither HTTP nor SQL. `unbind` calls the two authentications, and `follow_link` submits a token;
//! no other flow calls another one.

pub mod accept_terms;
pub mod authenticate;
pub mod authenticate_homeserver;
pub mod bind;
pub mod block_invites;
pub mod check_ephemeral_key;
pub mod clean_up;
pub mod copy_database;
pub mod correct_times;
pub mod follow_changes;
pub mod follow_link;
pub mod load_keys;
pub mod look_up;
pub mod register;
pub mod request_token;
pub mod rotate_pepper;
pub mod send_onbind;
pub mod send_queued_mail;
pub mod sign_ed25519;
pub mod store_invite;
pub mod submit_token;
pub mod unbind;
pub mod unify_addresses;

use std::future::Future;
use std::sync::Arc;

use shared::http::observe::InFlight;
use tracing::Instrument;

use crate::error::Error;
use crate::state::State;

/// Runs `flow` on the main runtime until it ends, even if its client disconnects: the server records every message that
/// it sends. A shutdown waits for it.
///
/// # Errors
/// Those of the flow.
pub async fn run_detached<R: Send + 'static>(
    state: &Arc<State>,
    flow: impl Future<Output = Result<R, Error>> + Send + 'static,
) -> Result<R, Error> {
    let in_flight = InFlight::enter(&state.activity);
    let whole = async move {
        let result = flow.await;
        drop(in_flight);
        result
    };
    let task = state.runtime.spawn(whole.in_current_span());
    task.await.map_err(|error| Error::Internal(format!("a flow was interrupted: {error}")))?
}
