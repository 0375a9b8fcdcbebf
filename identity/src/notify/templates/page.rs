//! The pages of `GET submitToken`, which a browser shows after a click on the link in a message.
//!
//! Invariant: every failure shows the same page, so a wrong token looks like an unknown session.

use super::{Audience, TemplateKind, Templates, Variables};

/// A page of `GET submitToken`.
#[derive(Clone, Copy)]
pub enum Page<'a> {
    /// The token validated the session.
    Verified,
    /// The token validated the session; a button leads to the client's page.
    VerifiedWithButton {
        /// The host of the page.
        host: &'a str,
        /// The URL of the page.
        target: &'a str,
    },
    /// It did not, for any reason.
    Failed,
    /// This server failed; the link stays good.
    Unavailable,
    /// A form that repeats the request with `confirm=1`.
    Confirm {
        /// The session's id.
        sid: &'a str,
        /// The client's secret.
        client_secret: &'a str,
        /// The token.
        token: &'a str,
        /// The `nextLink` of an old link.
        next_link: Option<&'a str>,
    },
}

/// The values of the page of a validated session.
const VERIFIED: [(&str, &str); 3] = [
    ("heading", "Verified"),
    ("sign", "tick"),
    ("message", "Thank you, this is verified. You can close this page and return to your Matrix app."),
];

impl Templates {
    /// Renders the page as HTML in UTF-8. The page needs no script and no other resource, and works under
    /// `default-src 'none'; style-src 'unsafe-inline'`.
    ///
    /// The operator's template serves the two results. A page with a button is always the built-in one, because the
    /// operator's template has no place for it.
    pub fn page(&self, page: &Page<'_>, audience: &Audience<'_>) -> String {
        let mut variables = Variables::default();
        let mut set = |values: &[(&'static str, &str)]| {
            values.iter().for_each(|(name, value)| variables.set(name, value));
        };
        match page {
            Page::Verified => set(&VERIFIED),
            Page::VerifiedWithButton { host, target } => {
                set(&VERIFIED);
                set(&[("continue_host", host), ("continue_link", target)]);
                return self.built_in_page(&variables);
            }
            Page::Failed => set(&[
                ("heading", "Not verified"),
                ("sign", "warning"),
                (
                    "message",
                    "This link is not valid or no longer valid. Return to your Matrix app and request a new message.",
                ),
            ]),
            Page::Unavailable => set(&[
                ("heading", "Try again later"),
                ("sign", "warning"),
                (
                    "message",
                    "The server has a problem at the moment. Your link is still good: open it again in a few minutes.",
                ),
            ]),
            Page::Confirm { sid, client_secret, token, next_link } => {
                set(&[
                    ("heading", "Is this you?"),
                    ("message", "Confirm if you asked for this in your Matrix app. If you did not, close this page."),
                    ("form", "yes"),
                    ("sid", sid),
                    ("client_secret", client_secret),
                    ("token", token),
                ]);
                if let Some(next_link) = next_link {
                    set(&[("next_link", next_link)]);
                }
                if let Some(brand) = audience.brand {
                    set(&[("brand", brand)]);
                }
                if let Some(lang) = audience.lang {
                    set(&[("lang", lang)]);
                }
                return self.built_in_page(&variables);
            }
        }
        let own = self.render_own(TemplateKind::Page, &variables, audience).and_then(Result::ok);
        own.unwrap_or_else(|| self.built_in_page(&variables))
    }

    fn built_in_page(&self, variables: &Variables) -> String {
        // The tests render the built-in page in every form.
        self.render_built_in(TemplateKind::Page, variables).unwrap_or_default()
    }
}
