//! Who is asking: an access token becomes an account.
//!
//! Invariant: an unknown token and an idle one look the same.

use crate::domain::access_token::{AccessToken, is_idle, is_use_worth_noting};
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::state::State;
use crate::store::{StoreError, tokens};

/// The account whose token this is.
///
/// # Errors
/// [`Error::Unauthorized`] if it is nobody's.
pub async fn authenticate(state: &State, token: &AccessToken) -> Result<UserId, Error> {
    let digest = token.digest();
    let found = state.store.read(async move |conn| tokens::find(conn, &digest).await).await?;
    let now = state.clock.now();
    let known = found.filter(|token| !is_idle(token.used_at, now, state.config.auth.token_idle.get()));
    let Some(known) = known else { return Err(Error::Unauthorized) };
    if is_use_worth_noting(known.used_at, now) {
        state.store.write(async move |conn| tokens::save_used_at(conn, &digest, now).await).await?;
    }
    Ok(known.mxid)
}

/// Forgets the token.
///
/// # Errors
/// [`Error::UnknownToken`] if it is nobody's.
pub async fn log_out(state: &State, token: &AccessToken) -> Result<(), Error> {
    let digest = token.digest();
    let deleted: Result<bool, StoreError> =
        state.store.write(async move |conn| tokens::delete(conn, &digest).await).await;
    if deleted? { Ok(()) } else { Err(Error::UnknownToken) }
}
