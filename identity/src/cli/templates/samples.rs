//! Sample mails, messages and pages, for `identity templates preview`.
//!
//! Invariant: a sample takes the path of a real message, from its values to the finished text.

use std::path::Path;
use std::time::Duration;

use shared::clock::Clock;
use shared::random::Random;

use crate::config::Config;
use crate::domain::invite::{Invite, InviteToken};
use crate::domain::invite_texts::InviteTexts;
use crate::domain::mxid::UserId;
use crate::domain::redaction::masked;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::notify::email::invitation::InvitationMail;
use crate::notify::email::migration::MigrationMail;
use crate::notify::email::verification::VerificationMail;
use crate::notify::email::{MailContent, Mailer};
use crate::notify::templates::page::{Form, InviteLink, Page, Subject};
use crate::notify::templates::{Audience, Templates};

const MAILS: [&str; 6] =
    ["verification", "verification-v1", "invite", "invite-space", "migration-moved", "migration-removed"];
const SMS: &str = "sms";
const DAY: Duration = Duration::from_secs(86_400);
const ADDRESS: &str = "bob@example.com";
const BOB: &str = "@bob:example.org";
const ALICE: &str = "@alice:example.org";
const TOKEN: &str = "SampleTokenSampleTokenSampleToke";

/// The names of all samples.
pub(super) fn names() -> Vec<&'static str> {
    let pages = pages("", "").map(|(name, _)| name);
    MAILS.into_iter().chain([SMS]).chain(pages).collect()
}

/// The files of a sample, each with the ending of its name; `None` if there is no sample of this name.
pub(super) fn render(
    config: &Config,
    templates: &Templates,
    name: &str,
    audience: &Audience<'_>,
) -> Option<Result<Vec<(&'static str, String)>, String>> {
    if MAILS.contains(&name) {
        return Some(mail(config, templates, name, *audience));
    }
    if name == SMS {
        let token = "0".repeat(config.sms.token_digits);
        let text = templates.text_message(&token, audience).map_err(|error| error.to_string());
        return Some(text.map(|text| vec![("txt", format!("{text}\n"))]));
    }
    let address = threepid().ok()?;
    let masked = masked(&address, &config.invites.shown());
    let found = pages(&masked, ALICE).into_iter().find(|(known, _)| *known == name);
    found.map(|(_, page)| Ok(vec![("html", templates.page(&page, audience))]))
}

/// The pages, by name.
fn pages<'a>(masked_address: &'a str, sender: &'a str) -> [(&'static str, Page<'a>); 9] {
    let subject = Subject { masked_address, mxid: BOB };
    let form = Form { sid: "sample", client_secret: "sample", token: TOKEN, next_link: None };
    let invite = InviteLink { masked_address, sender };
    let continue_to = Some(("app.example.org", "https://app.example.org/"));
    [
        ("page-confirm", Page::Confirm { subject, expires_in: DAY, form }),
        ("page-confirmed", Page::Confirmed { subject: Some(subject), continue_to: None }),
        ("page-confirmed-continue", Page::Confirmed { subject: Some(subject), continue_to }),
        ("page-expired", Page::Expired { lifetime: DAY }),
        ("page-unavailable", Page::Unavailable),
        ("page-block", Page::Block { invite, token: TOKEN }),
        ("page-blocked-sender", Page::Blocked { invite, is_all: false }),
        ("page-blocked-all", Page::Blocked { invite, is_all: true }),
        ("page-block-invalid", Page::BlockInvalid),
    ]
}

fn threepid() -> Result<ThreePid, String> {
    ThreePid::canonical(Medium::Email, ADDRESS).map_err(|error| error.to_string())
}

fn mail(
    config: &Config,
    templates: &Templates,
    name: &str,
    audience: Audience<'_>,
) -> Result<Vec<(&'static str, String)>, String> {
    let (identity, threepid) = (config.server.identity(None), threepid()?);
    let masked_address = masked(&threepid, &config.invites.shown());
    let base_url = &identity.base_url;
    match name {
        "verification" | "verification-v1" => {
            let link = format!(
                "{base_url}/_matrix/identity/v2/validate/email/submitToken?token={TOKEN}&client_secret=sample&sid=sample"
            );
            let mail = VerificationMail {
                to: ADDRESS,
                masked_address: &masked_address,
                link: &link,
                token: TOKEN,
                mxid: if name == "verification" { BOB } else { "" },
                client_address: Some([192, 0, 2, 7].into()),
                expires_in: config.sessions.lifetime.get(),
                audience,
            };
            compose(config, templates, &mail)
        }
        "invite" | "invite-space" => invitation(config, templates, (threepid, &masked_address), name, audience),
        _ => {
            let new_mxid = if name == "migration-moved" { ALICE } else { "" };
            let mail = MigrationMail { to: ADDRESS, masked_address: &masked_address, mxid: BOB, new_mxid, audience };
            compose(config, templates, &mail)
        }
    }
}

fn invitation(
    config: &Config,
    templates: &Templates,
    (threepid, masked_address): (ThreePid, &str),
    name: &str,
    audience: Audience<'_>,
) -> Result<Vec<(&'static str, String)>, String> {
    let now = Clock::system().now();
    let expire_after = config.invites.expire_after.get();
    let invite = Invite {
        id: "sample".to_owned(),
        threepid,
        room_id: RoomId::parse("!sample:example.org").map_err(|error| error.to_string())?,
        sender: UserId::parse(ALICE).map_err(|error| error.to_string())?,
        token: InviteToken::from(TOKEN.to_owned()),
        public_key: None,
        created_at: now,
        expires_at: None,
        revoked_at: None,
        delivered_at: None,
        onbind_id: None,
    };
    let mut texts = InviteTexts::default().with_lengths(config.invites.name_lengths());
    let room_type = if name == "invite-space" { "m.space" } else { "" };
    for (name, text) in [("sender_display_name", "Alice"), ("room_name", "Book club"), ("room_type", room_type)] {
        texts.set(name, text).map_err(|error| error.to_string())?;
    }
    let base_url = &config.server.identity(None).base_url;
    let pattern = if texts.is_space() { &config.invites.subject_space } else { &config.invites.subject };
    let mail = InvitationMail {
        invite: &invite,
        is_sender_verified: true,
        texts: &texts,
        private_key: "sample",
        signurl: &format!("{base_url}/_matrix/identity/api/v1/sign-ed25519?token={TOKEN}&private_key=sample"),
        web_client: config.invites.web_client.trim_end_matches('/'),
        base_url,
        subject: pattern.as_deref(),
        operator: templates.operator(),
        masked_address,
        block_url: &format!("{base_url}/_identity/v1/invites/block?token=sample"),
        expires_in: (!expire_after.is_zero()).then_some(expire_after),
        audience,
    };
    compose(config, templates, &mail)
}

/// The mail as it is sent, and its HTML.
fn compose<C: MailContent>(
    config: &Config,
    templates: &Templates,
    content: &C,
) -> Result<Vec<(&'static str, String)>, String> {
    let name = config.server.identity(None).name;
    let ca: Option<&Path> = config.outbound.extra_ca_file.as_deref();
    let mailer = Mailer::new(&config.email, &name, ca, Clock::system(), Random).map_err(|error| error.to_string())?;
    let (mail, text) = mailer.compose_shown(templates, content).map_err(|error| error.to_string())?;
    let html = text.find("<!DOCTYPE html>").zip(text.find("</html>"));
    let html = html.and_then(|(start, end)| text.get(start..end + "</html>".len()));
    let mut files = vec![("eml", mail.message().to_owned())];
    files.extend(html.map(|html| ("html", format!("{html}\n"))));
    Ok(files)
}
