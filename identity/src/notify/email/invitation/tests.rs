//! Tests of the invitation mail's text, its variables, and hostile texts of a homeserver.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use shared::clock::{Clock, Timestamp};
use shared::random::Random;

use super::InvitationMail;
use crate::config::email::RawEmail;
use crate::config::sms::RawSms;
use crate::config::templates::TemplatesConfig;
use crate::domain::invite::{Invite, InviteToken};
use crate::domain::invite_texts::InviteTexts;
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::{Medium, ThreePid};
use crate::notify::email::Mailer;
use crate::notify::templates::{Audience, Templates};

const SIGNURL: &str = "https://id.example.org/_matrix/identity/api/v1/sign-ed25519?token=abc123&private_key=K0";

fn templates(dir: Option<&Path>) -> Templates {
    let config = TemplatesConfig { dir: dir.map(Path::to_path_buf), ..TemplatesConfig::default() };
    let sms = RawSms::default().complete(Path::new(""), Path::new("")).unwrap();
    Templates::load(&config, &sms, "https://id.example.org").unwrap()
}

/// The mail with these texts, from an authenticated sender.
fn mail(templates: &Templates, given: &[(&str, &str)], audience: Audience<'_>) -> String {
    mail_by(templates, given, audience, true)
}

fn mail_by(templates: &Templates, given: &[(&str, &str)], audience: Audience<'_>, is_sender_verified: bool) -> String {
    let invite = Invite {
        id: "i".to_owned(),
        threepid: ThreePid::canonical(Medium::Email, "Bob@Example.com").unwrap(),
        room_id: RoomId::parse("!r:hs.example").unwrap(),
        sender: UserId::parse("@alice:hs.example").unwrap(),
        token: InviteToken::from("abc123".to_owned()),
        public_key: None,
        created_at: Timestamp::from_millis(0),
        expires_at: None,
        revoked_at: None,
        delivered_at: None,
        onbind_id: None,
    };
    let mut texts = InviteTexts::default();
    given.iter().for_each(|(name, text)| texts.set(name, text).unwrap());
    let mail = InvitationMail {
        invite: &invite,
        is_sender_verified,
        texts: &texts,
        private_key: "K0",
        signurl: SIGNURL,
        web_client: "https://app.element.io",
        base_url: "https://id.example.org",
        subject: None,
        operator: "",
        masked_address: "B...@Exa...",
        block_url: "https://id.example.org/_identity/v1/invites/block?token=B0",
        expires_in: None,
        audience,
    };
    let email = RawEmail::default().complete(Path::new(""), Path::new("/nonexistent"), None).unwrap();
    let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
    let mailer = Mailer::new(&email, "id.example.org", None, clock, Random).unwrap();
    let mail = mailer.compose(templates, &mail).unwrap();
    assert_eq!(mail.to, "Bob@Example.com");
    mail.message
}

const NAMED: [(&str, &str); 2] = [("sender_display_name", "Alice"), ("room_name", "Tea & Biscuits")];

/// The header block, the text part and the HTML part.
fn parts(message: &str) -> [&str; 3] {
    let boundary = message.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let delimiter = format!("\r\n--{boundary}");
    let parts: Vec<&str> = message.split(delimiter.as_str()).collect();
    assert_eq!(parts.len(), 4, "{message}");
    [parts[0], parts[1], parts[2]]
}

#[test]
fn the_built_in_mail_names_sender_and_room_in_text_and_html() {
    let templates = templates(None);
    let message = mail(&templates, &NAMED, Audience::default());
    let [head, text, html] = parts(&message);
    assert!(head.contains("\r\nTo: Bob@Example.com\r\nSubject: Alice has invited you to chat\r\n"), "{head}");
    assert!(head.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{head}");
    let sentence = "\r\nAlice (@alice:hs.example) has invited you to the room \"Tea & Biscuits\" on Matrix.\r\n";
    assert!(text.contains(sentence), "{text}");
    assert!(text.contains("\r\nhttps://app.element.io/#/room/%21r%3Ahs.example?email=bob%40example.com&signurl=https%3A%2F%2Fid.example.org%2F_matrix"), "{text}");
    assert!(
        html.contains("<strong><bdi>Alice</bdi></strong> (<bdi>@alice:hs.example</bdi>) has invited you to the room"),
        "{html}"
    );
    assert!(html.contains("<bdi>Tea &amp; Biscuits</bdi>") && html.contains(">Join the room</a>"), "{html}");
    assert!(
        html.contains("href=\"https://app.element.io/#/room/%21r%3Ahs.example?email=bob%40example.com&amp;signurl="),
        "{html}"
    );
    assert!(
        text.contains("Or add bob@example.com to it in the settings")
            && html.contains("Or add <bdi>bob@example.com</bdi> to it")
    );
    assert!(text.contains("the link opens app.element.io, where"), "{text}");
}

#[test]
fn the_mail_says_space_for_a_space_and_omits_missing_names() {
    let templates = templates(None);
    for (given, subject, sentence) in [
        (
            &[("room_type", "m.space"), NAMED[1]][..],
            "@alice:hs.example has invited you to a space",
            "@alice:hs.example has invited you to the space \"Tea & Biscuits\" on Matrix.",
        ),
        (
            &[("room_type", "m.space"), NAMED[0]],
            "Alice has invited you to a space",
            "Alice (@alice:hs.example) has invited you to a space on Matrix.",
        ),
        (&[], "@alice:hs.example has invited you to chat", "@alice:hs.example has invited you to a room on Matrix."),
    ] {
        let message = mail(&templates, given, Audience::default());
        let [head, text, html] = parts(&message);
        assert!(head.contains(&format!("\r\nSubject: {subject}\r\n")), "{head}");
        assert!(text.contains(&format!("\r\n{sentence}\r\n")), "{sentence}: {text}");
        let is_space = given.iter().any(|(name, _)| *name == "room_type");
        assert_eq!(html.contains(">Join the space</a>"), is_space, "{html}");
        assert_eq!(html.contains("room"), !is_space || html.contains("#/room/"), "{html}");
    }
}

#[test]
fn only_an_authenticated_sender_appears_in_brackets() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("matrix-org")).unwrap();
    fs::write(dir.path().join("matrix-org/invite_template.eml"), "[%(sender)s|%(bracketed_verified_sender)s]").unwrap();
    for (is_verified, own, text_of_built_in, html_of_built_in) in [
        (
            true,
            "[@alice:hs.example|(@alice:hs.example) ]",
            "\r\nAlice (@alice:hs.example) has",
            "</strong> (<bdi>@alice",
        ),
        (false, "[@alice:hs.example|]", "\r\nAlice has invited", "<p><bdi>Alice</bdi> has invited"),
    ] {
        let message = mail_by(&templates(Some(dir.path())), &NAMED, Audience::default(), is_verified);
        assert!(message.contains(own), "{message}");
        let message = mail_by(&templates(None), &NAMED, Audience::default(), is_verified);
        let [_, text, html] = parts(&message);
        assert!(text.contains(text_of_built_in) && html.contains(html_of_built_in), "{message}");
    }
}

#[test]
fn the_operators_templates_have_the_documented_variables() {
    const NAMES: &str = "token ephemeral_private_key web_client_location address medium room_id room_alias room_avatar_url \
        room_join_rules room_name bracketed_room_name room_type sender bracketed_verified_sender sender_avatar_url \
        sender_display_name guest_user_id guest_access_token signurl public_base_url register_url subject_header_value";
    let percent: String = NAMES.split_whitespace().map(|name| format!("{name}=[%({name})s]\n")).collect();
    let jinja: String = NAMES.split_whitespace().map(|name| format!("{name}=[{{{{ {name}|safe }}}}]\n")).collect();
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("matrix-org/invite_template.eml", percent.as_str()),
        ("acme/invite_template.eml.j2", &jinja),
        (
            "acme/de/invite_template.eml.j2",
            "Subject: {{ subject_header_value|safe }}\n\nHallo {{ room_name|urlencode }}",
        ),
    ] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let templates = templates(Some(dir.path()));
    let given = [
        NAMED[0],
        NAMED[1],
        ("room_alias", "#tea:hs.example"),
        ("room_avatar_url", "mxc://hs.example/a"),
        ("room_join_rules", "invite"),
        ("room_type", "m.space"),
        ("sender_avatar_url", "mxc://hs.example/b"),
        ("guest_user_id", "@1:hs.example"),
        ("guest_access_token", "G0"),
    ];
    let acme = Audience { brand: Some("acme"), ..Audience::default() };
    for audience in [Audience::default(), acme] {
        let message = mail(&templates, &given, audience);
        for line in [
            "token=[abc123]",
            "ephemeral_private_key=[K0]",
            "web_client_location=[https://app.element.io]",
            "address=[bob@example.com]",
            "medium=[email]",
            "room_id=[!r:hs.example]",
            "room_alias=[#tea:hs.example]",
            "room_avatar_url=[mxc://hs.example/a]",
            "room_join_rules=[invite]",
            "room_name=[Tea & Biscuits]",
            "bracketed_room_name=[(Tea & Biscuits) ]",
            "room_type=[m.space]",
            "sender=[@alice:hs.example]",
            "bracketed_verified_sender=[(@alice:hs.example) ]",
            "sender_avatar_url=[mxc://hs.example/b]",
            "sender_display_name=[Alice]",
            "guest_user_id=[@1:hs.example]",
            "guest_access_token=[G0]",
            &format!("signurl=[{SIGNURL}]"),
            "public_base_url=[https://id.example.org]",
            "register_url=[https://app.element.io/#/register]",
            "subject_header_value=[Alice has invited you to a space]",
        ] {
            assert!(message.split("\r\n").any(|found| found == line), "{line}: {message}");
        }
        assert!(
            message.contains("\r\nSubject: Alice has invited you to a space\r\n"),
            "the template has no subject: {message}"
        );
    }
    let german = mail(&templates, &given, Audience { lang: Some("de"), ..acme });
    assert!(
        german.contains("\r\nSubject: Alice hat Sie in einen Space eingeladen\r\n")
            && german.contains("Hallo Tea%20%26%20Bis")
    );
}

#[test]
fn a_subject_that_looks_encoded_is_encoded_again() {
    let templates = templates(None);
    let message = mail(&templates, &[("sender_display_name", "=?utf-8?q?=0D=0A?=")], Audience::default());
    let [head, ..] = parts(&message);
    assert!(head.contains("\r\nSubject: =?utf-8?b?PT91dGYtOD9xPz0wRD0wQT89IG"), "{head}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_of_a_homeserver_adds_a_header_a_part_or_a_link(
        value in "(?s).{0,80}|(\r\n|\n|\r|\r\n\\.\r\n|Bcc: e@x|--|<a href=\"https://evil\">|%\\(to\\)s|\\{\\{ to \\}\\}|\u{202e}|=\\?){1,12}",
        name in 0..9_usize,
    ) {
        let templates = templates(None);
        let name = crate::domain::invite_texts::NAMES[name];
        let message = mail(&templates, &[(name, &value)], Audience::default());
        let [head, text, html] = parts(&message);
        let names: Vec<&str> = head.trim_end().split("\r\n").filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split(':').next().unwrap()).filter(|name| *name != "Content-Transfer-Encoding").collect();
        prop_assert_eq!(names, ["Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Auto-Submitted", "Content-Language", "Content-Type"]);
        prop_assert!(message.split("\r\n").all(|line| line.len() <= 998));
        let active = ['\r', '\n', '\0', '\u{202e}'];
        prop_assert!(!message.replace("\r\n", "").contains(active));
        // No line here is long enough to make the part quoted-printable.
        // The invitation, and the link that blocks further ones.
        prop_assert_eq!(html.matches("<a ").count(), 2);
        prop_assert_eq!(text.matches("https://app.element.io/#/room/").count(), 1);
    }
}
