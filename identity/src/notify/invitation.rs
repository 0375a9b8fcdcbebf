//! The mail that invites somebody into a room or a space.
//!
//! Invariant: the only link in it is one that was built here; every word of a stranger stands in it as text.

use shared::clock::Timestamp;
use shared::random::Random;

use super::message::{MessageKind, OutgoingMail};
use super::mime;
use super::templates::{Audience, MessageError, Templates, Variables};
use crate::domain::invite::Invite;
use crate::domain::invite_link::InviteLink;
use crate::domain::invite_texts::InviteTexts;

/// What an invitation's mail says.
#[derive(Clone, Copy)]
pub struct InvitationMail<'a> {
    /// Who invites whom where.
    pub invite: &'a Invite,
    /// Whether the sender has shown an access token; otherwise it is only said that they are the sender.
    pub is_sender_verified: bool,
    /// What else the homeserver says.
    pub texts: &'a InviteTexts,
    /// The private half of the invite's key, in URL-safe base64.
    pub private_key: &'a str,
    /// Where a client has the join signed.
    pub signurl: &'a str,
    /// The client that the link leads to, without a slash at the end.
    pub web_client: &'a str,
    /// The server's own URL.
    pub base_url: &'a str,
    /// The pattern of the subject.
    pub subject: &'a str,
    /// The brand and language that were asked for.
    pub audience: Audience<'a>,
}

impl Templates {
    /// The mail that invites.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn invitation(
        &self,
        mail: &InvitationMail<'_>,
        now: Timestamp,
        random: Random,
    ) -> Result<OutgoingMail, MessageError> {
        let InvitationMail { invite, texts, .. } = mail;
        let (room_name, sender_display_name) = (texts.room_name(), texts.sender_display_name());
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
        let in_brackets = |text: &str| if text.is_empty() { String::new() } else { format!("({text}) ") };
        variables.set("room_name", &room_name);
        variables.set("bracketed_room_name", &in_brackets(&room_name));
        variables.set("sender_display_name", &sender_display_name);
        variables.set("sender", invite.sender.as_str());
        let verified_sender = if mail.is_sender_verified { invite.sender.as_str() } else { "" };
        variables.set("bracketed_verified_sender", &in_brackets(verified_sender));
        variables.set("room_id", invite.room_id.as_str());
        variables.set("medium", invite.threepid.medium().as_str());
        variables.set("address", invite.threepid.address().as_str());
        variables.set("token", invite.token.as_str());
        variables.set("ephemeral_private_key", mail.private_key);
        variables.set("signurl", mail.signurl);
        variables.set("web_client_location", mail.web_client);
        variables.set("public_base_url", mail.base_url);
        variables.set("register_url", &format!("{}/#/register", mail.web_client));
        variables.set("subject_header_value", &mime::unfolded_words(&texts.subject(mail.subject, &invite.sender)));
        let link = InviteLink {
            web_client: mail.web_client,
            signurl: mail.signurl,
            room_id: invite.room_id.as_str(),
            email: invite.threepid.address().as_str(),
            room_name: &room_name,
            room_avatar_url: texts.raw("room_avatar_url"),
            inviter_name: &sender_display_name,
            guest_access_token: texts.raw("guest_access_token"),
            guest_user_id: texts.raw("guest_user_id"),
            room_type: texts.raw("room_type"),
        };
        variables.set("link", &link.to_url());
        self.mail(MessageKind::Invite, invite.threepid.recipient(), variables, &mail.audience, now, random)
    }
}

#[cfg(test)]
mod tests;
