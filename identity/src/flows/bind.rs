//! The result of a validation session: read it, or publish it as a signed association.
//!
//! Invariant: an association is signed before it is saved, and saved with its onbind notification before it is returned;
//! a crash at any point leaves none half published. The request does not wait for the user's homeserver.

use serde_json::{Map, Value};
use shared::clock::Timestamp;

use crate::domain::association::Association;
use crate::domain::client_secret::ClientSecret;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::mail_delivery::owner_notice::OwnerNotice;
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
    // Registration has already checked the homeserver of an account, and the authentication its user.
    let registration = &state.config.registration;
    let may_register = account.is_some() || registration.access().permits(server) && !registration.denies(&mxid);
    if !may_register || !allowed.is_empty() && !allowed.matches(server) {
        return Err(Error::Forbidden("Users of this homeserver cannot bind addresses here"));
    }
    let (threepid, _) = validated(state, sid.clone(), client_secret, account).await?;
    let association = Association::new(threepid, mxid, state.clock.now(), state.config.bind.validity.get());
    let mut signed = sign(state, &association)?;
    loop {
        let binding = Binding::prepare(state, &sid, &association).await?;
        let saved = state.store.write(async move |conn| binding.save(conn).await).await;
        match saved.inspect_err(|error| state.memory.suspend_after(error))? {
            Saved::Bound { digests, is_notified, is_mailed } => {
                // A lookup after the response finds the association.
                state.memory.refresh(&state.store, &digests).await;
                if is_notified {
                    state.onbind_queued.notify_one();
                }
                if is_mailed {
                    state.mail_queued.notify_one();
                }
            }
            Saved::Unchanged(association) => signed = sign(state, &association)?,
            // The notice is for another owner; the next round prepares the right one.
            Saved::OwnerChanged => continue,
        }
        return Ok(signed);
    }
}

fn sign(state: &State, association: &Association) -> Result<Map<String, Value>, Error> {
    let mut signed = association.to_json();
    state.keys.sign(&mut signed).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(signed)
}

/// What a bind writes, prepared before its transaction.
#[derive(Clone)]
struct Binding {
    sid: Sid,
    association: Association,
    onbind_id: String,
    always_notify: bool,
    /// The other user whose association is replaced.
    former: Option<UserId>,
    /// The notice for the former user; none if the operator does not want it.
    notice: Option<OwnerNotice>,
    former_onbind_id: String,
}

/// The result of the transaction of a bind.
enum Saved {
    Bound {
        /// The digests whose associations have changed.
        digests: Vec<LookupDigest>,
        is_notified: bool,
        is_mailed: bool,
    },
    /// The same association was saved a moment ago, and no invitation waits for it.
    Unchanged(Association),
    /// The association that is replaced is not that of [`Binding::former`].
    OwnerChanged,
}

impl Binding {
    async fn prepare(state: &State, sid: &Sid, association: &Association) -> Result<Self, Error> {
        let threepid = association.threepid.clone();
        let found = state.store.read(async move |conn| associations::find(conn, &threepid).await).await?;
        let found = found.filter(|found| found.mxid != association.mxid);
        let notified = found.as_ref().filter(|_| state.config.bind.notify_old_owner);
        Ok(Self {
            sid: sid.clone(),
            association: association.clone(),
            onbind_id: state.random.base62(24),
            always_notify: state.config.bind.always_notify,
            notice: notified
                .map(|found| OwnerNotice::prepare(state, &found.threepid, &found.mxid, Some(&association.mxid))),
            former: found.map(|found| found.mxid),
            former_onbind_id: state.random.base62(24),
        })
    }

    /// Saves the association, and queues its onbind notification and the notices to the former owner.
    async fn save(&self, conn: &mut Connection) -> Result<Saved, Error> {
        let (association, now) = (&self.association, self.association.ts);
        // The session was read before the signature. If it was deleted since, the address is no longer proven.
        if sessions::find(conn, &self.sid).await?.is_none() {
            return Err(Error::NoValidSession);
        }
        let found = associations::find(conn, &association.threepid).await?;
        let former = found.as_ref().map(|found| &found.mxid).filter(|mxid| **mxid != association.mxid);
        if former != self.former.as_ref() {
            return Ok(Saved::OwnerChanged);
        }
        if let Some(found) = found
            && association.repeats(&found)
            && !onbinds::has_invites(conn, &association.threepid, now).await?
        {
            return Ok(Saved::Unchanged(found));
        }
        let digests = associations::save(conn, association, now).await?;
        let mut is_notified = onbinds::save(conn, &self.onbind_id, association, self.always_notify).await?;
        let mut is_mailed = false;
        if let (Some(former), Some(notice)) = (&self.former, &self.notice) {
            // The limit is for mails; the homeserver has one row, however often the address moves.
            is_mailed = notice.charge(conn, now).await? && notice.queue(conn).await?;
            // A homeserver that receives the association with its invitations needs no second request.
            if !is_notified || former.server_name() != association.mxid.server_name() {
                onbinds::save_for_former(conn, &self.former_onbind_id, association, former).await?;
                is_notified = true;
            }
        }
        Ok(Saved::Bound { digests, is_notified, is_mailed })
    }
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

    use super::{Binding, Error, Saved};
    use crate::domain::association::Association;
    use crate::domain::sid::Sid;
    use crate::store::sessions::session;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{associations, onbinds, sessions};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bind_fails_and_saves_nothing_if_its_session_was_deleted_meanwhile() {
        for store in stores().await {
            let association = Association::new(email("a@x.org"), user("@alice:hs"), START, Duration::from_secs(3600));
            let bind = async || {
                let binding = Binding {
                    sid: Sid::from("sid".to_owned()),
                    association: association.clone(),
                    onbind_id: "onbind".to_owned(),
                    always_notify: true,
                    former: None,
                    notice: None,
                    former_onbind_id: "former".to_owned(),
                };
                store.write(async move |conn| binding.save(conn).await).await
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
            assert!(matches!(bind().await.unwrap(), Saved::Bound { is_notified: true, is_mailed: false, .. }));
            assert!(matches!(bind().await.unwrap(), Saved::Unchanged(_)));
            assert_eq!(counts().await, (1, 1));
        }
    }
}
