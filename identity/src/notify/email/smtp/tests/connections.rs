//! The connection that is kept, and those that are left.

use std::sync::Arc;

use shared::config::HumanDuration;
use tokio::net::TcpListener;

use super::{Behaviour, config, mail, mailer, relay, send_one, with};
use crate::config::email::{RawEmail, TlsMode};
use crate::notify::email::{Refusal, SendError};

#[tokio::test(flavor = "multi_thread")]
async fn mails_go_over_one_connection_that_is_kept() {
    let (port, seen) = relay(Behaviour::default()).await;
    let mailer = Arc::new(mailer(config(port, TlsMode::None), None));
    for _ in 0..3 {
        // Each on its own task, as in the server.
        let mailer = Arc::clone(&mailer);
        tokio::spawn(async move { mailer.send(&mail("bob@example.com", "hi\r\n")).await }).await.unwrap().unwrap();
    }
    assert_eq!((seen.connections(), seen.mails().len()), (1, 3));
    let lines = seen.lines();
    assert_eq!(
        lines[..4],
        ["EHLO id.example.org", "MAIL FROM:<noreply@id.example.org>", "RCPT TO:<bob@example.com>", "DATA"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_was_closed_is_replaced() {
    let (port, seen) = relay(Behaviour { closes_after: Some(1), ..Behaviour::default() }).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    for _ in 0..3 {
        mailer.send(&mail("bob@example.com", "hi\r\n")).await.unwrap();
    }
    assert_eq!((seen.connections(), seen.mails().len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_the_relay_ends_before_the_end_of_the_mail_is_replaced_at_once() {
    for verb in ["MAIL", "RCPT", "DATA"] {
        for reply in ["421 4.7.0 too many messages in this connection", ""] {
            let (port, seen) = relay(Behaviour { ends_at: Some((verb, reply)), ..Behaviour::default() }).await;
            let mailer = mailer(config(port, TlsMode::None), None);
            for _ in 0..2 {
                assert_eq!(mailer.send(&mail("bob@example.com", "hi\r\n")).await, Ok(()), "{verb} {reply}");
            }
            assert_eq!((seen.connections(), seen.mails().len()), (2, 2), "{verb} {reply}");
        }
    }
    // The relay may have accepted the mail.
    let (port, seen) = relay(Behaviour { ends_at: Some((".", "")), ..Behaviour::default() }).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    mailer.send(&mail("bob@example.com", "hi\r\n")).await.unwrap();
    assert_eq!(mailer.send(&mail("bob@example.com", "hi\r\n")).await, Err(SendError::Refused(Refusal::Broken)));
    assert_eq!((seen.connections(), seen.mails().len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_that_says_421_is_the_usual_failure() {
    let (sent, seen) = send_one(with("MAIL", "421 4.3.2 busy"), TlsMode::None, None).await;
    assert_eq!(sent.unwrap_err().to_string(), "mail deferred with reply 421 4.3.2");
    assert_eq!(seen.connections(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_the_next_mail_starts_clean() {
    let (port, seen) = relay(with("RCPT", "550 no such user bob@example.com")).await;
    let mailer = mailer(config(port, TlsMode::None), None);
    for _ in 0..2 {
        assert_eq!(
            mailer.send(&mail("bob@example.com", "hi\r\n")).await,
            Err(SendError::Refused(Refusal::Reply(550.into())))
        );
    }
    assert_eq!(seen.connections(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_a_connect_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let sent = mailer(config(port, TlsMode::None), None).send(&mail("bob@example.com", "hi")).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Connect(_)))), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_falls_silent_is_left_and_its_connection_not_used_again() {
    for (verb, expected) in [("EHLO", Refusal::Connect("timed out".into())), ("DATA", Refusal::Broken)] {
        let (port, seen) = relay(Behaviour { silent_at: verb, ..Behaviour::default() }).await;
        let config = RawEmail { timeout: HumanDuration::from_millis(200), ..config(port, TlsMode::None) };
        let mailer = mailer(config, None);
        for _ in 0..2 {
            assert_eq!(mailer.send(&mail("bob@example.com", "hi")).await, Err(SendError::Refused(expected.clone())));
        }
        assert_eq!(seen.connections(), 2, "{verb}");
        assert!(!seen.saw("NOOP"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_conversation_does_not_go_back_into_the_pool() {
    let (port, seen) = relay(Behaviour { silent_at: "DATA", ..Behaviour::default() }).await;
    let mailer = Arc::new(mailer(config(port, TlsMode::None), None));
    let task = tokio::spawn({
        let mailer = Arc::clone(&mailer);
        async move { mailer.send(&mail("bob@example.com", "hi")).await }
    });
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(5);
    while !seen.saw("DATA") {
        assert!(tokio::time::Instant::now() < deadline, "the client never sent DATA");
        tokio::task::yield_now().await;
    }
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    let second = tokio::spawn(async move { mailer.send(&mail("bob@example.com", "hi")).await });
    while seen.connections() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the incomplete connection was used again");
        tokio::task::yield_now().await;
    }
    second.abort();
    assert!(!seen.saw("NOOP"));
}
