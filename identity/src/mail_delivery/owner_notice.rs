//! The mail to an address whose association another user replaced or removed.
//!
//! Invariant: the row is inserted in the transaction that changes the association. A failure to compose the mail, or
//! too many of them to one address, never prevents the change.

use shared::clock::Timestamp;

use super::{MAIL_LIFETIME, MailJob, prepare};
use crate::domain::mxid::UserId;
use crate::domain::redaction::masked;
use crate::domain::threepid::{Medium, ThreePid};
use crate::limits::{self, Bucket, LimitKey, RateLimitDecision};
use crate::notify::email::migration::MigrationMail;
use crate::notify::templates::Audience;
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};
use crate::store::{Connection, StoreError};

/// The notices of one change of an association: a composed mail to the address, and whether there may be one.
#[derive(Clone)]
pub struct OwnerNotice {
    /// None for a telephone number, or if mail is disabled or cannot be composed.
    mail: Option<QueuedMail>,
    bucket: Option<Bucket>,
}

impl OwnerNotice {
    /// Composes the mail to `threepid`, which was associated with `former` and now is with `new_owner`, if with any
    /// user.
    pub fn prepare(state: &State, threepid: &ThreePid, former: &UserId, new_owner: Option<&UserId>) -> Self {
        let settings = &state.config.limits;
        // As many as there may be validation mails, without which an association does not change.
        let bucket = settings
            .enabled
            .then(|| Bucket::new("notice_per_address", settings.email_per_address, LimitKey::ThreePid(threepid)));
        if threepid.medium() != Medium::Email || !state.config.email.is_enabled() {
            return Self { mail: None, bucket };
        }
        let queue_id = state.random.base62(24);
        let (former, new_owner) = (former.shown(), new_owner.map(UserId::shown));
        let content = MigrationMail {
            to: threepid.recipient(),
            masked_address: &masked(threepid, &state.config.invites.shown()),
            mxid: &former,
            new_mxid: new_owner.as_deref().unwrap_or_default(),
            audience: Audience::default(),
        };
        let expires_at = state.clock.now().plus(MAIL_LIFETIME);
        let job = MailJob { queue_id: queue_id.clone(), expires_at, log_id: &queue_id };
        let mail = prepare(state, &content, job).inspect_err(|error| {
            tracing::error!(%error, "the notice to the owner of an address cannot be composed");
        });
        Self { mail: mail.ok(), bucket }
    }

    /// Counts a notice; false if the address had too many of them lately. Needs the transaction that changes the
    /// association.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn charge(&self, conn: &mut Connection, now: Timestamp) -> Result<bool, StoreError> {
        Ok(limits::charge(conn, self.bucket.as_slice(), now).await? == RateLimitDecision::Allowed)
    }

    /// Inserts the mail into the queue; false if there is none. Needs the transaction of [`OwnerNotice::charge`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn queue(&self, conn: &mut Connection) -> Result<bool, StoreError> {
        match &self.mail {
            Some(mail) => outgoing_mails::insert(conn, mail).await.map(|()| true),
            None => Ok(false),
        }
    }
}
