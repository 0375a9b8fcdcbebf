//! The pages that a browser shows after a click on the link in a message.
//!
//! Invariant: every failure of the link shows the same page, so a wrong token looks like an unknown session.

use std::time::Duration;

use super::{Audience, TemplateKind, Templates, Variables};

/// A page.
#[derive(Clone, Copy)]
pub enum Page<'a> {
    /// A form that repeats the request with `confirm=1`.
    Confirm {
        /// What the user confirms.
        subject: Subject<'a>,
        /// How long the link is still valid.
        expires_in: Duration,
        /// The parameters of the link.
        form: Form<'a>,
    },
    /// The token validated the session.
    Confirmed {
        /// What the user confirmed; none for a HEAD request.
        subject: Option<Subject<'a>>,
        /// The host and the URL of a button to the client's page.
        continue_to: Option<(&'a str, &'a str)>,
    },
    /// It did not, for any reason.
    Expired {
        /// How long a new link is valid.
        lifetime: Duration,
    },
    /// This server failed; the link stays good.
    Unavailable,
    /// A form that blocks invitations of one sender or all.
    Block {
        /// The invitation.
        invite: InviteLink<'a>,
        /// The token of the link, which the form repeats.
        token: &'a str,
    },
    /// Invitations are blocked.
    Blocked {
        /// The invitation.
        invite: InviteLink<'a>,
        /// Whether those of all senders are.
        is_all: bool,
    },
    /// The link in an invitation is not one of this server.
    BlockInvalid,
}

/// The invitation that a page is about.
#[derive(Clone, Copy)]
pub struct InviteLink<'a> {
    /// The invited address, redacted.
    pub masked_address: &'a str,
    /// The sender, as shown.
    pub sender: &'a str,
}

/// The address and the user that a page is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The address, redacted.
    pub masked_address: &'a str,
    /// The user, as shown; empty for the legacy API, which has no accounts.
    pub mxid: &'a str,
}

/// The parameters that the form repeats.
#[derive(Clone, Copy)]
pub struct Form<'a> {
    /// The session's id.
    pub sid: &'a str,
    /// The client's secret.
    pub client_secret: &'a str,
    /// The token.
    pub token: &'a str,
    /// The `nextLink` of an old link.
    pub next_link: Option<&'a str>,
}

impl Templates {
    /// Renders the page as HTML in UTF-8. The page needs no script and no other resource, and works under
    /// `default-src 'none'; style-src 'unsafe-inline'`.
    ///
    /// The operator's template serves the results. A page with a button is always the built-in one, because the operator's
    /// template has no place for it.
    pub fn page(&self, page: &Page<'_>, audience: &Audience<'_>) -> String {
        let mut variables = Variables::default();
        let mut set = |values: &[(&'static str, &str)]| {
            values.iter().for_each(|(name, value)| variables.set(name, value));
        };
        let locale = self.locale(audience);
        let is_built_in = match page {
            Page::Confirm { subject, expires_in, form } => {
                let Form { sid, client_secret, token, next_link } = *form;
                set(&[
                    ("page", "confirm"),
                    ("masked_address", subject.masked_address),
                    ("mxid", subject.mxid),
                    ("duration", &locale.duration(*expires_in)),
                    ("sid", sid),
                    ("client_secret", client_secret),
                    ("token", token),
                    ("next_link", next_link.unwrap_or_default()),
                    ("requested_brand", audience.brand.unwrap_or_default()),
                    ("requested_lang", audience.lang.unwrap_or_default()),
                ]);
                true
            }
            Page::Confirmed { subject, continue_to } => {
                let (continue_host, continue_link) = continue_to.unwrap_or_default();
                set(&[
                    ("page", "confirmed"),
                    ("message", &locale.word("page-confirmed-text")),
                    ("masked_address", subject.map(|subject| subject.masked_address).unwrap_or_default()),
                    ("mxid", subject.map(|subject| subject.mxid).unwrap_or_default()),
                    ("continue_host", continue_host),
                    ("continue_link", continue_link),
                ]);
                continue_to.is_some()
            }
            Page::Expired { lifetime } => {
                set(&[("page", "expired"), ("duration", &locale.duration(*lifetime))]);
                false
            }
            Page::Unavailable => {
                set(&[("page", "unavailable")]);
                false
            }
            Page::Block { invite, token } => {
                let InviteLink { masked_address, sender } = *invite;
                set(&[("page", "block"), ("masked_address", masked_address), ("sender", sender), ("token", token)]);
                set(&[("requested_lang", audience.lang.unwrap_or_default())]);
                true
            }
            // The operator's template is about confirmations.
            Page::Blocked { invite, is_all } => {
                let InviteLink { masked_address, sender } = *invite;
                let scope = if *is_all { "all" } else { "sender" };
                set(&[("page", "blocked"), ("masked_address", masked_address), ("sender", sender), ("scope", scope)]);
                true
            }
            Page::BlockInvalid => {
                set(&[("page", "block-invalid")]);
                true
            }
        };
        if matches!(page, Page::Expired { .. } | Page::Unavailable) {
            let name = variables.find("page").unwrap_or_default();
            let text = |part: &str| locale.text(&format!("page-{name}-{part}"), &variables).unwrap_or_default();
            let message = format!("{} – {}", text("title"), text("text"));
            variables.set("message", &message);
        }
        let own = (!is_built_in).then(|| self.render_own(TemplateKind::Page, &variables, audience)).flatten();
        // The tests render the built-in page in every form.
        own.and_then(Result::ok)
            .unwrap_or_else(|| self.render_built_in(TemplateKind::Page, &variables, audience).unwrap_or_default())
    }
}
