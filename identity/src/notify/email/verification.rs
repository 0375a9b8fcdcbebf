//! The mail that validates an address.

use std::net::IpAddr;
use std::time::Duration;

use super::message::MessageKind;
use super::{MailContent, Subject};
use crate::notify::templates::{Audience, Locale, Variables};

/// The content of a verification mail.
#[derive(Clone, Copy)]
pub struct VerificationMail<'a> {
    /// The recipient's address.
    pub to: &'a str,
    /// That address, redacted for strangers.
    pub masked_address: &'a str,
    /// The link that validates the address.
    pub link: &'a str,
    /// The token, for clients that ask for it.
    pub token: &'a str,
    /// The user who requests the validation, as shown; empty for the legacy API, which has no accounts.
    pub mxid: &'a str,
    /// The client's IP address, if known.
    pub client_address: Option<IpAddr>,
    /// How long the link is valid.
    pub expires_in: Duration,
    /// The requested brand and languages.
    pub audience: Audience<'a>,
}

impl MailContent for VerificationMail<'_> {
    const KIND: MessageKind = MessageKind::Verification;

    fn recipient(&self) -> &str {
        self.to
    }

    fn audience(&self) -> Audience<'_> {
        self.audience
    }

    fn subject(&self, locale: &Locale) -> Subject {
        Subject::BuiltIn(locale.word("verification-subject"))
    }

    fn variables(&self, locale: &Locale) -> Variables {
        let mut variables = Variables::default();
        variables.set("link", self.link);
        variables.set("token", self.token);
        variables.set("mxid", self.mxid);
        match self.client_address {
            Some(address) => variables.set("ipaddress", &address.to_string()),
            None => variables.set("ipaddress", &locale.word("unknown")),
        }
        variables.set("masked_address", self.masked_address);
        variables.set("duration", &locale.duration(self.expires_in));
        variables
    }
}
