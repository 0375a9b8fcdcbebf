//! Registration: a homeserver confirms its user, who gets an account and an access token.
//!
//! Invariant: the OpenID token is sent to the homeserver and not stored.

use std::net::IpAddr;

use shared::secret::Secret;

use crate::domain::access_token::AccessToken;
use crate::domain::server_name::ServerName;
use crate::error::Error;
use crate::homeserver::openid;
use crate::limits::{self, Bucket};
use crate::state::State;
use crate::store::{accounts, tokens};

/// The request of a client.
pub struct Registration {
    /// The user's OpenID token from the homeserver.
    pub openid_token: Secret<String>,
    /// The homeserver.
    pub server: ServerName,
    /// The client address.
    pub client: IpAddr,
}

/// Creates an account, unless it exists, and a new access token.
///
/// # Errors
/// [`Error::ServerNotAllowed`], [`Error::UserDenied`], [`Error::LimitExceeded`], or [`Error::Openid`] with the failure of the homeserver.
pub async fn register(state: &State, registration: Registration) -> Result<AccessToken, Error> {
    if !state.config.registration.access().permits(registration.server.as_str()) {
        return Err(Error::ServerNotAllowed);
    }
    limits::charge_homeserver_request(&state.store, &state.config.limits, registration.client, state.clock.now())
        .await?
        .into_result()
        .map_err(Error::LimitExceeded)?;
    let mxid = openid::userinfo(&state.homeservers, &registration.openid_token, &registration.server).await?;
    if state.config.registration.denies(&mxid) {
        return Err(Error::UserDenied);
    }

    let token = AccessToken::draw(state.random);
    let (digest, now, most) = (token.digest(), state.clock.now(), state.config.auth.max_tokens_per_user);
    let limits = &state.config.limits;
    let bucket = limits.enabled.then(|| {
        let (limit, large) = (limits.accounts_per_homeserver, &limits.large_homeservers);
        Bucket::of_homeserver("accounts_per_homeserver", limit, mxid.server_name(), large)
    });
    let saved = state.store.write(async move |conn| {
        if accounts::insert(conn, &mxid, now).await? {
            // The transaction is rolled back, so the account is not kept.
            limits::charge(conn, bucket.as_slice(), now).await?.into_result().map_err(Error::LimitExceeded)?;
        }
        // Before the insert: the new token must stay even if a clock that was set back makes it the oldest.
        tokens::delete_oldest(conn, &mxid, most.saturating_sub(1), now).await?;
        Ok::<_, Error>(tokens::insert(conn, &digest, &mxid, now).await?)
    });
    saved.await?;
    Ok(token)
}
