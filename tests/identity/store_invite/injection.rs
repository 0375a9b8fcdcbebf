//! What a homeserver's words can do in a mail: be read.
//!
//! Invariant: a mail is compared with one that says something harmless, header by header and part by part.

use harness::mail::Mail;
use serde_json::json;

use super::{BOB, NO_LIMITS, invite, subject, with, world_with};
use harness::world::identity::databases;

/// Texts that would change a mail if they came to stand in it as they are.
const HOSTILE: [&str; 20] = [
    "x\r\nBcc: evil@evil.example",
    "x\nBcc: evil@evil.example",
    "x\rBcc: evil@evil.example",
    "\r\n\r\n<p>body</p>",
    "\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n",
    "\r\n.\r\n",
    "x>\r\nRCPT TO:<evil@evil.example>\r\n",
    "\r\n--boundary--\r\n",
    "--{{ multipart_boundary }}--",
    "%(multipart_boundary)s",
    "<a href=\"https://evil.example\">x</a>",
    "\"><img src=x onerror=alert(1)>",
    "</title></head><body>",
    "{{ token }}{% for x in y %}",
    "=?utf-8?q?=0D=0ABcc=3A_evil=40evil=2Eexample?=",
    "\u{202e}gpj.exe\u{2066}",
    "x\u{2028}y\u{85}z\u{b}",
    "\0\u{1b}[31m",
    "${jndi:ldap://evil.example}",
    "\t \t ",
];

/// The names of a mail's headers, its parts' types, and its envelope.
fn shape(mail: &Mail) -> String {
    let message = mail.message();
    let names: Vec<&str> = message.headers.iter().map(|(name, _)| name.as_str()).collect();
    let parts: Vec<&str> = message.parts.iter().map(|part| part.content_type.as_str()).collect();
    format!("{} {:?} {names:?} {parts:?}", mail.from, mail.to)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_becomes_a_header_a_part_a_tag_or_another_mail() {
    for database in databases().await {
        let (world, alice) = world_with(&format!("{NO_LIMITS}{database}")).await;
        let harmless = json!({ "room_name": "Tea", "sender_display_name": "Alice" });
        invite(&world, &alice, with(BOB, harmless)).await;
        let expected = shape(&world.mail.mails()[0]);
        let mut sent = 1;
        for hostile in HOSTILE {
            for name in [
                "room_name",
                "sender_display_name",
                "room_alias",
                "room_avatar_url",
                "room_type",
                "guest_user_id",
                "guest_access_token",
                "org.matrix.web_client_location",
            ] {
                let invited = invite(&world, &alice, with(BOB, json!({ name: hostile }))).await;
                sent += 1;
                let mails = world.mail.mails();
                assert_eq!(mails.len(), sent, "{name} {hostile:?}");
                let mail = mails.last().unwrap();
                // Found by its own parser, which refuses bare CRs, long lines and unfinished parts.
                assert_eq!(shape(mail).replace(", \"Content-Transfer-Encoding\"", ""), expected, "{name} {hostile:?}");
                let message = mail.message();
                let html = message.html();
                for forbidden in ["<img", "<p>body", "evil.example\">", "</title></head><body>"] {
                    assert!(!html.contains(forbidden), "{name} {hostile:?}: {html}");
                }
                // The invitation, and the link that blocks further ones.
                assert_eq!(html.matches("<a ").count(), 2, "{name} {hostile:?}: {html}");
                let acting =
                    |c: char| c.is_control() && !matches!(c, '\r' | '\n') || "\u{202e}\u{2066}\u{2028}".contains(c);
                for text in [message.text(), html, subject(&message)] {
                    assert!(!text.contains(acting), "{name} {hostile:?}: {text}");
                }
                let known = ["room_name", "room_avatar_url", "room_type", "guest_user_id", "guest_access_token"];
                if known.contains(&name)
                    && !hostile.contains(['\r', '\n', '\0', '\u{202e}', '\u{2028}', '\t'])
                    && hostile.len() < 30
                {
                    assert_eq!(invited.link.parameters[name], hostile, "{name}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_name_is_cut_and_a_long_subject_is_folded() {
    let subject_pattern = "subject = \"{sender_display_name} has invited you to {room_name}, which is a room on the network that is called Matrix and that you may not know yet\"";
    let (world, alice) = world_with(&format!("{NO_LIMITS}[invites]\n{subject_pattern}\n")).await;
    for (name, room, expected_name, expected_room) in [
        ("x".repeat(1000), "y".repeat(1000), format!("{}…", "x".repeat(19)), format!("{}…", "y".repeat(25))),
        ("ü".repeat(1000), "👩‍👩‍👧".repeat(300), format!("{}…", "ü".repeat(19)), format!("{}…", "👩‍👩‍👧".repeat(25))),
        ("ü".repeat(20), "y".repeat(30), "ü".repeat(20), "y".repeat(30)),
        ("word ".repeat(200), " ".repeat(1000), format!("{}…", "word word word word"), String::new()),
    ] {
        let body = with(BOB, json!({ "sender_display_name": name, "room_name": room }));
        let link = invite(&world, &alice, body).await.link;
        assert_eq!(link.parameters["inviter_name"], expected_name);
        assert_eq!(link.parameters["room_name"], expected_room);
        let mail = world.mail.mails().pop().unwrap();
        let message = mail.message();
        assert!(subject(&message).starts_with(&format!("{expected_name} has invited you to")), "{}", subject(&message));
        assert!(message.text().contains(&format!("{expected_name} (@alice:hs.example) has invited you to ")));
        let raw = String::from_utf8(mail.raw).unwrap();
        let head = raw.split("\r\n\r\n").next().unwrap();
        let lines: Vec<&str> = head.split("\r\n").skip_while(|line| !line.starts_with("Subject: ")).collect();
        let folded = lines.iter().skip(1).take_while(|line| line.starts_with(' ')).count();
        assert!(folded >= 1, "{head}");
        assert!(lines.iter().take(folded + 1).all(|line| line.len() <= 100 && line.is_ascii()), "{head}");
    }
}
