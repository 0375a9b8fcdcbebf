//! A client requests a validation token. [`email`] and [`sms`] compose and send it; a [`lease::SessionLease`] ensures
//! that one request sends one message.
//!
//! Invariant: a message counts as sent only once a relay, a provider or the mail queue has accepted it.

pub mod email;
mod lease;
pub mod sms;

use std::net::IpAddr;

use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::session::SendAttempt;
use crate::domain::threepid::ThreePid;
use crate::notify::templates::Audience;

/// The request of a client, for either medium.
pub struct TokenRequest {
    /// The account; none for the legacy API.
    pub account: Option<UserId>,
    /// The address to validate.
    pub threepid: ThreePid,
    /// The client secret.
    pub client_secret: ClientSecret,
    /// The request's number.
    pub send_attempt: SendAttempt,
    /// Where the browser is redirected after validation.
    pub next_link: Option<NextLink>,
    /// The client address, for limits and the mail's text.
    pub client: IpAddr,
    /// The requested brand of the message.
    pub brand: Option<String>,
    /// The requested language of the message.
    pub lang: Option<String>,
    /// `Accept-Language` of the client.
    pub accept_language: Option<String>,
}

impl TokenRequest {
    fn audience(&self) -> Audience<'_> {
        Audience {
            brand: self.brand.as_deref(),
            lang: self.lang.as_deref(),
            accept_language: self.accept_language.as_deref(),
        }
    }
}
