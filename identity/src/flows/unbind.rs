//! An association is taken back: by whoever can prove the address anew, by the user's homeserver, or by its owner where
//! the operator allows.
//!
//! Invariant: an association of another user is never touched; asking for one that does not exist changes nothing and
//! is no error.

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::session::Unusable;
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::state::State;
use crate::store::{associations, onbinds, sessions};

/// How the caller shows that it may.
pub enum Proof {
    /// A validation session for the address, whoever started it.
    Session(Sid, ClientSecret),
    /// The signature of the user's homeserver, which [`super::authenticate_homeserver`] has found good for this very
    /// `mxid`.
    Homeserver,
    /// The owner's access token.
    Owner(UserId),
}

/// Removes the association of `threepid` to `mxid`, if there is one.
///
/// # Errors
/// [`Error::Forbidden`] if the proof is not enough, or those of a session that cannot be used.
pub async fn unbind(state: &State, threepid: ThreePid, mxid: UserId, proof: Proof) -> Result<(), Error> {
    match proof {
        Proof::Session(sid, client_secret) => check_session(state, sid, &client_secret, &threepid).await?,
        Proof::Owner(_) if !state.config.unbind.allow_owner_token => {
            return Err(Error::Forbidden("An access token does not suffice here: give sid and client_secret"));
        }
        Proof::Owner(owner) if owner != mxid => {
            return Err(Error::Forbidden("The access token is not that of mxid"));
        }
        Proof::Homeserver | Proof::Owner(_) => {}
    }
    let now = state.clock.now();
    let removed = state.store.write(async move |conn| {
        associations::delete(conn, &threepid, &mxid, now).await?;
        onbinds::cancel(conn, &threepid, &mxid).await
    });
    Ok(removed.await?)
}

async fn check_session(
    state: &State,
    sid: Sid,
    client_secret: &ClientSecret,
    threepid: &ThreePid,
) -> Result<(), Error> {
    let found = state.store.read(async move |conn| sessions::find(conn, &sid).await).await?;
    let session = found.ok_or(Error::NoValidSession)?;
    // Proving the address is enough, whichever account did it.
    let anyone = session.account.as_ref();
    match session.usable(client_secret, anyone, state.clock.now(), state.config.sessions.lifetime.get()) {
        Ok(_) if session.threepid == *threepid => Ok(()),
        Ok(_) => Err(Error::Forbidden("The session is for another address")),
        Err(Unusable::NotFound) => Err(Error::NoValidSession),
        Err(Unusable::Expired) => Err(Error::SessionExpired),
        Err(Unusable::NotValidated) => Err(Error::SessionNotValidated),
    }
}
