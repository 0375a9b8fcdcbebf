//! The mail that validates an address.

use std::net::IpAddr;

use super::MailContent;
use super::message::MessageKind;
use crate::notify::templates::{Audience, Variables};

/// The content of a verification mail.
#[derive(Clone, Copy)]
pub struct VerificationMail<'a> {
    /// The recipient's address.
    pub to: &'a str,
    /// The link that validates the address.
    pub link: &'a str,
    /// The token, for clients that ask for it.
    pub token: &'a str,
    /// The user who requests the validation, as shown; empty for the legacy API, which has no accounts.
    pub mxid: &'a str,
    /// The client's IP address, if known.
    pub client_address: Option<IpAddr>,
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

    fn variables(&self) -> Variables {
        let mut variables = Variables::default();
        variables.set("link", self.link);
        variables.set("token", self.token);
        variables.set("mxid", self.mxid);
        match self.client_address {
            Some(address) => variables.set("ipaddress", &address.to_string()),
            None => variables.set("ipaddress", "an unknown address"),
        }
        variables
    }
}
