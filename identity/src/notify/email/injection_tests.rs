//! Every mail in every language with hostile values in every place: header and body keep their structure.
//!
//! Invariant: a mail is compared with a harmless one of the same kind and language, and not searched for known attacks.

use std::path::Path;
use std::time::Duration;

use shared::clock::{Clock, Timestamp};
use shared::random::Random;

use super::invitation::InvitationMail;
use super::migration::MigrationMail;
use super::verification::VerificationMail;
use super::{MailContent, Mailer};
use crate::config::email::RawEmail;
use crate::config::operator::Operator;
use crate::config::sms::RawSms;
use crate::config::templates::TemplatesConfig;
use crate::domain::invite::{Invite, InviteToken};
use crate::domain::invite_texts::{InviteTexts, NAMES};
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::notify::templates::{Audience, Locale, Templates};

const DAY: Duration = Duration::from_secs(86_400);

/// Texts that change a mail if one place inserts them without care.
fn hostile() -> Vec<String> {
    let texts = [
        "\r\nBcc: evil@evil.example\r\n\r\nbody",
        "\n.\n\rMAIL FROM:<evil@evil.example>",
        "\r\n--boundary--\r\n",
        "<a href=\"https://evil.example\">x</a><!-- </body> -->",
        "\"></bdi></p></main><script>alert(1)</script><p '&amp;",
        "{{ token }}{% for x in y %}{# { $mxid } %(token)s {operator} %%",
        "=?utf-8?q?=0D=0ABcc=3A_evil=40evil=2Eexample?=",
        "\u{202e}gpj.exe\u{2066}\u{200f}\u{2069}\u{2028}\u{85}\0",
        "שלום עליכם مرحبا",
        "👩‍👩‍👧 Żółć ﷽ e\u{301}\u{301}\u{301}",
    ];
    let long = ["x".repeat(1000), "ж ".repeat(500), "<&>".repeat(300), format!("a{}", "\u{301}".repeat(900))];
    texts.into_iter().map(str::to_owned).chain(long).collect()
}

/// The mails of every kind with `value` in every text that someone else chooses.
fn mails(value: &str, operator: &str, locale: &Locale) -> Vec<(&'static str, String, String)> {
    let operator = Operator { name: Some(operator.to_owned()), ..Operator::default() };
    let config = TemplatesConfig { operator, ..TemplatesConfig::default() };
    let sms = RawSms::default().complete(Path::new(""), Path::new("")).unwrap();
    let templates = Templates::load(&config, &sms, "https://id.example.org").unwrap();
    let lang = locale.tag().to_ascii_lowercase();
    let audience = Audience { lang: Some(&lang), ..Audience::default() };
    let mut made = Vec::new();
    for mxid in ["", value] {
        let mail = VerificationMail {
            to: "bob@example.com",
            masked_address: value,
            link: "https://id.example.org/link",
            token: "T",
            mxid,
            client_address: None,
            expires_in: DAY,
            audience,
        };
        made.push(compose("verification", &templates, &mail));
        let mail =
            MigrationMail { to: "bob@example.com", masked_address: value, mxid: value, new_mxid: mxid, audience };
        made.push(compose("migration", &templates, &mail));
    }
    let localpart: String = value.chars().filter(|c| !c.is_control() && *c != ':').take(60).collect();
    let invite = Invite {
        id: "i".to_owned(),
        threepid: ThreePid::canonical(Medium::Email, "bob@example.com").unwrap(),
        room_id: RoomId::parse("!r:hs.example").unwrap(),
        sender: UserId::from_row(&format!("@{localpart}:hs.example")).unwrap(),
        token: InviteToken::from("T".to_owned()),
        public_key: None,
        created_at: Timestamp::from_millis(0),
        expires_at: None,
        revoked_at: None,
        delivered_at: None,
        onbind_id: None,
    };
    // All texts, or none.
    for (given, room_type, subject) in [
        (value, "", None),
        (value, "m.space", None),
        (value, value, Some("{sender_display_name} – {room_name} ({operator})")),
        ("", "", None),
    ] {
        let mut texts = InviteTexts::default();
        for name in NAMES {
            let text = given.get(..given.floor_char_boundary(1000)).unwrap_or_default();
            let is_space = name == "room_type" && room_type == "m.space";
            texts.set(name, if is_space { room_type } else { text }).unwrap();
        }
        let mail = InvitationMail {
            invite: &invite,
            is_sender_verified: true,
            texts: &texts,
            private_key: "K",
            signurl: "https://id.example.org/sign",
            web_client: "https://app.element.io",
            base_url: "https://id.example.org",
            subject,
            operator: templates.operator(),
            masked_address: value,
            block_url: "https://id.example.org/block",
            expires_in: Some(DAY),
            audience,
        };
        made.push(compose("invite", &templates, &mail));
    }
    made
}

fn compose<C: MailContent>(name: &'static str, templates: &Templates, content: &C) -> (&'static str, String, String) {
    let config = RawEmail::default().complete(Path::new(""), Path::new("/nonexistent"), None).unwrap();
    let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
    let mailer = Mailer::new(&config, "id.example.org", None, clock, Random).unwrap();
    let (mail, rendered) = mailer.compose_shown(templates, content).unwrap();
    (name, mail.message, rendered)
}

/// What must not depend on a value: the fields of the header, the lines of the text and the tags of the HTML.
#[derive(Debug, PartialEq, Eq)]
struct Shape {
    fields: Vec<String>,
    parts: usize,
    text_lines: usize,
    tags: Vec<String>,
}

fn shape(message: &str, rendered: &str) -> Shape {
    let (head, body) = message.split_once("\r\n\r\n").unwrap();
    let boundary = message.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let names = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
    let names = names.map(|line| line.split(':').next().unwrap().to_owned());
    let (text, html) = rendered.split_once("<!DOCTYPE html>").unwrap();
    let tags = html.split('<').skip(1).map(|tag| tag.split([' ', '>']).next().unwrap().to_owned());
    Shape {
        // Text outside ASCII needs another encoding.
        fields: names.filter(|name| name != "Content-Transfer-Encoding").collect(),
        parts: body.matches(&format!("--{boundary}")).count(),
        text_lines: text.lines().count(),
        tags: tags.collect(),
    }
}

#[test]
fn no_value_changes_the_structure_of_a_mail_in_any_language() {
    for locale in Locale::all() {
        let harmless: Vec<_> = mails("x", "y", locale);
        for value in hostile() {
            let operator: String = value.chars().filter(|c| !c.is_control()).take(60).collect();
            for ((name, message, rendered), (_, harmless, shown)) in
                mails(&value, &operator, locale).iter().zip(&harmless)
            {
                let what = format!("{name} in {locale:?} with {value:?}");
                assert_eq!(shape(message, rendered), shape(harmless, shown), "{what}: {message}");
                let lines = message.split("\r\n");
                assert!(lines.clone().all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])), "{what}");
                let turning = ['\u{202e}', '\u{2066}', '\u{200f}', '\u{2028}', '\u{85}'];
                assert!(!rendered.contains(turning), "{what}: {rendered}");
                let (_, html) = rendered.split_once("<!DOCTYPE html>").unwrap();
                assert!(!html.contains("href=\"https://evil") && !html.contains("<script"), "{what}");
                let isolates = rendered.matches('\u{2068}').count();
                assert_eq!(isolates, rendered.matches('\u{2069}').count(), "{what}");
                assert_eq!(isolates > 0, locale.direction() == "rtl", "{what}");
            }
        }
    }
}
