//! The mail that invites into a room or a space.
//!
//! Invariant: its only link is the one built here; every text from the inviting homeserver is inserted as text.

use std::time::Duration;

use url::Url;

use super::message::MessageKind;
use super::{MailContent, Subject};
use crate::domain::invite::Invite;
use crate::domain::invite_link::InviteLink;
use crate::domain::invite_texts::InviteTexts;
use crate::notify::templates::{Audience, Locale, Variables};

/// The content of an invitation mail.
#[derive(Clone, Copy)]
pub struct InvitationMail<'a> {
    /// The stored invite.
    pub invite: &'a Invite,
    /// Whether the sender authenticated with an access token. Without one the homeserver only claims the sender.
    pub is_sender_verified: bool,
    /// The homeserver's texts about the room and the sender.
    pub texts: &'a InviteTexts,
    /// The private half of the invite's key, in URL-safe base64.
    pub private_key: &'a str,
    /// The URL where a client has the join signed.
    pub signurl: &'a str,
    /// The web client of the link, without a slash at the end.
    pub web_client: &'a str,
    /// The server's public base URL.
    pub base_url: &'a str,
    /// The operator's pattern of the subject.
    pub subject: Option<&'a str>,
    /// The operator's name, for that pattern.
    pub operator: &'a str,
    /// The invited address, redacted for strangers.
    pub masked_address: &'a str,
    /// The link that blocks further invitations.
    pub block_url: &'a str,
    /// How long the invitation is valid, if it expires.
    pub expires_in: Option<Duration>,
    /// The requested brand and languages.
    pub audience: Audience<'a>,
}

impl MailContent for InvitationMail<'_> {
    const KIND: MessageKind = MessageKind::Invite;

    fn recipient(&self) -> &str {
        self.invite.threepid.recipient()
    }

    fn audience(&self) -> Audience<'_> {
        self.audience
    }

    fn subject(&self, locale: &Locale) -> Subject {
        if let Some(pattern) = self.subject {
            return Subject::Own(self.texts.subject(pattern, &self.invite.sender, self.operator));
        }
        let id = if self.texts.is_space() { "invite-subject-space" } else { "invite-subject-room" };
        let mut variables = Variables::default();
        variables.set("inviter", &self.texts.inviter(&self.invite.sender));
        Subject::BuiltIn(locale.text(id, &variables).unwrap_or_default())
    }

    fn variables(&self, locale: &Locale) -> Variables {
        let Self { invite, texts, .. } = self;
        let (room_name, sender_display_name) = (texts.room_name(), texts.sender_display_name());
        let in_brackets = |text: &str| if text.is_empty() { String::new() } else { format!("({text}) ") };
        let sender = invite.sender.shown();
        let verified_sender = if self.is_sender_verified { sender.as_str() } else { "" };
        let link = InviteLink {
            web_client: self.web_client,
            signurl: self.signurl,
            room_id: invite.room_id.as_str(),
            email: invite.threepid.address().as_str(),
            room_name: &room_name,
            room_avatar_url: texts.raw("room_avatar_url"),
            inviter_name: &sender_display_name,
            guest_access_token: texts.raw("guest_access_token"),
            guest_user_id: texts.raw("guest_user_id"),
            room_type: texts.raw("room_type"),
        };
        let mut variables = Variables::default();
        for name in [
            "room_alias",
            "room_avatar_url",
            "room_join_rules",
            "room_type",
            "sender_avatar_url",
            "guest_user_id",
            "guest_access_token",
        ] {
            variables.set(name, texts.raw(name));
        }
        for (name, value) in [
            ("room_name", room_name.as_str()),
            ("bracketed_room_name", &in_brackets(&room_name)),
            ("sender_display_name", &sender_display_name),
            ("sender", &sender),
            ("bracketed_verified_sender", &in_brackets(verified_sender)),
            ("room_id", invite.room_id.as_str()),
            ("medium", invite.threepid.medium().as_str()),
            ("address", invite.threepid.address().as_str()),
            ("token", invite.token.as_str()),
            ("ephemeral_private_key", self.private_key),
            ("signurl", self.signurl),
            ("web_client_location", self.web_client),
            ("public_base_url", self.base_url),
            ("register_url", &format!("{}/#/register", self.web_client)),
            ("web_client_host", &host(self.web_client)),
            ("masked_address", self.masked_address),
            ("block_url", self.block_url),
            ("duration", &self.expires_in.map(|expires_in| locale.duration(expires_in)).unwrap_or_default()),
            ("link", &link.to_url()),
        ] {
            variables.set(name, value);
        }
        match (sender_display_name.as_str(), verified_sender) {
            ("", _) => variables.set("inviter", &sender),
            (name, "") => variables.set("inviter", name),
            (name, verified) => variables.set_pair("inviter", name, verified),
        }
        variables
    }
}

/// The host of a link, for people.
fn host(link: &str) -> String {
    let url = Url::parse(link).ok();
    url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| link.to_owned())
}

#[cfg(test)]
mod tests;
