//! Tests of the mail sink: it accepts valid sessions and rejects invalid ones.

use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Offer, Script, Sink, Stage, Tls};
use crate::certificates::{Authority, Certificate};

const SOON: Duration = Duration::from_secs(10);

/// A client that sends the lines of the test.
struct Client<S>(BufReader<S>);

impl Client<TcpStream> {
    async fn connect(sink: &Sink) -> Self {
        Self(BufReader::new(TcpStream::connect(sink.address()).await.unwrap()))
    }

    async fn tls(self, authority: &Authority) -> std::io::Result<Client<TlsStream<TcpStream>>> {
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(authority.client_config()).connect(name, self.0.into_inner()).await?;
        Ok(Client(BufReader::new(stream)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// The whole reply, lines joined by blanks; empty if the connection was closed.
    async fn reply(&mut self) -> String {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await.is_ok_and(|n| n > 0) && line.get(3..4) == Some("-") {
                lines.push(line.trim().to_owned());
                continue;
            }
            lines.push(line.trim().to_owned());
            return lines.join(" ");
        }
    }

    async fn say(&mut self, text: &str) -> String {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        self.reply().await
    }

    /// Sends each line and compares the code of its reply.
    async fn dialogue(&mut self, lines: &[(&str, &str)]) {
        for (line, code) in lines {
            let reply = self.say(line).await;
            assert!(reply.starts_with(code), "{line:?}: {reply:?}, not {code}");
        }
    }
}

#[tokio::test]
async fn a_mail_is_taken_as_it_was_sent() {
    let sink = Sink::start(Offer::default()).await;
    let mut client = Client::connect(&sink).await;
    assert!(client.reply().await.starts_with("220"));
    let offer = client.say("EHLO id.example.org").await;
    assert!(offer.contains("8BITMIME") && offer.contains("SMTPUTF8"), "{offer}");
    assert!(!offer.contains("PIPELINING") && !offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    client
        .dialogue(&[
            ("MAIL FROM:<id@example.org> BODY=8BITMIME SMTPUTF8", "250"),
            ("RCPT TO:<bob@example.com>", "250"),
            ("rcpt to:<cäcilie@example.com>", "250"),
            ("DATA", "354"),
            ("Subject: ä\r\n\r\n..dot\r\n.", "250"),
            ("MAIL FROM:<>", "250"),
            ("RCPT TO:<bob@example.com>", "250"),
            ("DATA", "354"),
            ("Subject: second\r\n\r\n.", "250"),
            ("QUIT", "221"),
        ])
        .await;
    let first = sink.wait_for("bob@example.com", 1, SOON).await;
    assert_eq!((first.hello.as_str(), first.from.as_str(), first.tls), ("id.example.org", "id@example.org", false));
    assert_eq!(first.to, ["bob@example.com", "cäcilie@example.com"]);
    assert_eq!(first.parameters, ["BODY=8BITMIME", "SMTPUTF8"]);
    assert_eq!(first.raw, "Subject: ä\r\n\r\n.dot\r\n".as_bytes());
    assert_eq!(sink.wait_for("bob@example.com", 2, SOON).await.message().header("subject"), Some("second"));
    assert_eq!((sink.mails_to("cäcilie@example.com").len(), sink.mails().len(), sink.connections()), (1, 2, 1));
    let taken = || sink.take_to("bob@example.com").map(|mail| mail.to.len());
    assert_eq!((taken(), taken(), taken(), sink.mails().len()), (Some(1), Some(2), None, 0));
}

#[tokio::test]
async fn what_is_out_of_order_or_not_offered_is_refused() {
    let offer = Offer { smtputf8: false, eight_bit_mime: false, ..Offer::default() };
    let sink = Sink::start(offer.clone()).await;
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client
        .dialogue(&[
            ("MAIL FROM:<a@b>", "503"),
            ("EHLO ", "501"),
            ("EHLO me", "250"),
            ("RCPT TO:<a@b>", "503"),
            ("DATA", "503"),
            ("STARTTLS", "502"),
            ("AUTH PLAIN AGEAYg==", "503"),
            ("MAIL FROM:a@b", "501"),
            ("MAIL FROM:<a@b> BODY=8BITMIME", "555"),
            ("MAIL FROM:<a@b> SMTPUTF8", "555"),
            ("MAIL FROM:<ä@b>", "550"),
            ("MAIL FROM:<a@b>", "250"),
            ("MAIL FROM:<a@b>", "503"),
            ("RCPT TO:<ä@b>", "553"),
            ("RCPT TO:<>", "501"),
            ("RCPT TO:<a@b,c@d> x", "501"),
            ("DATA", "503"),
            ("RCPT TO:<a@b>", "250"),
            ("DATA", "354"),
            ("ä\r\n.", "554"),
            ("WHAT", "500"),
        ])
        .await;
    for (body, code) in [("a\nb\r\n.", "554"), (format!("{}\r\n.", "x".repeat(999)).as_str(), "500")] {
        client.dialogue(&[("MAIL FROM:<a@b>", "250"), ("RCPT TO:<a@b>", "250"), ("DATA", "354"), (body, code)]).await;
    }
    let reply = client.say("NOOP\r\nNOOP").await;
    assert!(reply.starts_with("503") && reply.contains("PIPELINING"), "{reply}");
    assert_eq!(client.reply().await, "", "the connection has ended");
    assert!(sink.mails().is_empty());

    sink.set_offer(Offer { ehlo: false, ..offer });
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.dialogue(&[("EHLO me", "502"), ("HELO me", "250"), ("MAIL FROM:<a@b> SIZE=1", "555")]).await;
    client.dialogue(&[("MAIL FROM:<a@b>", "250")]).await;
}

#[tokio::test]
async fn with_starttls_nothing_goes_in_the_clear() {
    let credentials = Some(("id".to_owned(), "pass".to_owned()));
    let sink = Sink::start(Offer { tls: Tls::StartTls, credentials, ..Offer::default() }).await;
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    let offer = client.say("EHLO me").await;
    assert!(offer.contains("STARTTLS") && !offer.contains("AUTH"), "{offer}");
    client.dialogue(&[("MAIL FROM:<a@b>", "530"), ("AUTH PLAIN AGlkAHBhc3M=", "538"), ("STARTTLS", "220")]).await;
    let mut client = client.tls(sink.authority()).await.unwrap();
    client.dialogue(&[("MAIL FROM:<a@b>", "503")]).await;
    let offer = client.say("EHLO me").await;
    assert!(!offer.contains("STARTTLS") && offer.contains("AUTH PLAIN LOGIN"), "{offer}");
    client
        .dialogue(&[
            ("MAIL FROM:<a@b>", "530"),
            ("AUTH PLAIN AGlkAHdyb25n", "535"),
            ("AUTH PLAIN !", "501"),
            ("AUTH CRAM-MD5", "504"),
            ("AUTH LOGIN", "334 VXNlcm5hbWU6"),
            ("aWQ=", "334 UGFzc3dvcmQ6"),
            ("cGFzcw==", "235"),
            ("MAIL FROM:<a@b>", "250"),
            ("RCPT TO:<c@d>", "250"),
            ("DATA", "354"),
            ("\r\n.", "250"),
        ])
        .await;
    let mail = sink.wait_for("c@d", 1, SOON).await;
    assert_eq!((mail.tls, mail.user.as_deref()), (true, Some("id")));
    assert!(!sink.commands().iter().any(|command| command.contains("AGlk")), "AUTH was kept");
}

#[tokio::test]
async fn implicit_tls_and_bad_certificates() {
    let sink = Sink::start(Offer { tls: Tls::Implicit, ..Offer::default() }).await;
    let mut client = Client::connect(&sink).await.tls(sink.authority()).await.unwrap();
    assert!(client.reply().await.starts_with("220"));
    for certificate in [
        Certificate::self_signed(&["localhost"]),
        sink.authority().issue(&["other.example"]),
        sink.authority().issue_expired(&["localhost"]),
    ] {
        sink.set_certificate(&certificate);
        assert!(Client::connect(&sink).await.tls(sink.authority()).await.is_err());
    }
}

#[tokio::test]
async fn scripts_answer_in_turn_and_then_end() {
    let sink = Sink::start(Offer::default()).await;
    sink.script(Stage::Mail, [Script::say("451 4.3.0 later")]);
    sink.script(Stage::EndOfData, [Script::say("452 4.3.1 full"), Script::say("554 5.7.1 never")]);
    let mut client = Client::connect(&sink).await;
    client.reply().await;
    client.dialogue(&[("EHLO me", "250"), ("MAIL FROM:<a@b>", "451")]).await;
    for code in ["452", "554", "250"] {
        client
            .dialogue(&[("MAIL FROM:<a@b>", "250"), ("RCPT TO:<c@d>", "250"), ("DATA", "354"), ("\r\n.", code)])
            .await;
    }
    assert_eq!(sink.mails().len(), 1);

    sink.always(Stage::Greeting, Script::Silence);
    let mut client = Client::connect(&sink).await;
    assert!(tokio::time::timeout(Duration::from_millis(50), client.reply()).await.is_err());
    sink.always(Stage::Greeting, Script::Close);
    assert_eq!(Client::connect(&sink).await.reply().await, "");
    sink.mend();
    assert!(Client::connect(&sink).await.reply().await.starts_with("220"));
}
