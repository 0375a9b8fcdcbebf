//! The stories that this server tells, one file each: what happens in which order when somebody asks for something.
//!
//! Invariant: a story knows neither HTTP nor SQL, and none of them calls another.

pub mod accept_terms;
pub mod authenticate;
pub mod authenticate_homeserver;
pub mod bind;
pub mod check_ephemeral_key;
pub mod clean_up;
pub mod follow_link;
pub mod look_up;
pub mod notify_homeserver;
pub mod register;
pub mod request_token;
pub mod send_queued_mail;
pub mod sign_ed25519;
pub mod store_invite;
pub mod submit_token;
pub mod unbind;

use std::future::Future;
use std::sync::Arc;

use shared::http::observe::InFlight;
use tracing::Instrument;

use crate::error::Error;
use crate::state::State;

/// Runs `story` to its end on the main runtime, whatever becomes of the request that began it: a client that hangs up
/// must not leave a mail sent and not remembered. A process that is told to stop waits for it.
///
/// # Errors
/// Those of the story.
pub async fn to_the_end<R: Send + 'static>(
    state: &Arc<State>,
    story: impl Future<Output = Result<R, Error>> + Send + 'static,
) -> Result<R, Error> {
    let in_flight = InFlight::enter(&state.activity);
    let whole = async move {
        let result = story.await;
        drop(in_flight);
        result
    };
    let task = state.runtime.spawn(whole.in_current_span());
    task.await.map_err(|error| Error::Internal(format!("a story ended before its time: {error}")))?
}
