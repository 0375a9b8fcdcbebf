//! Follows the link of a validation message, opened by a browser without an account.
//!
//! Invariant: a HEAD request validates nothing, because scanners of mail send it.

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
    /// The `nextLink` of the link itself; old messages have it.
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
    /// The page of a validated address.
    Verified,
    /// The form with which the user confirms the validation.
    Confirm(RawSubmission<'a>),
    /// Another site.
    Redirect(String),
}

/// Validates the session of the link, unless the user has to confirm first.
///
/// # Errors
/// Those of [`submit_token`], and those of the fields.
pub async fn follow_link<'a>(state: &State, link: FollowedLink<'a>) -> Result<NextPage<'a>, Error> {
    if link.is_head {
        return Ok(NextPage::Verified);
    }
    // Scanners open links in mails, but not in SMS.
    let needs_confirmation = link.medium == Medium::Email && state.config.email.confirm_click && !link.is_confirmed;
    // A link without all texts fails below.
    if let Some(raw) = link.raw.filter(|_| needs_confirmation) {
        return Ok(NextPage::Confirm(raw));
    }
    let submitted = link.submitted?;
    let sid: Sid = submitted.sid.clone();
    // The session's own link has precedence: the client set it together with its secret.
    let next_link = submit_token(state, submitted).await?.or(link.next_link);
    Ok(next_link.map_or(NextPage::Verified, |next_link| NextPage::Redirect(next_link.with_sid(&sid))))
}
