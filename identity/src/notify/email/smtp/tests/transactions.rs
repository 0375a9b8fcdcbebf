//! One mail: replies, addresses, extensions and the text.

use shared::clock::{Clock, Timestamp};
use shared::random::Random;

use super::{Behaviour, config, mail, mailer, relay, send_one, with};
use crate::config::email::{RawEmail, TlsMode};
use crate::notify::email::{Mailer, Refusal, SendError};

#[tokio::test(flavor = "multi_thread")]
async fn four_hundreds_are_for_later_and_five_hundreds_for_good() {
    for verb in ["GREETING", "MAIL", "RCPT", "DATA", "."] {
        let (sent, seen) = send_one(with(verb, "451 bob@example.com is busy"), TlsMode::None, None).await;
        assert_eq!(sent, Err(SendError::TryLater { reply: Some(451.into()) }), "{verb}");
        assert!(!sent.unwrap_err().to_string().contains("bob") && seen.mails().is_empty());
        let (sent, _) = send_one(with(verb, "554 bob@example.com is unwanted"), TlsMode::None, None).await;
        // A rejection before MAIL concerns every mail and has its own kind.
        let before = verb == "GREETING";
        let refusal = if before { Refusal::Connect(String::from("reply 554")) } else { Refusal::Reply(554.into()) };
        assert_eq!(sent, Err(SendError::Refused(refusal)), "{verb}");
        let shown = format!("{} {:?}", sent.clone().unwrap_err(), sent);
        assert!(!shown.contains("bob") && shown.contains("554"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_speaks_out_of_turn_has_taken_nothing() {
    for (verb, reply) in [("DATA", "250 ok"), (".", "354 go on"), ("MAIL", "no number"), ("GREETING", "HTTP/1.1 400")] {
        let (sent, _) = send_one(with(verb, reply), TlsMode::None, None).await;
        assert!(matches!(sent, Err(SendError::Refused(_))), "{verb} {reply}: {sent:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_is_greeted_with_helo_and_gets_ascii() {
    let (port, seen) = relay(Behaviour { no_ehlo: true, ..Behaviour::default() }).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    mailer.send(&mail("bob@example.com", "ein süßer Text, und nicht kurz\r\n")).await.unwrap();
    assert_eq!(seen.lines()[0], "EHLO id.example.org");
    assert!(seen.saw("HELO id.example.org") && seen.saw("MAIL FROM:<noreply@id.example.org>"));
    assert!(seen.mails()[0].is_ascii() && seen.mails()[0].contains("s=C3=BC=C3=9Fer"), "{:?}", seen.mails());
    let impossible = mailer.send(&mail("jürgen@example.com", "hi")).await;
    assert_eq!(impossible, Err(SendError::ImpossibleAddress));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_international_local_part_needs_a_relay_that_can() {
    let body = "grüße\r\n";
    let (port, seen) = relay(Behaviour { extensions: &["8BITMIME", "SMTPUTF8"], ..Behaviour::default() }).await;
    mailer(config(port, TlsMode::None), None).send(&mail("jürgen@bücher.example", body)).await.unwrap();
    assert!(seen.saw("RCPT TO:<jürgen@bücher.example>"));
    assert!(
        seen.lines()
            .iter()
            .any(|line| line.starts_with("MAIL ") && line.contains(" SMTPUTF8") && line.contains("BODY=8BITMIME"))
    );
    let (port, seen) = relay(Behaviour { extensions: &["8BITMIME"], ..Behaviour::default() }).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    assert_eq!(mailer.send(&mail("jürgen@example.com", body)).await, Err(SendError::ImpossibleAddress));
    assert!(!seen.saw("MAIL"));
    mailer.send(&mail("bob@bücher.example", body)).await.unwrap_err();
    mailer.send(&mail("bob@xn--bcher-kva.example", body)).await.unwrap();
    assert!(seen.mails()[0].contains("grüße") && !seen.saw("MAIL FROM:<noreply@id.example.org> SMTPUTF8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_part_that_is_no_dot_atom_is_quoted() {
    let (port, seen) = relay(Behaviour::default()).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    for (to, envelope) in [("a..b@x.org", "\"a..b\"@x.org"), ("a.@x.org", "\"a.\"@x.org"), ("a.b@x.org", "a.b@x.org")] {
        mailer.send(&mail(to, "hi")).await.unwrap();
        assert!(seen.saw(&format!("RCPT TO:<{envelope}>")), "{:?}", seen.lines());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_with_a_dot_ends_nothing() {
    let (port, seen) = relay(Behaviour::default()).await;
    let body = "one\r\n.\r\nMAIL FROM:<evil@x>\r\n..two\r\n.";
    mailer(config(port, TlsMode::None), None).send(&mail("bob@example.com", body)).await.unwrap();
    assert_eq!(seen.mails().len(), 1);
    assert!(
        seen.mails()[0].ends_with("\r\n\r\none\r\n..\r\nMAIL FROM:<evil@x>\r\n...two\r\n..\r\n.\r\n"),
        "{:?}",
        seen.mails()
    );
    assert_eq!(seen.lines().iter().filter(|line| line.starts_with("MAIL")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_mail_with_a_foul_address_is_not_sent() {
    let (port, seen) = relay(Behaviour::default()).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    for to in ["bob@x>\r\nRCPT TO:<evil@x", "bob@x> NOTIFY=NEVER", "", "bob"] {
        assert_eq!(mailer.send(&mail(to, "hi")).await, Err(SendError::ImpossibleAddress), "{to:?}");
    }
    assert!(!seen.saw("RCPT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn disabled_mail_is_refused_and_said_so() {
    let mailer = mailer(RawEmail { enabled: false, ..RawEmail::default() }, None);
    assert_eq!(mailer.send(&mail("bob@example.com", "hi")).await, Err(SendError::Disabled));
    assert_eq!(mailer.describe(), "email: disabled");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_each_mail_becomes_a_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = tempfile::tempdir().unwrap();
    let clock = Clock::manual(Timestamp::from_millis(1_750_000_000_000));
    let config = RawEmail::default().complete(data.path(), data.path(), None).unwrap();
    let mailer = Mailer::new(&config, "id.example.org", None, clock, Random).unwrap();
    assert!(!data.path().join("mail").exists());
    mailer.prepare().unwrap();
    assert!(
        mailer.describe().contains("development only") && mailer.describe().contains(data.path().to_str().unwrap())
    );
    for _ in 0..2 {
        mailer.send(&mail("bob@example.com", "hi\r\n")).await.unwrap();
    }
    let folder = data.path().join("mail");
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert!(file.to_str().unwrap().ends_with(".eml"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), mail("bob@example.com", "hi\r\n").message);
    }
    std::fs::remove_dir_all(&folder).unwrap();
    let sent = mailer.send(&mail("bob@example.com", "hi")).await;
    assert_eq!(sent, Err(SendError::Refused(Refusal::File(std::io::ErrorKind::NotFound))));
}
