//! Tests of kept connections that fall silent without being closed, against a relay that accepts new ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};

use super::{MAX_CONNECTIONS, PROBE, Smtp};
use crate::config::email::{Relay, TlsMode};
use crate::notify::email::message::{MessageKind, OutgoingMail};

/// A relay whose first [`MAX_CONNECTIONS`] connections each deliver one mail at the same time, so that all are kept.
struct SilentRelay {
    are_silent: AtomicBool,
    connections: AtomicUsize,
    first_mails: Barrier,
}

impl SilentRelay {
    async fn start() -> (u16, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let relay = Arc::new(Self {
            are_silent: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            first_mails: Barrier::new(MAX_CONNECTIONS),
        });
        let accepting = Arc::clone(&relay);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let is_first = accepting.connections.fetch_add(1, Ordering::SeqCst) < MAX_CONNECTIONS;
                let relay = Arc::clone(&accepting);
                tokio::spawn(async move { relay.converse(BufReader::new(stream), is_first).await });
            }
        });
        (port, relay)
    }

    async fn converse(&self, mut stream: BufReader<TcpStream>, is_first: bool) -> std::io::Result<()> {
        stream.write_all(b"220 relay.test ESMTP\r\n").await?;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            if is_first && self.are_silent.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            let reply: &[u8] = match line.trim_end() {
                "DATA" => {
                    stream.write_all(b"354 go\r\n").await?;
                    while line != ".\r\n" {
                        line.clear();
                        stream.read_line(&mut line).await?;
                    }
                    if is_first {
                        self.first_mails.wait().await;
                    }
                    b"250 taken\r\n"
                }
                _ => b"250 ok\r\n",
            };
            stream.write_all(reply).await?;
            line.clear();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_probe_without_an_answer_replaces_all_kept_connections() {
    let (port, relay) = SilentRelay::start().await;
    let settings = Relay { host: "127.0.0.1".to_owned(), port, tls: TlsMode::None, helo_name: None, login: None };
    let smtp = Arc::new(Smtp::new(&settings, Duration::from_secs(10), None).unwrap());
    let mail = || OutgoingMail {
        kind: MessageKind::Verification,
        from: "noreply@id.example.org".to_owned(),
        to: "bob@example.com".to_owned(),
        message: "Subject: x\r\n\r\nhi\r\n".to_owned(),
    };
    let first = (0..MAX_CONNECTIONS).map(|_| {
        let smtp = Arc::clone(&smtp);
        tokio::spawn(async move { smtp.send(&mail()).await })
    });
    for sent in first.collect::<Vec<_>>() {
        sent.await.unwrap().unwrap();
    }
    relay.are_silent.store(true, Ordering::SeqCst);
    let started = Instant::now();
    timeout(3 * PROBE, smtp.send(&mail())).await.expect("the mail waits for one probe only").unwrap();
    assert!(started.elapsed() >= PROBE, "the kept connections were used");
    // The next mail goes over the new connection.
    timeout(PROBE, smtp.send(&mail())).await.unwrap().unwrap();
    assert_eq!(relay.connections.load(Ordering::SeqCst), MAX_CONNECTIONS + 1);
}
