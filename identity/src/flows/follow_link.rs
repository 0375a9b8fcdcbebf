//! Follows the link of a validation message, opened by a browser without an account.
//!
//! Invariant: a HEAD request validates nothing, and by default a GET without confirmation does not either, because
//! scanners of mail send both.

use std::time::Duration;

use super::submit_token::{SubmittedToken, preview, submit_token};
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::redaction::masked;
use crate::domain::sid::Sid;
use crate::domain::threepid::{Medium, ThreePid};
use crate::error::Error;
use crate::state::State;

/// A link that a browser opened.
pub struct FollowedLink<'a> {
    /// The medium of the endpoint.
    pub medium: Medium,
    /// Whether the request is a HEAD.
    pub is_head: bool,
    /// Whether the user has confirmed the validation on the page.
    pub is_confirmed: bool,
    /// The texts of the submission, if none is missing.
    pub raw: Option<RawSubmission<'a>>,
    /// The parsed submission.
    pub submitted: Result<SubmittedToken, Error>,
    /// The `nextLink` of the link itself, checked; old messages have it.
    pub next_link: Option<NextLink>,
}

/// The texts of a submission as the link has them, for the form that repeats them.
#[derive(Clone, Copy)]
pub struct RawSubmission<'a> {
    pub sid: &'a str,
    pub client_secret: &'a str,
    pub token: &'a str,
}

/// What the browser shows next.
pub enum NextPage<'a> {
    /// The page of a validated address, with a button for the client's page if there is one. A HEAD request validates
    /// nothing and learns nothing of the address.
    Verified(Option<Concerned>, Option<ContinueButton>),
    /// The form with which the user confirms the validation.
    Confirm(Confirmation<'a>),
    /// Another site.
    Redirect(String),
}

/// The address and the user that a link is about, for a page that others may see.
pub struct Concerned {
    /// The address, redacted.
    pub masked_address: String,
    /// The user, as shown; empty for the legacy API.
    pub mxid: String,
}

impl Concerned {
    fn new(state: &State, threepid: &ThreePid, account: Option<&UserId>) -> Self {
        Self {
            masked_address: masked(threepid, &state.config.invites.shown()),
            mxid: account.map(UserId::shown).unwrap_or_default(),
        }
    }
}

/// What the form repeats and shows.
pub struct Confirmation<'a> {
    pub raw: RawSubmission<'a>,
    /// The `nextLink` of the link.
    pub next_link: Option<NextLink>,
    pub concerned: Concerned,
    /// How long the link is still valid.
    pub expires_in: Duration,
}

/// The button that leads to a client's page.
pub struct ContinueButton {
    /// The host that the button names.
    pub host: String,
    /// The checked URL of the page.
    pub target: String,
}

/// Validates the session of the link, unless the user has to confirm first.
///
/// # Errors
/// Those of [`submit_token`], and those of the fields; before the form too, so that no form leads to a failure that is
/// already certain.
pub async fn follow_link<'a>(state: &State, link: FollowedLink<'a>) -> Result<NextPage<'a>, Error> {
    if link.is_head {
        return Ok(NextPage::Verified(None, None));
    }
    let submitted = link.submitted?;
    // Scanners open links in mails, but not in SMS.
    let needs_confirmation = link.medium == Medium::Email && state.config.email.confirm_click && !link.is_confirmed;
    if let Some(raw) = link.raw.filter(|_| needs_confirmation) {
        let session = preview(state, &submitted).await?;
        return Ok(NextPage::Confirm(Confirmation {
            raw,
            next_link: link.next_link,
            concerned: Concerned::new(state, &session.threepid, session.account.as_ref()),
            expires_in: session.expires_at(state.config.sessions.lifetime.get()).since(state.clock.now()),
        }));
    }
    let sid: Sid = submitted.sid.clone();
    // The rule may have changed since the client set the link.
    let rule = state.config.next_link_rule();
    let validated = submit_token(state, submitted).await?;
    let concerned = Concerned::new(state, &validated.threepid, validated.account.as_ref());
    let stored = validated.next_link.and_then(|next_link| rule.check(next_link.as_str()).ok().flatten());
    // The session's own link has precedence: the client set it together with its secret.
    Ok(match stored.or(link.next_link) {
        None => NextPage::Verified(Some(concerned), None),
        Some(next_link) if rule.redirects() => NextPage::Redirect(next_link.with_sid(&sid)),
        Some(next_link) => {
            let button = ContinueButton { host: next_link.host(), target: next_link.with_sid(&sid) };
            NextPage::Verified(Some(concerned), Some(button))
        }
    })
}
