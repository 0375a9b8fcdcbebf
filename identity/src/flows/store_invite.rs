//! A homeserver asks for somebody to be invited into a room who is known to it by an e-mail address alone.
//!
//! Invariant: what is refused leaves nothing behind, whoever refuses it, the operator's rules or the relay; and the
//! private half of an invite's key leaves only in the mail.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::config::legacy_v1::Profile;
use crate::domain::invite::{Invite, InviteToken, expires_at};
use crate::domain::invite_link::{signurl, web_client};
use crate::domain::invite_texts::{InviteTexts, WEB_CLIENT_LOCATION};
use crate::domain::invitee::{Invitee, NotInvitable};
use crate::domain::mxid::UserId;
use crate::domain::redaction::redacted;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::limits::{self, Bucket, Caller, Counted, Verdict};
use crate::mail_delivery::{self, Delivery, MailJob};
use crate::notify::email::invitation::InvitationMail;
use crate::notify::templates::Audience;
use crate::signing::{SigningKey, encode_seed_url_safe};
use crate::state::State;
use crate::store::outgoing_mails;
use crate::store::{Connection, StoreError, associations, ephemeral_keys, invites};

/// How long a relay may put an invitation's mail off (RFC 5321 4.5.4.1: at least four to five days).
const GIVE_UP_AFTER: Duration = Duration::from_secs(5 * 86_400);

/// Where a browser has its join signed, by the routes that are served.
const SIGN_BY_V1: &str = "/_matrix/identity/api/v1/sign-ed25519";
const SIGN_BY_V2: &str = "/_matrix/identity/v2/sign-ed25519";

/// What a homeserver asks for.
pub struct InviteRequest {
    /// Who asks; without an account nobody shows who the sender is.
    pub caller: Caller,
    /// Who invites.
    pub sender: UserId,
    /// Where to.
    pub room_id: RoomId,
    /// Whom.
    pub invitee: Invitee,
    /// What else is said, for the mail.
    pub texts: InviteTexts,
    /// The brand of the mail, if one was asked for.
    pub brand: Option<String>,
    /// The language of the mail, if one was asked for.
    pub lang: Option<String>,
    /// `Accept-Language` of the homeserver.
    pub accept_language: Option<String>,
}

/// What the homeserver puts into the room.
pub struct StoredInvite {
    /// The invite's token.
    pub token: InviteToken,
    /// The server's own key, in standard base64.
    pub public_key: String,
    /// The invite's key, in URL-safe base64.
    pub ephemeral_public_key: String,
    /// The address as the room's members may see it.
    pub display_name: String,
}

/// Remembers the invitation and mails it.
///
/// # Errors
/// In this order: [`Error::ForeignSender`], [`Error::InviteBlocked`], [`Error::LimitExceeded`],
/// [`Error::ThreepidInUse`], [`Error::UnknownMedium`], [`Error::InvalidEmail`], [`Error::EmailSend`]; nothing is then
/// remembered.
pub async fn store_invite(state: Arc<State>, request: InviteRequest) -> Result<StoredInvite, Error> {
    let now = state.clock.now();
    if request.caller.account().is_some_and(|account| *account != request.sender) {
        return Err(Error::ForeignSender);
    }
    let texts = request.texts.searched().chain(request.invitee.words());
    let named = [request.room_id.as_str(), request.sender.as_str()];
    if !state.config.invites.rules().permit(&request.sender, &request.room_id, texts.chain(named)) {
        return Err(Error::InviteBlocked);
    }
    check_limits_and_binding(&state, &request, now).await?;
    let threepid = recipient(&state, &request.invitee)?;

    let (invite, key) = draw(&state, &request, threepid, now)?;
    insert(&state, &request, &invite, now).await?;
    if let Err(error) = send(&state, &request, &invite, &key).await {
        // The homeserver hears of no token and no key: they would wait for ever.
        state.store.write(async move |conn| delete(conn, &invite).await).await?;
        return Err(error);
    }
    let settings = &state.config.invites;
    let typed = invite.threepid.typed();
    Ok(StoredInvite {
        public_key: state.keys.read().current().public().encode(),
        ephemeral_public_key: key.public().encode_url_safe(),
        display_name: if settings.full_display_name {
            typed.to_owned()
        } else {
            redacted(typed, settings.show_local_chars, settings.show_domain_chars)
        },
        token: invite.token,
    })
}

/// What can be said before anything is made. Whether an address is bound is worth a lookup, and is counted as one.
async fn check_limits_and_binding(state: &State, request: &InviteRequest, now: Timestamp) -> Result<(), Error> {
    let (buckets, threepid) = (buckets(state, request), request.invitee.threepid().cloned());
    let peeked = state.store.read(async move |conn| {
        for bucket in &buckets {
            if let Verdict::Refused { retry_after } = limits::peek(conn, bucket, now).await? {
                return Ok(Err(retry_after));
            }
        }
        match &threepid {
            Some(threepid) => Ok(Ok(bound_to(conn, threepid, now).await?)),
            None => Ok(Ok(None)),
        }
    });
    let bound_to = peeked.await?.map_err(Error::LimitExceeded)?;
    if let Some(threepid) = request.invitee.threepid() {
        let entries = [threepid.address().as_str()];
        state.lookup_quota.charge(request.caller.counted(), &entries, now).map_err(Error::LimitExceeded)?;
    }
    bound_to.map_or(Ok(()), |mxid| Err(Error::ThreepidInUse(mxid)))
}

async fn bound_to(conn: &mut Connection, threepid: &ThreePid, now: Timestamp) -> Result<Option<UserId>, StoreError> {
    let found = associations::find(conn, threepid).await?;
    Ok(found.filter(|association| association.holds(now)).map(|association| association.mxid))
}

fn buckets(state: &State, request: &InviteRequest) -> Vec<Bucket> {
    let settings = &state.config.limits;
    if !settings.enabled {
        return Vec::new();
    }
    let mut buckets = vec![
        Bucket::new("invite_per_account", settings.invite_per_account, request.caller.counted()),
        Bucket::new("invite_per_room", settings.invite_per_room, Counted::Room(&request.room_id)),
        Bucket::new("mail_global", settings.mail_global, Counted::Everyone),
    ];
    if let Ok(threepid) = request.invitee.by_email() {
        let counted = Counted::ThreePid(threepid);
        buckets.push(Bucket::new("invite_per_address", settings.invite_per_address, counted));
    }
    buckets
}

/// Where the mail goes.
fn recipient<'a>(state: &State, invitee: &'a Invitee) -> Result<&'a ThreePid, Error> {
    let threepid = invitee.by_email().map_err(|error| match error {
        NotInvitable::Medium => Error::UnknownMedium,
        NotInvitable::Email => Error::InvalidEmail,
    })?;
    if !state.config.email.is_enabled() {
        return Err(Error::EmailSend);
    }
    if state.config.email.permits(threepid.recipient()) { Ok(threepid) } else { Err(Error::InvalidEmail) }
}

fn draw(
    state: &State,
    request: &InviteRequest,
    threepid: &ThreePid,
    now: Timestamp,
) -> Result<(Invite, SigningKey), Error> {
    let key = SigningKey::from_seed("0", &state.random.bytes()).map_err(|error| Error::Internal(error.to_string()))?;
    let invite = Invite {
        id: state.random.base62(24),
        threepid: threepid.clone(),
        room_id: request.room_id.clone(),
        sender: request.sender.clone(),
        token: InviteToken::draw(state.random),
        public_key: Some(*key.public().as_bytes()),
        created_at: now,
        expires_at: expires_at(now, state.config.invites.expire_after.get()),
        revoked_at: None,
        delivered_at: None,
        onbind_id: None,
    };
    Ok((invite, key))
}

enum Inserted {
    Yes,
    /// Somebody has bound the address in the meantime.
    Bound(UserId),
    Limited(Duration),
}

/// Before the mail goes out: whoever binds the address while it is being sent must find the invite.
async fn insert(state: &State, request: &InviteRequest, invite: &Invite, now: Timestamp) -> Result<(), Error> {
    let (buckets, invite) = (buckets(state, request), invite.clone());
    let inserted = state.store.write(async move |conn| {
        if let Some(mxid) = bound_to(conn, &invite.threepid, now).await? {
            return Ok(Inserted::Bound(mxid));
        }
        if let Verdict::Refused { retry_after } = limits::charge(conn, &buckets, now).await? {
            return Ok(Inserted::Limited(retry_after));
        }
        if let Some(public_key) = &invite.public_key {
            ephemeral_keys::insert(conn, public_key, now, invite.expires_at).await?;
        }
        invites::insert(conn, &invite).await?;
        Ok(Inserted::Yes)
    });
    match inserted.await? {
        Inserted::Yes => Ok(()),
        Inserted::Bound(mxid) => Err(Error::ThreepidInUse(mxid)),
        Inserted::Limited(retry_after) => Err(Error::LimitExceeded(retry_after)),
    }
}

async fn delete(conn: &mut Connection, invite: &Invite) -> Result<(), StoreError> {
    invites::delete(conn, &invite.id).await?;
    match &invite.public_key {
        Some(public_key) => ephemeral_keys::delete(conn, public_key).await,
        None => Ok(()),
    }
}

/// Sends the mail, or queues it if the relay defers it. The invite stays valid either way, and also if the relay refuses
/// a queued mail in the end: the homeserver has put it into the room, and a later bind of the address still delivers it.
async fn send(state: &State, request: &InviteRequest, invite: &Invite, key: &SigningKey) -> Result<(), Error> {
    let settings = &state.config.invites;
    let private_key = encode_seed_url_safe(&key.seed());
    let path = match state.config.legacy_v1.profile {
        Profile::Invites | Profile::Delegate | Profile::Full => SIGN_BY_V1,
        Profile::Off => SIGN_BY_V2,
    };
    let mail = InvitationMail {
        invite,
        is_sender_verified: request.caller.account().is_some(),
        texts: &request.texts,
        private_key: &private_key,
        signurl: &signurl(&state.identity.base_url, path, invite.token.as_str(), &private_key),
        web_client: web_client(
            &settings.web_client,
            settings.web_client_allowlist.as_slice(),
            request.texts.raw(WEB_CLIENT_LOCATION),
        ),
        base_url: &state.identity.base_url,
        subject: if request.texts.is_space() { &settings.subject_space } else { &settings.subject },
        audience: Audience {
            brand: request.brand.as_deref(),
            lang: request.lang.as_deref(),
            accept_language: request.accept_language.as_deref(),
        },
    };
    let give_up_at = state.clock.now().plus(GIVE_UP_AFTER);
    let job = MailJob {
        // The invite's own id, so that a revocation also removes the queued mail.
        queue_id: invite.id.clone(),
        expires_at: invite.expires_at.map_or(give_up_at, |end| end.min(give_up_at)),
        log_id: &invite.id,
    };
    if let Delivery::Deferred(mail) = mail_delivery::send(state, &mail, job).await? {
        state.store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await?;
        state.mail_queued.notify_one();
    }
    Ok(())
}
