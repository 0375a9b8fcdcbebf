//! `[invites]`: invitations by address.
//!
//! Invariant: links in mails lead only to hosts that this section names.

use serde::Deserialize;
use shared::config::{ConfigError, Globs, HumanDuration, OneOrMany};
use url::Url;

use super::placeholders::placeholders_are_known;
use crate::domain::homeserver_group::homeserver_group;
use crate::domain::invite_link::bare_https_origin;
use crate::domain::invite_rules::InviteRules;
use crate::domain::invite_texts::{NameLengths, SUBJECT_PLACEHOLDERS};
use crate::domain::redaction::Shown;
use crate::domain::server_name::ServerName;

/// The section `[invites]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Invites {
    /// Patterns of user IDs that may invite; empty: all.
    pub allow_senders: Globs,
    /// Patterns of homeservers whose users may not invite.
    pub blocked_homeservers: Globs,
    /// Patterns of room IDs that allow no invitations.
    pub blocked_rooms: Globs,
    /// Words that reject an invitation, whatever their case.
    pub blocked_keywords: OneOrMany<String>,
    /// How many characters of the local part `display_name` shows at most.
    pub show_local_chars: usize,
    /// How many characters of the domain `display_name` shows at most.
    pub show_domain_chars: usize,
    /// Whether `display_name` shows the whole address.
    pub full_display_name: bool,
    /// How many characters of the sender's display name the mail shows at most.
    pub show_sender_name_chars: usize,
    /// How many characters of the room's name the mail shows at most.
    pub show_room_name_chars: usize,
    /// The subject of a mail with an invitation to a room; default: the built-in text in the language of the mail.
    pub subject: Option<String>,
    /// The subject of a mail with an invitation to a space.
    pub subject_space: Option<String>,
    /// The web client in links.
    pub web_client: String,
    /// Origins that a homeserver may choose instead of `web_client`.
    pub web_client_allowlist: OneOrMany<String>,
    /// Whether v2 `sign-ed25519` needs no account; [`super::Config::signs_without_account`] has the effective value.
    pub sign_without_account: bool,
    /// After this time a pending invitation expires; zero: never.
    pub expire_after: HumanDuration,
    /// After this time an invitation that still waits for a bind, or was revoked, is deleted; zero: never.
    pub keep_waiting: HumanDuration,
    /// Whether a delivered invitation stays in the database.
    pub keep_delivered: bool,
}

impl Default for Invites {
    fn default() -> Self {
        Self {
            allow_senders: Globs::default(),
            blocked_homeservers: Globs::default(),
            blocked_rooms: Globs::default(),
            blocked_keywords: OneOrMany::default(),
            show_local_chars: 3,
            show_domain_chars: 3,
            full_display_name: false,
            show_sender_name_chars: NameLengths::default().sender,
            show_room_name_chars: NameLengths::default().room,
            subject: None,
            subject_space: None,
            web_client: "https://app.element.io".to_owned(),
            web_client_allowlist: OneOrMany::default(),
            sign_without_account: false,
            expire_after: HumanDuration::from_secs(0),
            keep_waiting: HumanDuration::from_secs(90 * 86_400),
            keep_delivered: false,
        }
    }
}

impl Invites {
    pub fn rules(&self) -> InviteRules {
        InviteRules::new(
            self.allow_senders.clone(),
            self.blocked_homeservers.clone(),
            self.blocked_rooms.clone(),
            self.blocked_keywords.as_slice(),
        )
    }

    /// How much of an address `display_name`, mails and pages show.
    pub fn shown(&self) -> Shown {
        Shown { local: self.show_local_chars, domain: self.show_domain_chars }
    }

    pub fn name_lengths(&self) -> NameLengths {
        NameLengths { sender: self.show_sender_name_chars, room: self.show_room_name_chars }
    }

    /// The links of invitations lead to the web client with the key of the invitation. `own_host` is this server's.
    pub(super) fn notice(&self, own_host: Option<&str>) -> Option<String> {
        let own = ServerName::parse(own_host?).ok()?;
        let client = ServerName::parse(Url::parse(&self.web_client).ok()?.host_str()?).ok()?;
        (homeserver_group(&own) != homeserver_group(&client)).then(|| {
            format!(
                "[invites] web_client is {}, of another domain than [server] public_base_url: the links of your invitations \
                 lead there; set it to your own client if you have one",
                self.web_client
            )
        })
    }

    /// An empty word would be in every text, so it is ignored.
    pub(super) fn keyword_notice(&self) -> Option<String> {
        let has_empty = self.blocked_keywords.as_slice().iter().any(|word| word.trim().is_empty());
        has_empty.then(|| "[invites] blocked_keywords: an empty word blocks nothing; remove it".to_owned())
    }

    pub(super) fn check(&self, allow_http: bool) -> Result<(), ConfigError> {
        let url = Url::parse(&self.web_client).ok();
        let is_link = url.is_some_and(|url| {
            (url.scheme() == "https" || (allow_http && url.scheme() == "http"))
                && url.has_host()
                && (url.username(), url.password(), url.query(), url.fragment()) == ("", None, None, None)
        });
        if !is_link {
            let problem = "expected an https URL such as \"https://app.element.io\"";
            return Err(ConfigError::invalid("invites.web_client", problem));
        }
        if let Some(entry) = self
            .web_client_allowlist
            .as_slice()
            .iter()
            .find(|entry| bare_https_origin(entry).is_none() || entry.contains('*'))
        {
            let problem = format!("expected origins such as \"https://chat.example.org\", found \"{entry}\"");
            return Err(ConfigError::invalid("invites.web_client_allowlist", problem));
        }
        for (key, subject) in [("invites.subject", &self.subject), ("invites.subject_space", &self.subject_space)] {
            let Some(subject) = subject else { continue };
            if subject.trim().is_empty() || subject.chars().any(char::is_control) {
                return Err(ConfigError::invalid(key, "expected one line of text"));
            }
            placeholders_are_known(key, subject, &SUBJECT_PLACEHOLDERS)?;
        }
        for (key, length) in [
            ("invites.show_sender_name_chars", self.show_sender_name_chars),
            ("invites.show_room_name_chars", self.show_room_name_chars),
        ] {
            if !(1..=255).contains(&length) {
                return Err(ConfigError::invalid(key, format!("expected 1 to 255, found {length}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Invites;

    #[test]
    fn links_lead_to_https_and_the_allowlist_holds_bare_origins() {
        let check = |web_client: &str, listed: &[&str], allow_http| {
            let listed: Vec<String> = listed.iter().copied().map(str::to_owned).collect();
            let invites = Invites {
                web_client: web_client.to_owned(),
                web_client_allowlist: listed.into(),
                ..Invites::default()
            };
            invites.check(allow_http).map_err(|error| error.to_string())
        };
        let good = "https://app.element.io";
        for (web_client, listed, allow_http, problem) in [
            (good, &["https://a.example", "https://b.example:8443/"][..], false, None),
            ("https://example.org/element/", &[], false, None),
            ("http://127.0.0.1:8080", &[], true, None),
            ("http://127.0.0.1:8080", &[], false, Some("[invites] web_client: ")),
            ("javascript:alert(1)", &[], true, Some("[invites] web_client: ")),
            ("app.element.io", &[], true, Some("[invites] web_client: ")),
            ("https://x@app.element.io", &[], true, Some("[invites] web_client: ")),
            ("https://app.element.io/?x", &[], true, Some("[invites] web_client: ")),
            ("https://app.element.io/#/", &[], true, Some("[invites] web_client: ")),
            (good, &["http://a.example"], true, Some("[invites] web_client_allowlist: ")),
            (good, &["https://a.example", "https://b.example/x"], true, Some("found \"https://b.example/x\"")),
            (good, &["https://*.example"], true, Some("found \"https://*.example\"")),
            (good, &["*.example"], true, Some("[invites] web_client_allowlist: ")),
        ] {
            let result = check(web_client, listed, allow_http);
            match problem {
                None => assert_eq!(result, Ok(()), "{web_client} {listed:?}"),
                Some(problem) => assert!(result.unwrap_err().contains(problem), "{web_client} {listed:?}"),
            }
        }
        for subject in ["", " ", "a\nb"] {
            assert!(Invites { subject: Some(subject.to_owned()), ..Invites::default() }.check(false).is_err());
            assert!(Invites { subject_space: Some(subject.to_owned()), ..Invites::default() }.check(false).is_err());
        }
    }
}
