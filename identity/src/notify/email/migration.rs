//! The mail to an address whose association with a user has ended.

use super::message::MessageKind;
use super::{MailContent, Subject};
use crate::notify::templates::{Audience, Locale, Variables};

/// The content of the mail.
#[derive(Clone, Copy)]
pub struct MigrationMail<'a> {
    /// The recipient's address.
    pub to: &'a str,
    /// That address, redacted for strangers.
    pub masked_address: &'a str,
    /// The former user, as shown.
    pub mxid: &'a str,
    /// The user who has validated and bound the address since, as shown; empty if there is none.
    pub new_mxid: &'a str,
    /// The brand and languages; the former owner made no request, so the defaults usually apply.
    pub audience: Audience<'a>,
}

impl MailContent for MigrationMail<'_> {
    const KIND: MessageKind = MessageKind::Migration;

    fn recipient(&self) -> &str {
        self.to
    }

    fn audience(&self) -> Audience<'_> {
        self.audience
    }

    fn subject(&self, locale: &Locale) -> Subject {
        Subject::BuiltIn(locale.word("migration-subject"))
    }

    fn variables(&self, _: &Locale) -> Variables {
        let mut variables = Variables::default();
        variables.set("mxid", self.mxid);
        variables.set("masked_address", self.masked_address);
        variables.set("new_mxid", self.new_mxid);
        variables
    }
}
