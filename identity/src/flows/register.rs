//! Registration: a homeserver vouches for its user, and the user gets an account and an access token here.
//!
//! Invariant: the OpenID token is shown to the homeserver and forgotten.

use std::net::IpAddr;

use shared::secret::Secret;

use crate::domain::access_token::AccessToken;
use crate::domain::server_name::ServerName;
use crate::error::Error;
use crate::homeserver::openid;
use crate::limits::{self, Verdict};
use crate::state::State;
use crate::store::{accounts, tokens};

/// What a client brings.
pub struct Registration {
    /// From the homeserver, for the user who asks.
    pub openid_token: Secret<String>,
    /// That homeserver.
    pub server: ServerName,
    /// Who asks.
    pub client: IpAddr,
}

/// Makes an account, unless there is one, and a new access token for it.
///
/// # Errors
/// [`Error::ServerNotAllowed`], [`Error::LimitExceeded`], or [`Error::Openid`] with what the homeserver said.
pub async fn register(state: &State, registration: Registration) -> Result<AccessToken, Error> {
    if !state.config.registration.access().permits(registration.server.as_str()) {
        return Err(Error::ServerNotAllowed);
    }
    let charged =
        limits::charge_for_question(&state.store, &state.config.limits, registration.client, state.clock.now());
    if let Verdict::Refused { retry_after } = charged.await? {
        return Err(Error::LimitExceeded(retry_after));
    }
    let mxid = openid::userinfo(&state.homeservers, &registration.openid_token, &registration.server).await?;

    let token = AccessToken::draw(state.random);
    let (digest, now, most) = (token.digest(), state.clock.now(), state.config.auth.max_tokens_per_user);
    state
        .store
        .write(async move |conn| {
            accounts::insert(conn, &mxid, now).await?;
            // Before the new one is there: it must stay even if a clock set back makes it the oldest.
            tokens::delete_oldest(conn, &mxid, most.saturating_sub(1)).await?;
            tokens::insert(conn, &digest, &mxid, now).await
        })
        .await?;
    Ok(token)
}
