//! Authenticates the account of an access token, and logs it out.
//!
//! Invariant: an unknown token and an expired one give the same error.

use crate::domain::access_token::{AccessToken, TokenDigest, is_idle, is_use_worth_noting};
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::state::State;
use crate::store::tokens;

/// The access tokens of one request.
#[derive(Debug)]
pub struct PresentedTokens {
    header: Option<AccessToken>,
    query: Option<AccessToken>,
}

/// A token that belongs to an account. Only [`authenticate_for_logout`] creates it.
pub struct KnownToken(TokenDigest);

impl PresentedTokens {
    /// The token of the `Authorization` header, and that of `?access_token=`. The header has precedence, even with an
    /// unknown token.
    pub fn new(header: Option<AccessToken>, query: Option<AccessToken>) -> Self {
        Self { header, query }
    }

    fn effective(&self, state: &State) -> Result<&AccessToken, Error> {
        match (&self.header, &self.query) {
            (Some(header), _) => Ok(header),
            (None, Some(query)) if state.config.auth.allow_query_token => {
                metrics::counter!("identity_query_token_total").increment(1);
                Ok(query)
            }
            _ => Err(Error::Unauthorized),
        }
    }
}

/// The account of the request's token.
///
/// # Errors
/// [`Error::Unauthorized`] without a token or with an unknown one.
pub async fn authenticate(state: &State, tokens: &PresentedTokens) -> Result<UserId, Error> {
    find_account(state, tokens.effective(state)?.digest()).await?.ok_or(Error::Unauthorized)
}

/// The request's token, for [`log_out`].
///
/// # Errors
/// [`Error::Unauthorized`] without a token, [`Error::UnknownToken`] with an unknown one.
pub async fn authenticate_for_logout(state: &State, tokens: &PresentedTokens) -> Result<KnownToken, Error> {
    let digest = tokens.effective(state)?.digest();
    find_account(state, digest).await?.map(|_| KnownToken(digest)).ok_or(Error::UnknownToken)
}

/// Deletes the token.
///
/// # Errors
/// [`Error::UnknownToken`] if another request has deleted it.
pub async fn log_out(state: &State, KnownToken(digest): KnownToken) -> Result<(), Error> {
    let deleted = state.store.write(async move |conn| tokens::delete(conn, &digest).await).await?;
    if deleted { Ok(()) } else { Err(Error::UnknownToken) }
}

async fn find_account(state: &State, digest: TokenDigest) -> Result<Option<UserId>, Error> {
    let found = state.store.read(async move |conn| tokens::find(conn, &digest).await).await?;
    let now = state.clock.now();
    let known = found.filter(|token| !is_idle(token.used_at, now, state.config.auth.token_idle.get()));
    let Some(known) = known else { return Ok(None) };
    if is_use_worth_noting(known.used_at, now) {
        state.store.write(async move |conn| tokens::save_used_at(conn, &digest, now).await).await?;
    }
    Ok(Some(known.mxid))
}
