//! Follows the link of a validation message, opened by a browser without an account.
//!
//! Invariant: a HEAD request validates nothing, and by default a GET without confirmation does not either, because
//! scanners of mail send both.

use super::submit_token::{SubmittedToken, submit_token};
use crate::domain::next_link::NextLink;
use crate::domain::sid::Sid;
use crate::domain::threepid::Medium;
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
    /// The page of a validated address, with a button for the client's page if there is one.
    Verified(Option<ContinueButton>),
    /// The form with which the user confirms the validation. It keeps the `nextLink` of the link.
    Confirm(RawSubmission<'a>, Option<NextLink>),
    /// Another site.
    Redirect(String),
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
/// Those of [`submit_token`], and those of the fields.
pub async fn follow_link<'a>(state: &State, link: FollowedLink<'a>) -> Result<NextPage<'a>, Error> {
    if link.is_head {
        return Ok(NextPage::Verified(None));
    }
    // Scanners open links in mails, but not in SMS.
    let needs_confirmation = link.medium == Medium::Email && state.config.email.confirm_click && !link.is_confirmed;
    // A link without all texts fails below.
    if let Some(raw) = link.raw.filter(|_| needs_confirmation) {
        return Ok(NextPage::Confirm(raw, link.next_link));
    }
    let submitted = link.submitted?;
    let sid: Sid = submitted.sid.clone();
    // The rule may have changed since the client set the link.
    let rule = state.config.next_link_rule();
    let stored = submit_token(state, submitted).await?;
    let stored = stored.and_then(|next_link| rule.check(next_link.as_str()).ok().flatten());
    // The session's own link has precedence: the client set it together with its secret.
    Ok(match stored.or(link.next_link) {
        None => NextPage::Verified(None),
        Some(next_link) if rule.redirects() => NextPage::Redirect(next_link.with_sid(&sid)),
        Some(next_link) => {
            NextPage::Verified(Some(ContinueButton { host: next_link.host(), target: next_link.with_sid(&sid) }))
        }
    })
}
