//! Tests of template selection, of the built-in texts, and of hostile values.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use shared::clock::{Clock, Timestamp};
use shared::random::Random;

use super::page::{Form, Page, Subject};
use super::{Audience, Locale, ROWS, TemplateKind, Templates, TemplatesError};
use crate::config::email::RawEmail;
use crate::config::operator::Operator;
use crate::config::sms::RawSms;
use crate::config::templates::TemplatesConfig;
use crate::notify::email::message::MessageKind;
use crate::notify::email::migration::MigrationMail;
use crate::notify::email::verification::VerificationMail;
use crate::notify::email::{ComposeError, Mailer};

const LINK: &str =
    "https://id.example.org/_matrix/identity/v2/validate/email/submitToken?token=T0&client_secret=c.=_-&sid=S0";

const DAY: Duration = Duration::from_secs(86_400);
const BOB: Subject<'_> = Subject { masked_address: "b...@exa...", mxid: "@bob:hs.example" };
const FORM: Form<'_> = Form { sid: "S0", client_secret: "c.=_-", token: "T0", next_link: None };
const CONFIRM: Page<'_> = Page::Confirm { subject: BOB, expires_in: DAY, form: FORM };
const CONFIRMED: Page<'_> = Page::Confirmed { subject: Some(BOB), continue_to: None };
const EXPIRED: Page<'_> = Page::Expired { lifetime: DAY };

fn templates(dir: Option<&Path>, raw_messages: bool) -> Result<Templates, TemplatesError> {
    let config = TemplatesConfig { dir: dir.map(Path::to_path_buf), raw_messages, ..TemplatesConfig::default() };
    let sms = RawSms::default().complete(Path::new(""), Path::new("")).unwrap();
    Templates::load(&config, &sms, "https://id.example.org")
}

fn mailer() -> Mailer {
    let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
    let config = RawEmail::default().complete(Path::new(""), Path::new("/nonexistent"), None).unwrap();
    Mailer::new(&config, "id.example.org", None, clock, Random).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn what_would_surprise_an_operator_is_named() {
    let dir = folder(&[
        ("acme/verification_template.eml", "\u{feff}Subject: Hello %(lnik)s\n\nDo it now"),
        ("acme/invite_template.eml.j2", "{{ signurl }} {{ sender }}"),
        ("acme/de/invite_template.eml", "%(sender)s"),
        ("acme/verification.eml.j2", "x"),
        ("acme/notes.txt", "x"),
    ]);
    let notices = templates(Some(dir.path()), false).unwrap().notices();
    for (start, text) in [
        ("verification.eml.j2: ", "not used"),
        ("verification_template.eml: ", "no value has the name lnik"),
        ("verification_template.eml: ", "has no link"),
        ("de/invite_template.eml: ", "has no link"),
        ("default_brand: ", "(acme)"),
    ] {
        assert!(notices.iter().any(|notice| notice.contains(start) && notice.contains(text)), "{text}: {notices:#?}");
    }
    assert_eq!(notices.len(), 5, "{notices:#?}");
}

fn verification(templates: &Templates, token: &str, to: &str, audience: Audience<'_>) -> Result<String, ComposeError> {
    let client_address = "192.0.2.7".parse().ok();
    let mail = VerificationMail {
        to,
        masked_address: "b...@exa...",
        link: LINK,
        token,
        mxid: "@bob:hs.example",
        client_address,
        expires_in: DAY,
        audience,
    };
    let mail = mailer().compose(templates, &mail)?;
    assert_eq!((mail.kind, mail.from.as_str()), (MessageKind::Verification, "noreply@id.example.org"));
    Ok(mail.message)
}

/// The body of the mail for this audience.
fn text(templates: &Templates, audience: Audience<'_>) -> String {
    let message = verification(templates, "T0", "bob@example.com", audience).unwrap();
    message.split_once("\r\n\r\n").unwrap().1.trim().to_owned()
}

fn brand(brand: &str) -> Audience<'_> {
    Audience { brand: Some(brand), ..Audience::default() }
}

#[test]
fn the_built_in_mail_has_a_text_and_an_html_part_with_the_link_in_both() {
    let templates = templates(None, true).unwrap();
    let message = verification(&templates, "T0", "bob@example.com", Audience::default()).unwrap();
    let boundary = message.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(boundary.len(), 32);
    let delimiter = format!("\r\n--{boundary}");
    let parts: Vec<&str> = message.split(delimiter.as_str()).collect();
    assert_eq!(parts.len(), 4, "{message}");
    assert!(parts[0].starts_with("Date: Sun, 15 Jun 2025 15:06:40 +0000\r\nFrom: Matrix <noreply@id.example.org>\r\nTo: bob@example.com\r\nSubject: Confirm your email address for Matrix\r\n"));
    assert!(parts[0].contains("\r\nAuto-Submitted: auto-generated\r\n"));
    assert!(parts[1].contains("text/plain") && parts[1].contains(&format!("\r\n{LINK}\r\n")), "{}", parts[1]);
    assert!(parts[2].contains("text/html") && parts[2].contains(&format!("href=\"{}\"", LINK.replace('&', "&amp;"))));
    assert!(
        parts[1].contains("The Matrix user @bob:hs.example (IP address: 192.0.2.7)")
            && parts[2].contains("<bdi>@bob:hs.example</bdi>")
    );
    assert!(parts[1].contains("192.0.2.7") && parts[2].contains("192.0.2.7") && parts[3].starts_with("--"));
    assert!(message.is_ascii() && message.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n'])));
}

#[test]
fn two_mails_share_neither_message_id_nor_boundary() {
    let templates = templates(None, false).unwrap();
    let make = || verification(&templates, "T0", "bob@example.com", Audience::default()).unwrap();
    let (one, two) = (make(), make());
    for start in ["Message-ID: <", "boundary=\""] {
        let value = |message: &str| message.split(start).nth(1).unwrap()[..32].to_owned();
        assert_ne!(value(&one), value(&two));
        assert!(value(&one).bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}

#[test]
fn an_unknown_client_address_has_its_own_phrase() {
    let templates = templates(None, false).unwrap();
    let audience = Audience::default();
    let mail = VerificationMail {
        to: "a@b",
        masked_address: "...@...",
        link: LINK,
        token: "T",
        mxid: "",
        client_address: None,
        expires_in: DAY,
        audience,
    };
    let mail = mailer().compose(&templates, &mail).unwrap();
    assert!(mail.message.contains("Someone (IP address: unknown) wants to use your email address (...@...)"));
    assert!(mail.message.contains("Someone (IP address: <bdi>unknown</bdi>) wants to use"));
}

#[test]
fn an_address_that_no_envelope_can_carry_is_rejected() {
    let templates = templates(None, false).unwrap();
    for to in ["a@x\r\nBcc: b@y", "a@x,b@y", "<b@y>a@x", "a", ""] {
        let refused = verification(&templates, "T", to, Audience::default());
        assert!(matches!(refused, Err(ComposeError::ImpossibleAddress)), "{to:?}");
    }
}

#[test]
fn brand_and_language_select_the_template() {
    let dir = folder(&[
        ("matrix-org/verification_template.eml", "default"),
        ("acme/verification_template.eml.j2", "acme jinja"),
        ("acme/verification_template.eml", "acme percent"),
        ("acme/de/verification_template.eml", "acme deutsch"),
        ("acme/pt_BR/verification_template.eml", "acme brasil"),
        ("acme/invalid language/verification_template.eml", "never"),
        ("bare/verify_response_template.html", "%(message)s"),
        ("..evil/x", ""),
        ("no brand/verification_template.eml", "never"),
        ("verification_template.eml", "never"),
    ]);
    let templates = templates(Some(dir.path()), false).unwrap();
    for (audience, expected) in [
        (Audience::default(), "default"),
        (brand("acme"), "acme jinja"),
        (Audience { lang: Some("de"), ..brand("acme") }, "acme deutsch"),
        (Audience { lang: Some("de-AT"), ..brand("acme") }, "acme deutsch"),
        (Audience { accept_language: Some("fr, pt-br;q=0.9, de;q=0.8"), ..brand("acme") }, "acme brasil"),
        (Audience { lang: Some("de"), accept_language: Some("pt-BR"), ..brand("acme") }, "acme deutsch"),
        (Audience { lang: Some("fr"), ..brand("acme") }, "acme jinja"),
        (Audience { lang: Some("de"), ..Audience::default() }, "default"),
    ] {
        assert_eq!(text(&templates, audience), expected, "{audience:?}");
    }
    assert!(text(&templates, brand("bare")).contains(LINK), "a brand without a mail template gets the built-in mail");
}

#[test]
fn an_unknown_brand_gets_the_default_template() {
    let outside = folder(&[
        ("secret/verification_template.eml", "SECRET"),
        ("t/matrix-org/verification_template.eml", "default"),
    ]);
    let templates = templates(Some(&outside.path().join("t")), false).unwrap();
    let absolute = outside.path().join("secret");
    for wrong in [
        "",
        ".",
        "..",
        "../secret",
        "..\\secret",
        "/etc",
        "a/../../secret",
        "secret\0",
        "nosuch",
        absolute.to_str().unwrap(),
    ] {
        assert_eq!(text(&templates, brand(wrong)), "default", "{wrong:?}");
        let audience = Audience { lang: Some(wrong), accept_language: Some(wrong), brand: None };
        assert_eq!(text(&templates, audience), "default", "{wrong:?}");
    }
}

#[test]
fn the_operators_templates_have_the_documented_variables() {
    let dir = folder(&[
        (
            "matrix-org/verification_template.eml",
            "To: %(to)s\nFrom: %(from)s\nSubject: 100%% %(nosuch)s\nContent-Type: text/html\n\n%(link_forhtml)s %(token)s %(ipaddress)s %(multipart_boundary)s",
        ),
        (
            "j/verification_template.eml.j2",
            "{{ link|urlencode }} {{ token }} {{ to }} {{ date|safe }} {{ messageid|safe }}",
        ),
    ]);
    let templates = templates(Some(dir.path()), false).unwrap();
    let message = verification(&templates, "T0", "bob@example.com", Audience::default()).unwrap();
    assert!(message.contains("\r\nSubject: 100%") && message.contains("\r\nContent-Type: text/html\r\n"), "{message}");
    assert!(message.contains(&format!("\r\n\r\n{} T0 192.0.2.7 ", LINK.replace('&', "&amp;"))));
    let text = text(&templates, brand("j"));
    assert!(
        text.starts_with("https%3A//id.example.org/") && text.contains(" T0 bob@example.com Sun, 15 Jun"),
        "{text}"
    );
    assert!(text.ends_with("@id.example.org>"), "{text}");
}

#[test]
fn raw_messages_keep_the_operators_fields_and_the_recipient() {
    let source = "From: me@x\nTo: %(to)s\nCc: c@x\nX: %(messageid)s\n\nhi\n";
    let dir = folder(&[("matrix-org/verification_template.eml", source)]);
    let raw =
        verification(&templates(Some(dir.path()), true).unwrap(), "T", "bob@example.com", Audience::default()).unwrap();
    assert!(raw.starts_with("From: me@x\r\nTo: bob@example.com\r\nCc: c@x\r\nX: <") && raw.ends_with("\r\n\r\nhi\r\n"));
    let ours = verification(&templates(Some(dir.path()), false).unwrap(), "T", "bob@example.com", Audience::default())
        .unwrap();
    assert!(!ours.contains("me@x") && !ours.contains("c@x"), "{ours}");
}

#[test]
fn a_template_with_a_mistake_fails_the_start() {
    let dir = folder(&[("matrix-org/verification_template.eml.j2", "ok\n{% if %}")]);
    let error = templates(Some(dir.path()), false).unwrap_err().to_string();
    assert!(error.contains("verification_template.eml.j2: line 2"), "{error}");
    let missing = templates(Some(Path::new("/nonexistent/templates")), false);
    assert!(matches!(missing, Err(TemplatesError::Unreadable { .. })));
}

#[test]
fn an_sms_has_the_unescaped_text_of_its_brand_and_language() {
    let dir = folder(&[
        ("matrix-org/de/verification_template.sms.j2", "Dein Code für \"Matrix\" & Co.: {{ token }}\n"),
        ("acme/verification_template.sms", "100%% %(token)s\n"),
    ]);
    let templates = templates(Some(dir.path()), false).unwrap();
    let text = |audience: Audience<'_>| templates.text_message("123456", &audience).unwrap();
    let german = Audience { accept_language: Some("de-AT, en;q=0.5"), ..Audience::default() };
    assert_eq!(text(german), "Dein Code für \"Matrix\" & Co.: 123456");
    assert_eq!(text(brand("acme")), "100% 123456");
    assert_eq!(text(Audience::default()), "123456 is your Matrix code");
}

#[test]
fn an_sms_template_that_is_too_long_or_lacks_the_token_fails_the_start() {
    for (text, expected) in [
        ("x".repeat(155) + "{{ token }}", "161 characters, but one SMS holds 160"),
        ("ж".repeat(65) + "{{ token }}", "71 characters, but one SMS holds 70"),
        ("Your code".to_owned(), "{{ token }} is missing"),
        ("{% if".to_owned(), "line 1"),
    ] {
        let dir = folder(&[("matrix-org/verification_template.sms.j2", &text)]);
        let error = templates(Some(dir.path()), false).unwrap_err().to_string();
        assert!(error.contains("verification_template.sms.j2: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn every_kind_has_a_built_in_template_that_renders() {
    let templates = templates(None, false).unwrap();
    for row in &ROWS {
        assert_eq!(row.kind.as_str(), row.name);
        let rendered = match row.kind {
            TemplateKind::Sms => templates.text_message("sample", &Audience::default()).unwrap(),
            TemplateKind::Page => templates.page(&CONFIRMED, &Audience::default()),
            kind => templates.render_built_in(kind, &super::Variables::sample(kind), &Audience::default()).unwrap(),
        };
        // The value of each name is the name itself.
        let value = match row.kind {
            TemplateKind::VerificationMail => "link",
            TemplateKind::InviteMail => "inviter",
            TemplateKind::MigrationMail => "mxid",
            TemplateKind::Sms => "sample",
            TemplateKind::Page => "Thank you",
        };
        assert!(rendered.contains(value), "{value}: {rendered}");
    }
}

#[test]
fn pages_are_complete_and_load_no_other_resource() {
    let templates = templates(None, false).unwrap();
    let form = Form { client_secret: "\"><script>", ..FORM };
    let confirm = Page::Confirm { subject: BOB, expires_in: DAY, form };
    for page in [CONFIRMED, EXPIRED, Page::Unavailable, confirm] {
        let html = templates.page(&page, &Audience::default());
        let start = "<!DOCTYPE html>\n<html lang=\"en\" dir=\"ltr\">";
        assert!(html.starts_with(start) && html.ends_with("</html>"), "{html}");
        for needed in ["<meta name=\"viewport\"", "prefers-color-scheme: dark", "<main>", "<h1>", "<title>"] {
            assert!(html.contains(needed), "{needed}");
        }
        for forbidden in ["<script", "http:", "https:", "url(", "@import", " src=", "<link"] {
            assert!(!html.contains(forbidden), "{forbidden}");
        }
    }
    assert_ne!(templates.page(&CONFIRMED, &Audience::default()), templates.page(&EXPIRED, &Audience::default()));
}

#[test]
fn the_form_repeats_the_request_with_its_confirmation() {
    let templates = templates(None, false).unwrap();
    let page = CONFIRM;
    let html = templates.page(&page, &Audience { lang: Some("de"), ..brand("a\"b") });
    for (name, value) in [
        ("sid", "S0"),
        ("client_secret", "c.=_-"),
        ("token", "T0"),
        ("confirm", "1"),
        ("lang", "de"),
        ("brand", "a&#34;b"),
    ] {
        assert!(html.contains(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")), "{name}: {html}");
    }
    assert!(html.contains("<form method=\"get\">") && html.contains("<button type=\"submit\">"));
    assert!(!templates.page(&page, &Audience::default()).contains("name=\"brand\""));
    assert!(!templates.page(&EXPIRED, &brand("x")).contains("<form"));
    assert!(!html.contains("nextLink"));
    let next_link = Some("https://app.example/?a=b&c=\"");
    let page = Page::Confirm { subject: BOB, expires_in: DAY, form: Form { next_link, ..FORM } };
    let html = templates.page(&page, &Audience::default());
    assert!(html.contains("name=\"nextLink\" value=\"https://app.example/?a=b&amp;c=&#34;\">"), "{html}");
}

#[test]
fn mails_and_pages_name_the_operator_and_what_they_are_about() {
    let operator = Operator {
        name: Some("Example & Chat".to_owned()),
        help_url: Some("https://example.org/help?a=b&c".to_owned()),
        privacy_url: Some("https://example.org/privacy".to_owned()),
    };
    let config = TemplatesConfig { operator, ..TemplatesConfig::default() };
    let sms = RawSms::default().complete(Path::new(""), Path::new("")).unwrap();
    let templates = Templates::load(&config, &sms, "https://id.example.org").unwrap();
    let mail = verification(&templates, "T0", "bob@example.com", Audience::default()).unwrap();
    let subject = mail.split("\r\n").find_map(|line| line.strip_prefix("Subject: ")).unwrap();
    assert!(subject.starts_with("=?utf-8?b?"), "the dash is not ASCII: {subject}");
    for expected in [
        "by Example & Chat (id.example.org) with Gatehouse.",
        "\r\nHelp: https://example.org/help?a=b&c\r\n",
        "\r\nPrivacy: https://example.org/privacy\r\n",
        "<strong><bdi>Example &amp; Chat</bdi></strong> (<bdi>id.example.org</bdi>)",
        "href=\"https://example.org/help?a=b&amp;c\"",
        "your email address (b...@exa...)",
        "valid for 24 hours",
    ] {
        assert!(mail.contains(expected), "{expected}: {mail}");
    }
    for page in [CONFIRM, CONFIRMED, EXPIRED, Page::Unavailable] {
        let html = templates.page(&page, &Audience::default());
        assert!(html.contains("<bdi>Example &amp; Chat</bdi>") && html.contains("/privacy\""), "{html}");
        let about = matches!(page, Page::Confirm { .. } | Page::Confirmed { .. });
        assert_eq!(html.contains("<bdi>b...@exa...</bdi>") && html.contains("<bdi>@bob:hs.example</bdi>"), about);
        let has_expiry = matches!(page, Page::Confirm { .. } | Page::Expired { .. });
        assert_eq!(html.contains("24 hours"), has_expiry, "{html}");
    }
    assert!(templates.page(&Page::Unavailable, &Audience::default()).contains("The link stays good"));
}

#[test]
fn every_language_has_its_mail_and_pages_and_says_so() {
    let templates = templates(None, false).unwrap();
    for locale in Locale::all() {
        let tag = locale.tag().to_ascii_lowercase();
        let audience = Audience { lang: Some(&tag), ..Audience::default() };
        let mail = verification(&templates, "T0", "bob@example.com", audience).unwrap();
        assert!(mail.contains(&format!("\r\nContent-Language: {}\r\n", locale.tag())), "{mail}");
        for page in [CONFIRM, CONFIRMED, EXPIRED, Page::Unavailable] {
            let html = templates.page(&page, &audience);
            let start = format!("<html lang=\"{}\" dir=\"{}\">", locale.tag(), locale.direction());
            assert!(html.contains(&start) && html.contains("<title>") && !html.contains("<title></title>"), "{html}");
        }
        assert!(templates.text_message("123456", &audience).unwrap().contains("123456"));
    }
}

#[test]
fn a_request_without_a_language_gets_the_default_language() {
    let load = |tag: &str| {
        let default_language = Some(tag.to_owned());
        let sms = RawSms::default().complete(Path::new(""), Path::new("")).unwrap();
        Templates::load(&TemplatesConfig { default_language, ..TemplatesConfig::default() }, &sms, "https://x.example")
    };
    let templates = load("pt_br").unwrap();
    let lang = |audience: &Audience<'_>| templates.locale(audience).tag();
    assert_eq!(lang(&Audience::default()), "pt-BR");
    assert_eq!(lang(&Audience { accept_language: Some("tlh, de-AT;q=0.5"), ..Audience::default() }), "de");
    assert_eq!(lang(&Audience { lang: Some("zh"), accept_language: Some("de"), brand: None }), "zh-Hans");
    assert_eq!(lang(&Audience { lang: Some("tlh"), ..Audience::default() }), "pt-BR");
    let error = load("tlh").unwrap_err().to_string();
    assert!(error.starts_with("[templates] default_language: ") && error.contains("pt-BR, sv"), "{error}");
}

#[test]
fn the_button_to_the_clients_page_shows_its_host_and_escapes_its_link() {
    let dir = folder(&[("matrix-org/verify_response_template.html", "own: %(message)s")]);
    let templates = templates(Some(dir.path()), false).unwrap();
    let continue_to = Some(("app.example", "https://app.example/\"><script>?a=b&sid=S0"));
    let page = Page::Confirmed { subject: Some(BOB), continue_to };
    let html = templates.page(&page, &Audience::default());
    let href = "href=\"https://app.example/&#34;&gt;&lt;script&gt;?a=b&amp;sid=S0\"";
    assert!(html.contains(href) && html.contains(">Continue to app.example</a>"), "{html}");
    assert!(html.contains("<h1>Confirmed</h1>") && !html.contains("<script") && !html.contains("<form"), "{html}");
    assert!(templates.page(&CONFIRMED, &Audience::default()).starts_with("own: Thank you"));
}

#[test]
fn the_mail_to_a_former_owner_names_both_users() {
    let templates = templates(None, false).unwrap();
    let compose = |new_mxid| {
        let (to, audience) = ("bob@example.com", Audience::default());
        let mail = MigrationMail { to, masked_address: "b...@exa...", mxid: "@bob:hs.example", new_mxid, audience };
        mailer().compose(&templates, &mail).unwrap().message
    };
    let moved = compose("@eve:other.example");
    assert!(moved.contains("Subject: Your email address and Matrix\r\n"), "{moved}");
    assert!(
        moved.contains("the Matrix user @bob:hs.example.") && moved.contains("user @eve:other.example has confirmed")
    );
    let removed = compose("");
    assert!(removed.contains("@bob:hs.example") && !removed.contains("has confirmed"), "{removed}");
}

#[test]
fn the_operators_page_serves_both_results_but_not_the_form() {
    let dir = folder(&[
        ("matrix-org/verify_response_template.html", "<b>%(message)s</b> 100%%"),
        ("acme/de/verify_response_template.html", "acme: %(message)s"),
    ]);
    let templates = templates(Some(dir.path()), false).unwrap();
    for page in [CONFIRMED, EXPIRED] {
        let html = templates.page(&page, &Audience::default());
        assert!(html.starts_with("<b>T") && html.ends_with("</b> 100%"), "{html}");
    }
    let german = Audience { lang: Some("de"), ..brand("acme") };
    assert!(templates.page(&CONFIRMED, &german).starts_with("acme: Vielen Dank"));
    assert!(templates.page(&CONFIRM, &Audience::default()).contains("<form"));
}

proptest! {
    #[test]
    fn no_value_can_add_a_header_a_part_or_a_line(token in "(?s).{0,80}|(\r\n|\n|\r|\\.|Bcc: e@x|--|<a>|%\\(to\\)s|\\{\\{ to \\}\\}|\u{202e}){1,12}", raw: bool, which in 0..3_usize) {
        let dir = folder(&[
            ("a/verification_template.eml", "From: x@x\nSubject: s %(token)s\nX-Token: %(token)s\n\n%(token)s\nend"),
            ("b/verification_template.eml", "text\n%(token)s\nend"),
        ]);
        let templates = templates(Some(dir.path()), raw).unwrap();
        let audience = brand(["a", "b", "built-in"][which]);
        let count = |message: &str| {
            let (head, body) = message.split_once("\r\n\r\n").unwrap();
            let names: Vec<String> = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']))
                .map(|line| line.split(':').next().unwrap().to_owned()).collect();
            let boundary = message.split("boundary=\"").nth(1).and_then(|rest| rest.split('"').next());
            let parts = boundary.map(|boundary| body.matches(&format!("--{boundary}")).count());
            (names, parts)
        };
        let hostile = verification(&templates, &token, "bob@example.com", audience).unwrap();
        let harmless = verification(&templates, "T0", "bob@example.com", audience).unwrap();
        let without = |(names, parts): (Vec<String>, Option<usize>)| {
            // A value may require another encoding.
            (names.into_iter().filter(|name| name != "Content-Transfer-Encoding").collect::<Vec<_>>(), parts)
        };
        prop_assert_eq!(without(count(&hostile)), without(count(&harmless)));
        let active = ['\r', '\n', '\0', '\u{202e}'];
        prop_assert!(!hostile.replace("\r\n", "").contains(active));
        prop_assert!(hostile.split("\r\n").all(|line| line.len() <= 998));
    }
}
