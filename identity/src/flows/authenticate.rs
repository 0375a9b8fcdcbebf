//! Authenticates the account of an access token, checks that it has accepted the terms, and logs it out.
//!
//! Invariant: an unknown token and an expired one give the same error.

use std::collections::HashSet;
use std::sync::Arc;

use crate::domain::access_token::{AccessToken, TokenDigest, is_idle, is_use_worth_noting};
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::memory::tokens::CachedToken;
use crate::state::State;
use crate::store::tokens::StoredToken;
use crate::store::{accepted_terms, tokens};

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
/// [`Error::Unauthorized`] without a token or with an unknown one, [`Error::UserDenied`].
pub async fn authenticate(state: &State, tokens: &PresentedTokens) -> Result<UserId, Error> {
    let token = find_permitted(state, tokens.effective(state)?.digest()).await?;
    Ok(token.mxid)
}

/// The account of the request's token, if it has accepted every required policy, each in at least one language.
///
/// # Errors
/// [`Error::Unauthorized`], [`Error::UserDenied`], [`Error::TermsNotSigned`].
pub async fn authenticate_agreed(state: &State, tokens: &PresentedTokens) -> Result<UserId, Error> {
    let digest = tokens.effective(state)?.digest();
    let before = state.memory.tokens().generation();
    let token = find_permitted(state, digest).await?;
    let terms = state.terms.clone();
    let is_known = token.accepted.as_ref().is_some_and(|accepted| Arc::ptr_eq(accepted, &terms));
    if !is_known && !terms.satisfied(&HashSet::new()) {
        let mxid = token.mxid.clone();
        let accepted = state.store.read(async move |conn| accepted_terms::list(conn, &mxid).await).await?;
        if !terms.satisfied(&accepted.into_iter().collect()) {
            return Err(Error::TermsNotSigned);
        }
        // Acceptance is never withdrawn, so it holds as long as these terms do.
        let token = CachedToken { accepted: Some(terms), ..token.clone() };
        state.memory.tokens().insert(before, digest, token);
    }
    Ok(token.mxid)
}

/// The request's token, for [`log_out`].
///
/// # Errors
/// [`Error::Unauthorized`] without a token, [`Error::UnknownToken`] with an unknown one.
pub async fn authenticate_for_logout(state: &State, tokens: &PresentedTokens) -> Result<KnownToken, Error> {
    let digest = tokens.effective(state)?.digest();
    find_token(state, digest).await?.map(|_| KnownToken(digest)).ok_or(Error::UnknownToken)
}

/// Deletes the token.
///
/// # Errors
/// [`Error::UnknownToken`] if another request has deleted it.
pub async fn log_out(state: &State, KnownToken(digest): KnownToken) -> Result<(), Error> {
    let now = state.clock.now();
    let deleted = state.store.write(async move |conn| tokens::delete(conn, &digest, now).await).await;
    let deleted = deleted.inspect_err(|error| state.memory.suspend_after(error))?;
    state.memory.tokens().remove(&[digest]);
    state.store.announce_changes().await;
    if deleted { Ok(()) } else { Err(Error::UnknownToken) }
}

/// The token of a user whom the operator has not excluded since the registration.
async fn find_permitted(state: &State, digest: TokenDigest) -> Result<CachedToken, Error> {
    let token = find_token(state, digest).await?.ok_or(Error::Unauthorized)?;
    if state.config.registration.denies(&token.mxid) { Err(Error::UserDenied) } else { Ok(token) }
}

async fn find_token(state: &State, digest: TokenDigest) -> Result<Option<CachedToken>, Error> {
    let cache = state.memory.tokens();
    let before = cache.generation();
    let token = match state.memory.find_token(&digest) {
        Some(token) => token,
        None => {
            let found = state.store.read(async move |conn| tokens::find(conn, &digest).await).await?;
            let Some(StoredToken { mxid, used_at }) = found else { return Ok(None) };
            let token = CachedToken { mxid, used_at, accepted: None };
            cache.insert(before, digest, token.clone());
            token
        }
    };
    let now = state.clock.now();
    if is_idle(token.used_at, now, state.config.auth.token_idle.get()) {
        return Ok(None);
    }
    if is_use_worth_noting(token.used_at, now) {
        state.store.write(async move |conn| tokens::save_used_at(conn, &digest, now).await).await?;
        cache.insert(before, digest, CachedToken { used_at: now, ..token.clone() });
    }
    Ok(Some(token))
}
