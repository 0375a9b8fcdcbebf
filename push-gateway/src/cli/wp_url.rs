//! `push-gateway wp-url`: makes the URL of a push resource, as `POST /wp/{app}` does.
//!
//! Invariant: it opens no connection.

use shared::clock::Clock;
use shared::random::Random;

use crate::apps::registry::AppsError;
use crate::config::Config;
use crate::delivery::push_resource::{NoUrl, Subscription, url};
use crate::delivery::relay::RelayState;
use crate::delivery::state::State;

/// Why there is no URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WpUrlError {
    #[error(transparent)]
    Apps(#[from] AppsError),
    #[error("[relay] public_url, seal_keys: missing; the relay is not configured")]
    Absent,
    #[error("[relay] enabled: is false; the relay makes no URLs")]
    Disabled,
    #[error("--{0}")]
    Invalid(#[from] NoUrl),
}

/// Makes a URL.
///
/// # Errors
/// [`WpUrlError`].
pub(crate) fn wp_url(config: Config, subscription: Subscription<'_>) -> Result<String, WpUrlError> {
    let state = State::new(config, Clock::system(), Random)?;
    let setup = state.setup();
    match &setup.relay {
        RelayState::Absent => Err(WpUrlError::Absent),
        RelayState::Disabled => Err(WpUrlError::Disabled),
        RelayState::Enabled(relay) => Ok(url(&state, relay, &setup.apps, subscription)?),
    }
}
