//! What a browser shows after a click on the link in a message.
//!
//! Invariant: one page for every failure; it does not tell a wrong token from an unknown session.

use super::templates::{Audience, Templates, Variables};

/// A page of `GET submitToken`.
#[derive(Clone, Copy)]
pub enum Page<'a> {
    /// The token was right.
    Verified,
    /// It was not, whatever the reason.
    Failed,
    /// A form that repeats the request with `confirm=1` and with what it came with.
    Confirm {
        /// The session's id.
        sid: &'a str,
        /// The client's secret.
        client_secret: &'a str,
        /// The token.
        token: &'a str,
    },
}

impl Templates {
    /// The page as HTML, in UTF-8. It needs no script and nothing from elsewhere, and works under
    /// `default-src 'none'; style-src 'unsafe-inline'`.
    ///
    /// The operator's template serves the two results; the form is always ours, for theirs has no place for one.
    pub fn page(&self, page: &Page<'_>, audience: &Audience<'_>) -> String {
        let mut variables = Variables::default();
        match page {
            Page::Verified => {
                variables.set("heading", "Verified");
                variables.set("sign", "tick");
                variables.set(
                    "message",
                    "Thank you, this is verified. You can close this page and return to your Matrix app.",
                );
            }
            Page::Failed => {
                variables.set("heading", "Not verified");
                variables.set("sign", "warning");
                variables.set(
                    "message",
                    "This link is not valid or no longer valid. Return to your Matrix app and ask for a new message.",
                );
            }
            Page::Confirm { sid, client_secret, token } => {
                variables.set("heading", "Is this you?");
                variables.set(
                    "message",
                    "Confirm if you asked for this in your Matrix app. If you did not, close this page.",
                );
                variables.set("form", "yes");
                variables.set("sid", sid);
                variables.set("client_secret", client_secret);
                variables.set("token", token);
                if let Some(brand) = audience.brand {
                    variables.set("brand", brand);
                }
                if let Some(lang) = audience.lang {
                    variables.set("lang", lang);
                }
                return self.built_in_page(&variables);
            }
        }
        self.own_page(&variables, audience).unwrap_or_else(|| self.built_in_page(&variables))
    }
}
