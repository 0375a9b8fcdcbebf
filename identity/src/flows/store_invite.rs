//! A homeserver invites an email address into a room.
//!
//! Invariant: a rejected request stores nothing, whether a rule of the operator or the relay rejects it. The private half
//! of an invite's key leaves the server only in the mail.

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::config::legacy_v1::Profile;
use crate::domain::backoff::NextAttempt;
use crate::domain::invite::{Invite, InviteToken, expires_at};
use crate::domain::invite_link::{signurl, web_client};
use crate::domain::invite_texts::{InviteTexts, WEB_CLIENT_LOCATION};
use crate::domain::invitee::{Invitee, NotInvitable};
use crate::domain::lease::mail_lease;
use crate::domain::lookup_hash::LookupDigest;
use crate::domain::mxid::UserId;
use crate::domain::redaction::{masked, redacted};
use crate::domain::room_id::RoomId;
use crate::domain::threepid::ThreePid;
use crate::error::Error;
use crate::limits::{self, Bucket, Caller, LimitKey};
use crate::mail_delivery::{self, Delivery, MAIL_LIFETIME, MailJob, invite_block};
use crate::notify::email::invitation::InvitationMail;
use crate::notify::templates::Audience;
use crate::signing::{SigningKey, encode_seed_url_safe};
use crate::state::State;
use crate::store::outgoing_mails;
use crate::store::{Connection, StoreError, associations, ephemeral_keys, invite_blocks, invites};

/// How long a homeserver needs to put an invite into its room after the response.
const ROOM_EVENT: Duration = Duration::from_secs(2);

/// Paths of the endpoint that signs a join; the mail's link has the one that is served.
const SIGN_BY_V1: &str = "/_matrix/identity/api/v1/sign-ed25519";
const SIGN_BY_V2: &str = "/_matrix/identity/v2/sign-ed25519";

/// The request of a homeserver.
pub struct InviteRequest {
    /// The caller; only an account proves the sender.
    pub caller: Caller,
    /// The inviting user.
    pub sender: UserId,
    /// The room.
    pub room_id: RoomId,
    /// The invited address.
    pub invitee: Invitee,
    /// The request's texts for the mail.
    pub texts: InviteTexts,
    /// The requested brand of the mail.
    pub brand: Option<String>,
    /// The requested language of the mail.
    pub lang: Option<String>,
    /// `Accept-Language` of the homeserver.
    pub accept_language: Option<String>,
}

/// The response, which the homeserver puts into the room's state.
pub struct StoredInvite {
    /// The invite's token.
    pub token: InviteToken,
    /// The server's own key, in standard base64.
    pub public_key: String,
    /// The invite's key, in URL-safe base64.
    pub ephemeral_public_key: String,
    /// The redacted address for the room's members.
    pub display_name: String,
}

/// Stores the invitation and sends its mail.
///
/// # Errors
/// In this order: [`Error::ForeignSender`], [`Error::InviteBlocked`], [`Error::LimitExceeded`],
/// [`Error::ThreepidInUse`], [`Error::UnknownMedium`], [`Error::InvalidEmail`], [`Error::EmailSend`]; nothing is stored
/// then.
pub async fn store_invite(state: Arc<State>, mut request: InviteRequest) -> Result<StoredInvite, Error> {
    let now = state.clock.now();
    request.texts = request.texts.with_lengths(state.config.invites.name_lengths());
    if request.caller.account().is_some_and(|account| *account != request.sender) {
        return Err(Error::ForeignSender);
    }
    // The legacy API has no account, whose user the authentication would have checked.
    if state.config.registration.denies(&request.sender) {
        return Err(Error::InviteBlocked);
    }
    let texts = request.texts.searched().chain(request.invitee.words());
    let named = [request.room_id.as_str(), request.sender.as_str()];
    if !state.config.invites.rules().permit(&request.sender, &request.room_id, texts.chain(named)) {
        return Err(Error::InviteBlocked);
    }
    check_limits_and_binding(&state, &request, now).await?;
    let threepid = recipient(&state, &request.invitee)?;

    let (invite, key) = draw(&state, &request, threepid, now)?;
    match insert(&state, &request, &invite, now).await? {
        Inserted::Whole => {
            let begin = state.clock.now();
            if let Err(error) = send(&state, &request, &invite, &key).await {
                // The homeserver gets neither token nor key, so the invite has no use.
                state.store.write(async move |conn| delete(conn, &invite).await).await?;
                return Err(error);
            }
            invite_block::remember_time(&state, begin);
            end_sending(&state, &invite).await?;
        }
        Inserted::KeyOnly => invite_block::pretend_to_send(&state).await,
    }
    let settings = &state.config.invites;
    let typed = invite.threepid.typed();
    Ok(StoredInvite {
        public_key: state.keys.current().public().encode(),
        ephemeral_public_key: key.public().encode_url_safe(),
        display_name: if settings.full_display_name { typed.to_owned() } else { redacted(typed, &settings.shown()) },
        token: invite.token,
    })
}

/// The checks before a write. The response reveals whether the address is bound, so it counts as a lookup.
async fn check_limits_and_binding(state: &State, request: &InviteRequest, now: Timestamp) -> Result<(), Error> {
    let (buckets, threepid) = (buckets(state, request), request.invitee.threepid().cloned());
    let checked = state.store.read(async move |conn| {
        for bucket in &buckets {
            limits::peek(conn, bucket, now).await?.into_result().map_err(Error::LimitExceeded)?;
        }
        match &threepid {
            Some(threepid) => Ok(bound_to(conn, threepid, now).await?),
            None => Ok::<_, Error>(None),
        }
    });
    let bound_to = checked.await?;
    if let Some(threepid) = request.invitee.threepid() {
        let peppers = state.memory.peppers_or_read(&state.store).await?;
        let pepper = &peppers.current().pepper;
        let digests = [LookupDigest::of(threepid.address().as_str(), threepid.medium(), pepper)];
        state.lookup_quota.charge(&state.store, request.caller.limit_key(), &digests, now).await?;
    }
    bound_to.map_or(Ok(()), |mxid| Err(Error::ThreepidInUse(mxid)))
}

async fn bound_to(conn: &mut Connection, threepid: &ThreePid, now: Timestamp) -> Result<Option<UserId>, StoreError> {
    let found = associations::find(conn, threepid).await?;
    Ok(found.filter(|association| association.is_valid(now)).map(|association| association.mxid))
}

fn buckets(state: &State, request: &InviteRequest) -> Vec<Bucket> {
    let settings = &state.config.limits;
    if !settings.enabled {
        return Vec::new();
    }
    let room = LimitKey::Room(&request.room_id, request.caller.account().map(UserId::server_name));
    let mut buckets = vec![
        Bucket::new("invite_per_room", settings.invite_per_room, room),
        Bucket::new("mail_global", settings.mail_global, LimitKey::Global),
    ];
    let caller = request.caller.limit_key();
    buckets.extend(Bucket::of_caller("invite_per_account", settings.invite_per_account, caller));
    // Without an account the homeserver is only claimed.
    if let Some(account) = request.caller.account() {
        let (limit, large) = (settings.invites_per_homeserver, &settings.large_homeservers);
        buckets.push(Bucket::of_homeserver("invites_per_homeserver", limit, account.server_name(), large));
    }
    if let Ok(threepid) = request.invitee.by_email() {
        let key = LimitKey::ThreePid(threepid);
        buckets.push(Bucket::new("invite_per_address", settings.invite_per_address, key));
    }
    buckets
}

/// The address of the mail.
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

/// What was inserted.
enum Inserted {
    /// The invite and its key.
    Whole,
    /// The key alone: the recipient has blocked the invite. The homeserver gets the same response, and the key is valid,
    /// so that the sender learns nothing. No mail is sent, and a later bind does not deliver the invite.
    KeyOnly,
}

/// Runs before the mail is sent: a bind during sending must find the invite.
async fn insert(state: &State, request: &InviteRequest, invite: &Invite, now: Timestamp) -> Result<Inserted, Error> {
    let (buckets, invite) = (buckets(state, request), invite.clone());
    let blocking = invite_block::digests(state, &invite);
    let sending_until = now.plus(mail_lease(state.config.email.timeout.get()));
    let inserted = state.store.write(async move |conn| {
        if let Some(mxid) = bound_to(conn, &invite.threepid, now).await? {
            return Err(Error::ThreepidInUse(mxid));
        }
        limits::charge(conn, &buckets, now).await?.into_result().map_err(Error::LimitExceeded)?;
        if let Some(public_key) = &invite.public_key {
            ephemeral_keys::insert(conn, public_key, now, invite.expires_at).await?;
        }
        if invite_blocks::exists(conn, &blocking).await? {
            return Ok(Inserted::KeyOnly);
        }
        invites::insert(conn, &invite).await?;
        invites::begin_sending(conn, &invite.id, sending_until).await?;
        Ok(Inserted::Whole)
    });
    inserted.await
}

/// Delays the onbind notification of a user who has bound the address meanwhile until the room contains the invite.
async fn end_sending(state: &State, invite: &Invite) -> Result<(), Error> {
    let (id, next) = (invite.id.clone(), NextAttempt::after(state.clock.now(), ROOM_EVENT));
    let is_taken = state.store.write(async move |conn| invites::end_sending(conn, &id, next).await).await?;
    if is_taken {
        state.onbind_queued.notify_one();
    }
    Ok(())
}

async fn delete(conn: &mut Connection, invite: &Invite) -> Result<(), StoreError> {
    invites::delete(conn, &invite.id).await?;
    match &invite.public_key {
        Some(public_key) => ephemeral_keys::delete(conn, public_key).await,
        None => Ok(()),
    }
}

/// Sends the mail, or queues it if the relay defers it. The invite stays valid even if the relay finally rejects a queued
/// mail: the room's state contains it by then, and a user who binds the address still receives it.
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
        subject: if request.texts.is_space() { &settings.subject_space } else { &settings.subject }.as_deref(),
        operator: state.templates.operator(),
        block_url: &invite_block::link(state, invite)?,
        masked_address: &masked(&invite.threepid, &settings.shown()),
        expires_in: invite.expires_at.map(|end| end.since(invite.created_at)),
        audience: Audience {
            brand: request.brand.as_deref(),
            lang: request.lang.as_deref(),
            accept_language: request.accept_language.as_deref(),
        },
    };
    let expires_at = state.clock.now().plus(MAIL_LIFETIME);
    let job = MailJob {
        // The invite's own id, so that a revocation also removes the queued mail.
        queue_id: invite.id.clone(),
        expires_at: invite.expires_at.map_or(expires_at, |end| end.min(expires_at)),
        log_id: &invite.id,
    };
    if let Delivery::Deferred(mail) = mail_delivery::send(state, &mail, job).await? {
        state.store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await?;
        state.mail_queued.notify_one();
    }
    Ok(())
}
