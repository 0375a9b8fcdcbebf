//! Tests of the SMTP client against a scripted relay on the loopback interface.

mod connections;
mod logins;
mod tls;
mod transactions;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shared::clock::Clock;
use shared::config::HumanDuration;
use shared::random::Random;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::email::{EmailConfig, RawEmail, TlsMode};
use crate::notify::email::message::{MessageKind, OutgoingMail};
use crate::notify::email::{Mailer, SendError};

/// The script of a relay.
#[derive(Clone, Default)]
struct Behaviour {
    acceptor: Option<TlsAcceptor>,
    tls_from_the_start: bool,
    no_ehlo: bool,
    /// Sent in one write with the reply to STARTTLS.
    injected: &'static str,
    extensions: &'static [&'static str],
    /// Replies by verb (`GREETING`, `MAIL`, `.` for the end of a message), instead of the defaults.
    replies: HashMap<&'static str, &'static str>,
    /// The verb that gets no reply.
    silent_at: &'static str,
    /// Closes the connection after this number of mails.
    closes_after: Option<usize>,
    /// The verb and its reply after the first mail of a connection, which then ends. An empty reply closes without one.
    ends_at: Option<(&'static str, &'static str)>,
}

/// What a relay has received.
#[derive(Clone, Default)]
struct Seen {
    connections: Arc<AtomicUsize>,
    lines: Arc<Mutex<Vec<String>>>,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Seen {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    fn mails(&self) -> Vec<String> {
        self.mails.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn saw(&self, start: &str) -> bool {
        self.lines().iter().any(|line| line.starts_with(start))
    }
}

async fn relay(behaviour: Behaviour) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let shared = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (behaviour, seen) = (behaviour.clone(), shared.clone());
            seen.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                if behaviour.tls_from_the_start {
                    if let Ok(stream) = behaviour.acceptor.clone().unwrap().accept(stream).await {
                        let _ = converse(stream, &behaviour, &seen, true).await;
                    }
                } else if let Ok(Some(stream)) = converse(stream, &behaviour, &seen, false).await
                    && let Ok(stream) = behaviour.acceptor.clone().unwrap().accept(stream).await
                {
                    let _ = converse(stream, &Behaviour { no_ehlo: false, ..behaviour.clone() }, &seen, true).await;
                }
            });
        }
    });
    (port, seen)
}

/// Serves one connection until the client closes it; returns the stream after STARTTLS.
async fn converse<S>(stream: S, behaviour: &Behaviour, seen: &Seen, secure: bool) -> std::io::Result<Option<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let reply_to = |verb: &'static str, usual: &'static str| behaviour.replies.get(verb).copied().unwrap_or(usual);
    if !secure || behaviour.tls_from_the_start {
        stream.write_all(format!("{}\r\n", reply_to("GREETING", "220 relay.test ESMTP")).as_bytes()).await?;
    }
    let mut mails = 0;
    let mut line = String::new();
    while {
        line.clear();
        stream.read_line(&mut line).await?
    } > 0
    {
        seen.lines.lock().unwrap().push(line.trim_end().to_owned());
        let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
        if !verb.is_empty() && verb == behaviour.silent_at {
            std::future::pending::<()>().await;
        }
        if let Some((_, reply)) = behaviour.ends_at.filter(|(last, _)| mails > 0 && verb == *last) {
            if reply.is_empty() {
                return Ok(None);
            }
            stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
            return Ok(None);
        }
        let reply = match verb.as_str() {
            "EHLO" if behaviour.no_ehlo => "502 what".to_owned(),
            "EHLO" => {
                let mut lines = vec!["relay.test"];
                lines.extend(behaviour.extensions.iter().filter(|name| !(secure && **name == "STARTTLS")));
                let last = lines.len() - 1;
                let mark = |index| if index == last { ' ' } else { '-' };
                lines
                    .iter()
                    .enumerate()
                    .map(|(i, text)| format!("250{}{text}", mark(i)))
                    .collect::<Vec<_>>()
                    .join("\r\n")
            }
            "HELO" => "250 relay.test".to_owned(),
            "STARTTLS" if behaviour.acceptor.is_some() => {
                stream.write_all(format!("220 go\r\n{}", behaviour.injected).as_bytes()).await?;
                return Ok(Some(stream.into_inner()));
            }
            "AUTH" => reply_to("AUTH", "235 welcome").to_owned(),
            "AQ==" | "" => "535 5.7.3 token refused".to_owned(),
            "MAIL" => reply_to("MAIL", "250 ok").to_owned(),
            "RCPT" => reply_to("RCPT", "250 ok").to_owned(),
            "NOOP" | "RSET" => reply_to("NOOP", "250 ok").to_owned(),
            "DATA" => {
                let reply = reply_to("DATA", "354 go");
                if reply.starts_with("354") {
                    stream.write_all(b"354 go\r\n").await?;
                    let mut mail = Vec::new();
                    while !mail.ends_with(b"\r\n.\r\n") {
                        if stream.read_until(b'\n', &mut mail).await? == 0 {
                            return Ok(None);
                        }
                    }
                    if mails > 0 && behaviour.ends_at.is_some_and(|(last, _)| last == ".") {
                        seen.mails.lock().unwrap().push(String::from_utf8(mail).unwrap());
                        return Ok(None);
                    }
                    let reply = reply_to(".", "250 taken");
                    if reply.starts_with('2') {
                        seen.mails.lock().unwrap().push(String::from_utf8(mail).unwrap());
                    }
                    mails += 1;
                    reply.to_owned()
                } else {
                    reply.to_owned()
                }
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "500 what".to_owned(),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        if verb == "QUIT" || behaviour.closes_after == Some(mails) {
            return Ok(None);
        }
    }
    Ok(None)
}

/// A certificate authority with its certificate in a file.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: tempfile::NamedTempFile,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        Self { issuer, file }
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        self.acceptor_with(&params)
    }

    fn acceptor_with(&self, params: &CertificateParams) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

fn acceptor(certificate: CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn config(port: u16, tls: TlsMode) -> RawEmail {
    RawEmail {
        host: Some("localhost".into()),
        port,
        tls,
        helo_name: Some("id.example.org".into()),
        timeout: HumanDuration::from_secs(5),
        ..RawEmail::default()
    }
}

fn complete(raw: RawEmail) -> EmailConfig {
    let nowhere = std::path::Path::new("/nonexistent");
    raw.complete(nowhere, nowhere, Some("id.example.org")).unwrap()
}

fn mailer(config: RawEmail, authority: Option<&Authority>) -> Mailer {
    let extra_ca = authority.map(|authority| authority.file.path());
    Mailer::new(&complete(config), "id.example.org", extra_ca, Clock::system(), Random).unwrap()
}

fn mail(to: &str, body: &str) -> OutgoingMail {
    let message = format!("Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}");
    OutgoingMail { kind: MessageKind::Verification, from: "noreply@id.example.org".into(), to: to.into(), message }
}

async fn send_one(behaviour: Behaviour, tls: TlsMode, authority: Option<&Authority>) -> (Result<(), SendError>, Seen) {
    let (port, seen) = relay(behaviour).await;
    let sent = mailer(config(port, tls), authority).send(&mail("bob@example.com", "hi\r\n")).await;
    (sent, seen)
}

fn with(verb: &'static str, reply: &'static str) -> Behaviour {
    Behaviour { replies: HashMap::from([(verb, reply)]), ..Behaviour::default() }
}
