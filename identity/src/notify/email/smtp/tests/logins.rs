//! Login with a password or an access token.

use std::collections::HashMap;
use std::io::Write as _;

use shared::config::HumanDuration;
use shared::secret::Secret;

use super::{Authority, Behaviour, config, mail, mailer, relay};
use crate::config::email::{AuthKind, RawEmail, TlsMode};
use crate::notify::email::{Refusal, SendError};

#[tokio::test(flavor = "multi_thread")]
async fn login_uses_the_password_and_a_wrong_one_is_refused() {
    let authority = Authority::new();
    let behaviour = Behaviour {
        acceptor: Some(authority.acceptor("localhost")),
        extensions: &["STARTTLS", "AUTH PLAIN LOGIN"],
        ..Behaviour::default()
    };
    let attempt = async |behaviour: Behaviour| {
        let (port, seen) = relay(behaviour).await;
        let mut password = tempfile::NamedTempFile::new().unwrap();
        writeln!(password, "hunter2").unwrap();
        let config = RawEmail {
            username: Some("user".into()),
            password_file: Some(password.path().to_path_buf()),
            ..config(port, TlsMode::Starttls)
        };
        (mailer(config, Some(&authority)).send(&mail("bob@example.com", "hi\r\n")).await, seen)
    };
    let (sent, seen) = attempt(behaviour.clone()).await;
    assert_eq!(sent, Ok(()));
    // base64 of "\0user\0hunter2"
    assert!(seen.saw("AUTH PLAIN AHVzZXIAaHVudGVyMg=="));
    for (reply, expected) in [
        ("535 wrong password for user", SendError::Refused(Refusal::Login(Some(535.into())))),
        ("454 later", SendError::TryLater { reply: Some(454.into()) }),
    ] {
        let (sent, seen) = attempt(Behaviour { replies: HashMap::from([("AUTH", reply)]), ..behaviour.clone() }).await;
        assert_eq!(sent, Err(expected));
        assert!(!seen.saw("MAIL"));
    }
    let (sent, seen) = attempt(Behaviour { extensions: &["STARTTLS"], ..behaviour }).await;
    assert_eq!(sent, Err(SendError::Refused(no_mechanism("PLAIN, LOGIN", "no mechanism"))));
    assert!(!seen.saw("MAIL"));
}

fn no_mechanism(supported: &'static str, offered: &str) -> Refusal {
    Refusal::NoMechanism { supported, offered: offered.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_without_a_common_mechanism_names_what_the_relay_offers() {
    let behaviour = Behaviour { extensions: &["AUTH NTLM XOAUTH2", "AUTH=GSSAPI"], ..Behaviour::default() };
    let (port, seen) = relay(behaviour).await;
    let password = Some(Secret::new(String::from("hunter2")));
    let config = RawEmail { username: Some("u".into()), password, ..config(port, TlsMode::None) };
    let error = mailer(config, None).send(&mail("bob@example.com", "hi")).await.unwrap_err();
    assert_eq!(error, SendError::Refused(no_mechanism("PLAIN, LOGIN", "NTLM, XOAUTH2, GSSAPI")));
    assert!(!seen.saw("AUTH") && !seen.saw("MAIL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_read_for_each_connection_and_its_rejection_is_a_failed_login() {
    let authority = Authority::new();
    let token = tempfile::NamedTempFile::new().unwrap();
    let raw = |port| RawEmail {
        auth: AuthKind::Xoauth2,
        username: Some("me@example.org".into()),
        token_file: Some(token.path().to_path_buf()),
        ..config(port, TlsMode::Starttls)
    };
    let behaviour = |extensions| Behaviour {
        acceptor: Some(authority.acceptor("localhost")),
        extensions,
        closes_after: Some(1),
        ..Behaviour::default()
    };
    let (port, seen) = relay(behaviour(&["STARTTLS", "AUTH LOGIN XOAUTH2"])).await;
    let mailer = mailer(raw(port), Some(&authority));
    for text in ["one\n", "\u{feff}two "] {
        std::fs::write(token.path(), text).unwrap();
        assert_eq!(mailer.send(&mail("bob@example.com", "hi")).await, Ok(()));
    }
    // base64 of "user=me@example.org\x01auth=Bearer one\x01\x01"
    assert!(seen.saw("AUTH XOAUTH2 dXNlcj1tZUBleGFtcGxlLm9yZwFhdXRoPUJlYXJlciBvbmUBAQ=="), "{:?}", seen.lines());
    assert!(seen.saw("AUTH XOAUTH2 dXNlcj1tZUBleGFtcGxlLm9yZwFhdXRoPUJlYXJlciB0d28BAQ=="), "{:?}", seen.lines());

    for extensions in [&["STARTTLS", "AUTH XOAUTH2"], &["STARTTLS", "AUTH OAUTHBEARER"]] {
        let replies = HashMap::from([("AUTH", "334 eyJzdGF0dXMiOiI0MDAifQ==")]);
        let (port, seen) = relay(Behaviour { replies, ..behaviour(extensions) }).await;
        let error = super::mailer(raw(port), Some(&authority)).send(&mail("bob@example.com", "hi")).await.unwrap_err();
        assert_eq!(error.to_string(), "mail refused: login failed with reply 535 5.7.3");
        assert!(!seen.saw("MAIL"));
    }
    std::fs::write(token.path(), "two words").unwrap();
    let (port, seen) = relay(behaviour(&["STARTTLS", "AUTH XOAUTH2"])).await;
    let sent = super::mailer(raw(port), Some(&authority)).send(&mail("bob@example.com", "hi")).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Token(_)))), "{sent:?}");
    assert!(!seen.saw("AUTH"));
    for (command, is_good) in [("printf one", true), ("exit 3", false), ("sleep 60", false), ("printf ''", false)] {
        let (port, seen) = relay(behaviour(&["STARTTLS", "AUTH XOAUTH2"])).await;
        let config = RawEmail {
            token_file: None,
            token_command: vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()].into(),
            timeout: HumanDuration::from_secs(2),
            ..raw(port)
        };
        let sent = super::mailer(config, Some(&authority)).send(&mail("bob@example.com", "hi")).await;
        assert_eq!((sent.is_ok(), seen.saw("AUTH")), (is_good, is_good), "{command}: {sent:?}");
    }
}
