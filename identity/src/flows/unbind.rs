//! Removes an association: for a client that validated the address, for the user's homeserver, or for the owner where the
//! operator allows it.
//!
//! Invariant: an association of another user is never removed. A request for an association that does not exist succeeds
//! and changes nothing.

use super::authenticate::{PresentedTokens, authenticate};
use super::authenticate_homeserver::{HomeserverSignature, XMatrixRequest, authenticate_homeserver};
use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::mail_delivery::owner_notice::OwnerNotice;
use crate::state::State;
use crate::store::{associations, onbinds, sessions};

/// A request to remove an association, with every proof that it carries.
pub struct UnbindRequest<'a> {
    /// The `sid` and `client_secret` of a validation session; first choice.
    pub session: Option<(Sid, ClientSecret)>,
    /// The request's `X-Matrix` headers; second choice.
    pub signed: Option<XMatrixRequest<'a>>,
    /// The access tokens; last choice. The legacy API has none.
    pub tokens: Option<&'a PresentedTokens>,
    /// The association. Its errors are reported after those of the signature, because homeservers read a 400 as "this
    /// server has no unbind" and forget the association.
    pub association: Result<(UserId, ThreePid), Error>,
}

/// Proof that the caller may remove the association in it. Only the three functions below create it.
struct Permission {
    mxid: UserId,
    threepid: ThreePid,
}

/// Removes the association, if it exists.
///
/// # Errors
/// [`Error::Forbidden`] or [`Error::Unauthorized`] if the proof does not suffice; the errors of
/// [`authenticate_homeserver`]; those of a session that is not usable.
pub async fn unbind(state: &State, request: UnbindRequest<'_>) -> Result<(), Error> {
    let UnbindRequest { session, signed, tokens, association } = request;
    let permission = match (session, signed) {
        (Some((sid, client_secret)), _) => permit_by_session(state, association?, sid, &client_secret).await?,
        (None, Some(signed)) => {
            let signature = authenticate_homeserver(state, &signed).await?;
            permit_by_signature(association?, &signature)?
        }
        (None, None) => permit_by_owner(state, association?, tokens).await?,
    };
    remove(state, permission).await
}

async fn permit_by_session(
    state: &State,
    (mxid, threepid): (UserId, ThreePid),
    sid: Sid,
    client_secret: &ClientSecret,
) -> Result<Permission, Error> {
    let found = state.store.read(async move |conn| sessions::find(conn, &sid).await).await?;
    let session = found.ok_or(Error::NoValidSession)?;
    // A validated address suffices, whichever account started the session.
    let starter = session.account.as_ref();
    session.usable(client_secret, starter, state.clock.now(), state.config.sessions.lifetime.get())?;
    if session.threepid != threepid {
        return Err(Error::Forbidden("The session is for another address"));
    }
    Ok(Permission { mxid, threepid })
}

fn permit_by_signature(
    (mxid, threepid): (UserId, ThreePid),
    signature: &HomeserverSignature,
) -> Result<Permission, Error> {
    if !signature.is_for(&mxid) {
        return Err(Error::Forbidden("The signature is for another user"));
    }
    Ok(Permission { mxid, threepid })
}

async fn permit_by_owner(
    state: &State,
    (mxid, threepid): (UserId, ThreePid),
    tokens: Option<&PresentedTokens>,
) -> Result<Permission, Error> {
    let owner = authenticate(state, tokens.ok_or(Error::Unauthorized)?).await?;
    if !state.config.unbind.allow_owner_token {
        return Err(Error::Forbidden("An access token does not suffice here: give sid and client_secret"));
    }
    if owner != mxid {
        return Err(Error::Forbidden("The access token is not that of mxid"));
    }
    Ok(Permission { mxid, threepid })
}

async fn remove(state: &State, Permission { mxid, threepid }: Permission) -> Result<(), Error> {
    let found = {
        let threepid = threepid.clone();
        state.store.read(async move |conn| associations::find(conn, &threepid).await).await?
    };
    // To the address as its owner typed it.
    let typed = found.as_ref().map_or(&threepid, |association| &association.threepid);
    let notify = state.config.unbind.notify_owner;
    let notice = notify.then(|| OwnerNotice::prepare(state, typed, &mxid, None));
    let now = state.clock.now();
    let removed = state.store.write(async move |conn| {
        let digests = associations::delete(conn, &threepid, &mxid, now).await?;
        onbinds::delete(conn, &threepid, &mxid).await?;
        let is_mailed = match &notice {
            Some(notice) if !digests.is_empty() && notice.charge(conn, now).await? => notice.queue(conn).await?,
            _ => false,
        };
        Ok::<_, Error>((digests, is_mailed))
    });
    let (digests, is_mailed) = removed.await.inspect_err(|error| state.memory.suspend_after(error))?;
    // A lookup after the response does not find the association.
    state.memory.refresh(&state.store, &digests).await;
    if is_mailed {
        state.mail_queued.notify_one();
    }
    Ok(())
}
