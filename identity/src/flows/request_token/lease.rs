//! The lease of a validation session: the right to send its message, from the decision to send until the result is saved.
//!
//! Invariant: of equal requests at the same time one gets the lease, across all processes, and one message is sent.

use std::time::Duration;

use shared::clock::Timestamp;

use super::TokenRequest;
use crate::domain::session::{ClientSecretDigest, SendDecision, Sending, Session};
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::{ChargeDecision, Charges};
use crate::signing_keys::SigningKeys;
use crate::state::State;
use crate::store::outgoing_mails::{self, QueuedMail};
use crate::store::sessions;

/// What a medium needs for its message, decided before the lease is acquired.
pub(super) struct PlannedMessage {
    /// The token, if a new session starts.
    pub(super) token: String,
    /// The lease that outlasts its sending.
    pub(super) lease: Duration,
    /// The limits to charge.
    pub(super) charges: Charges,
}

/// A message that was accepted for delivery.
pub(super) enum Sent {
    /// By the relay or an SMS provider.
    Delivered,
    /// By this server: the relay has deferred the mail.
    Queued(QueuedMail),
}

/// A message that was not sent, or may not have been.
pub(super) struct NotSent {
    /// The response to the client.
    pub(super) error: Error,
    /// The charges to give back, if the message was certainly not sent.
    pub(super) refund: Option<Charges>,
}

impl From<Error> for NotSent {
    fn from(error: Error) -> Self {
        Self { error, refund: None }
    }
}

/// The result of acquiring a lease.
#[expect(clippy::large_enum_variant, reason = "it lives for one request; a box would cost an allocation for each")]
pub(super) enum Acquired {
    /// A message is due.
    Lease(SessionLease),
    /// The message of this request was sent, or is being sent.
    NothingToSend(Sid),
    /// The process that was sending an SMS for this request ended before its result; it may have sent it. The next
    /// request sends another one.
    Interrupted,
}

/// The lease of a session's message.
pub(super) struct SessionLease {
    session: Session,
    sending: Sending,
}

impl SessionLease {
    /// Finds or starts the session, and acquires its lease if `send_attempt` has increased.
    ///
    /// # Errors
    /// [`Error::LimitExceeded`] or [`Error::SmsSpentForToday`] if a message is due but exceeds a limit; nothing is charged
    /// then.
    pub(super) async fn acquire(
        state: &State,
        request: &TokenRequest,
        message: PlannedMessage,
        now: Timestamp,
    ) -> Result<Acquired, Error> {
        let PlannedMessage { token, lease, charges } = message;
        let fresh = new_session(state, request, &token, now)?;
        let rules = state.config.sessions.rules();
        let sending = Sending { attempt: request.send_attempt, until: now.plus(lease) };
        let next_link = request.next_link.clone();
        let keys = state.keys.clone();
        let acquired = state.store.write(async move |conn| {
            let found =
                sessions::find_newest(conn, &fresh.threepid, fresh.client_secret, fresh.account.as_ref()).await?;
            let decision = match Session::send_decision(found.as_ref(), sending.attempt, now, &rules) {
                // After the loss of the signing key, or with a restored backup, nothing can send this session's token.
                SendDecision::Send if !found.as_ref().is_some_and(|session| can_open(&keys, session)) => {
                    SendDecision::StartSession
                }
                decision => decision,
            };
            let mut session = match (decision, found) {
                (SendDecision::Send | SendDecision::Skip | SendDecision::Unclear, Some(found)) => found,
                _ => fresh,
            };
            if next_link.is_some() {
                session.next_link = next_link;
            }
            if decision == SendDecision::Skip {
                sessions::save(conn, &session).await?;
                return Ok(Acquired::NothingToSend(session.sid));
            }
            if decision == SendDecision::Unclear {
                session.sending = None;
                sessions::save(conn, &session).await?;
                return Ok(Acquired::Interrupted);
            }
            match charges.charge(conn, now).await? {
                ChargeDecision::Charged => {}
                ChargeDecision::Limited(retry_after) => return Err(Error::LimitExceeded(retry_after)),
                ChargeDecision::Spent => return Err(Error::SmsSpentForToday),
            }
            session.sending = Some(sending);
            sessions::save(conn, &session).await?;
            Ok(Acquired::Lease(Self { session, sending }))
        });
        acquired.await
    }

    /// The session to send a message for.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Decrypts the session's token, which is the same in all its messages.
    pub(super) fn token(&self, state: &State) -> Result<String, Error> {
        let Session { sid, sealed_token, .. } = &self.session;
        let token = state.keys.sealing().open(sealed_token, sid.as_str().as_bytes())?;
        std::str::from_utf8(&token)
            .map(str::to_owned)
            .map_err(|_| Error::Internal("a sealed token is not UTF-8".to_owned()))
    }

    /// Ends the lease with the result of sending: records the message as sent, or permits the next request to send one.
    pub(super) async fn end(self, state: &State, result: Result<Sent, NotSent>) -> Result<Sid, Error> {
        match result {
            Ok(sent) => self.finish(state, sent).await,
            Err(NotSent { error, refund }) => {
                self.release(state, refund).await?;
                Err(error)
            }
        }
    }

    /// Without its lease the result is that of another worker: a mail is not queued then, because that worker sends it.
    /// The attempt is still recorded if no other worker is sending.
    async fn finish(self, state: &State, sent: Sent) -> Result<Sid, Error> {
        let queued = match sent {
            Sent::Delivered => None,
            Sent::Queued(mail) => Some(mail),
        };
        let (sid, sending) = (self.session.sid.clone(), self.sending);
        let is_queued = state
            .store
            .write(async move |conn| {
                let Some(mut session) = sessions::find(conn, &sid).await? else { return Ok(false) };
                let is_own = session.sending == Some(sending);
                if !is_own && session.sending.is_some() {
                    return Ok(false);
                }
                if let Some(mail) = queued.as_ref().filter(|_| is_own) {
                    outgoing_mails::insert(conn, mail).await?;
                }
                session.end_sending(sending);
                session.send_attempt = session.send_attempt.max(Some(sending.attempt));
                sessions::save(conn, &session).await?;
                Ok::<_, Error>(is_own && queued.is_some())
            })
            .await?;
        if is_queued {
            state.mail_queued.notify_one();
        }
        self.count("sent");
        Ok(self.session.sid)
    }

    async fn release(&self, state: &State, refund: Option<Charges>) -> Result<(), Error> {
        let (sid, sending, now) = (self.session.sid.clone(), self.sending, state.clock.now());
        state
            .store
            .write(async move |conn| {
                if let Some(charges) = &refund {
                    charges.give_back(conn, now).await?;
                }
                if let Some(mut session) = sessions::find(conn, &sid).await? {
                    session.end_sending(sending);
                    sessions::save(conn, &session).await?;
                }
                Ok::<_, Error>(())
            })
            .await?;
        self.count("refused");
        Ok(())
    }

    fn count(&self, event: &'static str) {
        let medium = self.session.threepid.medium().as_str();
        metrics::counter!("identity_sessions_total", "medium" => medium, "event" => event).increment(1);
    }
}

/// Whether the session's token can be sent.
fn can_open(keys: &SigningKeys, session: &Session) -> bool {
    let opened = keys.sealing().open(&session.sealed_token, session.sid.as_str().as_bytes());
    if let Err(error) = &opened {
        tracing::warn!(sid = session.sid.as_str(), %error, "a new session replaces one whose token cannot be read");
    }
    opened.is_ok()
}

fn new_session(state: &State, request: &TokenRequest, token: &str, now: Timestamp) -> Result<Session, Error> {
    let sid = Sid::draw(state.random);
    Ok(Session {
        sealed_token: state.keys.sealing().seal(token.as_bytes(), sid.as_str().as_bytes(), state.random)?,
        sid,
        threepid: request.threepid.clone(),
        client_secret: ClientSecretDigest::of(&request.client_secret, &request.threepid),
        account: request.account.clone(),
        created_at: now,
        validated_at: None,
        send_attempt: None,
        sending: None,
        wrong_tokens: 0,
        next_link: None,
    })
}
