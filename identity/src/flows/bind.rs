//! The result of a validation session: read it, or publish it as a signed association.
//!
//! Invariant: an association is signed before it is remembered and remembered before it is told; whatever stops the
//! process, none is half published. The user's homeserver is told afterwards; nobody waits for it.

use serde_json::{Map, Value};
use shared::clock::Timestamp;

use crate::domain::association::Association;
use crate::domain::client_secret::ClientSecret;
use crate::domain::lookup_hash::LookupDigests;
use crate::domain::mxid::UserId;
use crate::domain::session::Session;
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::state::State;
use crate::store::{associations, onbinds, sessions};

/// The validated address of a session, and when it was validated. By the legacy API, which has no accounts, none asks.
///
/// # Errors
/// [`Error::NoValidSession`], [`Error::SessionExpired`], [`Error::SessionNotValidated`].
pub async fn validated(
    state: &State,
    sid: Sid,
    client_secret: &ClientSecret,
    account: Option<&UserId>,
) -> Result<(ThreePid, Timestamp), Error> {
    let found = state.store.read(async move |conn| sessions::find(conn, &sid).await).await?;
    usable(state, found, client_secret, account)
}

fn usable(
    state: &State,
    found: Option<Session>,
    client_secret: &ClientSecret,
    account: Option<&UserId>,
) -> Result<(ThreePid, Timestamp), Error> {
    let session = found.ok_or(Error::NoValidSession)?;
    let lifetime = state.config.sessions.lifetime.get();
    let validated_at = session.usable(client_secret, account, state.clock.now(), lifetime)?;
    Ok((session.threepid, validated_at))
}

/// Binds the session's address to `mxid`, in place of whoever had it, and gives the signed association.
///
/// # Errors
/// [`Error::ForeignUser`] if there is an account and `mxid` is another one, [`Error::Forbidden`] if its homeserver may
/// not, and those of [`validated`].
pub async fn bind(
    state: &State,
    sid: Sid,
    client_secret: &ClientSecret,
    mxid: UserId,
    account: Option<&UserId>,
) -> Result<Map<String, Value>, Error> {
    if account.is_some_and(|account| *account != mxid) {
        return Err(Error::ForeignUser);
    }
    let (server, allowed) = (mxid.server_name().as_str(), &state.config.bind.allow_servers);
    // Who has an account was let in when it was made.
    let is_let_in = account.is_some() || state.config.registration.access().permits(server);
    if !is_let_in || !allowed.is_empty() && !allowed.matches(server) {
        return Err(Error::Forbidden("Users of this homeserver cannot bind addresses here"));
    }
    let (threepid, _) = validated(state, sid.clone(), client_secret, account).await?;
    let association = Association::new(threepid, mxid, state.clock.now(), state.config.bind.validity.get());
    let digests = LookupDigests::of(&association.threepid, &state.pepper);
    let mut signed = association.to_json();
    state.keys.read().sign(&mut signed).map_err(|error| Error::Internal(error.to_string()))?;
    let (onbind_id, always_notify) = (state.random.base62(24), state.config.bind.always_notify);
    let saved = state.store.write(async move |conn| {
        // The session was looked at before the signature was made; if it is gone since, so is its proof.
        if sessions::find(conn, &sid).await?.is_none() {
            return Ok(None);
        }
        associations::save(conn, &association, &digests).await?;
        onbinds::queue(conn, &onbind_id, &association, always_notify).await.map(Some)
    });
    match saved.await? {
        None => return Err(Error::NoValidSession),
        Some(true) => state.onbind_queued.notify_one(),
        Some(false) => {}
    }
    Ok(signed)
}

/// The associations of the account that hold now.
///
/// # Errors
/// [`Error::Forbidden`] unless the operator allows it.
pub async fn list_own(state: &State, account: &UserId) -> Result<Vec<Association>, Error> {
    if !state.config.account.list_own_bindings {
        return Err(Error::Forbidden("This server does not list addresses"));
    }
    let (account, now) = (account.clone(), state.clock.now());
    let mut own = state.store.read(async move |conn| associations::list(conn, &account).await).await?;
    own.retain(|association| association.holds(now));
    Ok(own)
}
