//! The result of a validation session: read it, or publish it as a signed association.
//!
//! Invariant: an association is signed before it is saved, and saved with its onbind notification before it is returned;
//! a crash at any point leaves none half published. The request does not wait for the user's homeserver.

use serde_json::{Map, Value};
use shared::clock::Timestamp;

use crate::domain::association::Association;
use crate::domain::client_secret::ClientSecret;
use crate::domain::lookup_hash::LookupDigests;
use crate::domain::mxid::UserId;
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::state::State;
use crate::store::{Connection, associations, onbinds, sessions};

/// The validated address of a session, and when it was validated. Callers of the legacy API have no `account`.
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
    let session = found.ok_or(Error::NoValidSession)?;
    let lifetime = state.config.sessions.lifetime.get();
    let validated_at = session.usable(client_secret, account, state.clock.now(), lifetime)?;
    Ok((session.threepid, validated_at))
}

/// Binds the session's address to `mxid`, replaces a previous association, and returns the signed one.
///
/// # Errors
/// [`Error::ForeignUser`] if `mxid` is not the account, [`Error::Forbidden`] if its homeserver is not allowed, and those of
/// [`validated`].
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
    // Registration has already checked the homeserver of an account.
    let may_register = account.is_some() || state.config.registration.access().permits(server);
    if !may_register || !allowed.is_empty() && !allowed.matches(server) {
        return Err(Error::Forbidden("Users of this homeserver cannot bind addresses here"));
    }
    let (threepid, _) = validated(state, sid.clone(), client_secret, account).await?;
    let association = Association::new(threepid, mxid, state.clock.now(), state.config.bind.validity.get());
    let digests = LookupDigests::of(&association.threepid, &state.pepper);
    let mut signed = association.to_json();
    state.keys.load().sign(&mut signed).map_err(|error| Error::Internal(error.to_string()))?;
    let (onbind_id, always_notify) = (state.random.base62(24), state.config.bind.always_notify);
    let saved =
        state.store.write(async move |conn| save(conn, &sid, &association, &digests, &onbind_id, always_notify).await);
    if saved.await? {
        state.onbind_queued.notify_one();
    }
    Ok(signed)
}

/// Saves the association and queues its onbind notification; false if there is no notification to send.
async fn save(
    conn: &mut Connection,
    sid: &Sid,
    association: &Association,
    digests: &LookupDigests,
    onbind_id: &str,
    always_notify: bool,
) -> Result<bool, Error> {
    // The session was read before the signature. If it was deleted since, the address is no longer proven.
    if sessions::find(conn, sid).await?.is_none() {
        return Err(Error::NoValidSession);
    }
    associations::save(conn, association, digests).await?;
    Ok(onbinds::save(conn, onbind_id, association, always_notify).await?)
}

/// The valid associations of the account.
///
/// # Errors
/// [`Error::Forbidden`] unless the operator allows it.
pub async fn list_own(state: &State, account: &UserId) -> Result<Vec<Association>, Error> {
    if !state.config.account.list_own_bindings {
        return Err(Error::Forbidden("This server does not list addresses"));
    }
    let (account, now) = (account.clone(), state.clock.now());
    let mut own = state.store.read(async move |conn| associations::list(conn, &account).await).await?;
    own.retain(|association| association.is_valid(now));
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Error, save};
    use crate::domain::association::Association;
    use crate::domain::lookup_hash::{LookupDigests, Pepper};
    use crate::domain::sid::Sid;
    use crate::store::sessions::session;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{associations, onbinds, sessions};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bind_fails_and_saves_nothing_if_its_session_was_deleted_meanwhile() {
        for store in stores().await {
            let association = Association::new(email("a@x.org"), user("@alice:hs"), START, Duration::from_secs(3600));
            let digests = LookupDigests::of(&association.threepid, &Pepper::parse("matrixrocks").unwrap());
            let bind = async || {
                let (sid, association) = (Sid::from("sid".to_owned()), association.clone());
                store.write(async move |conn| save(conn, &sid, &association, &digests, "onbind", true).await).await
            };
            let counts = async || {
                let counts = store.read(async |conn| {
                    Ok::<_, Error>((associations::count(conn).await?, onbinds::listing::count(conn).await?.0))
                });
                counts.await.unwrap()
            };
            assert!(matches!(bind().await, Err(Error::NoValidSession)));
            assert_eq!(counts().await, (0, 0));

            let session = session("sid");
            store.write(async move |conn| sessions::save(conn, &session).await).await.unwrap();
            assert!(bind().await.unwrap());
            assert_eq!(counts().await, (1, 1));
        }
    }
}
