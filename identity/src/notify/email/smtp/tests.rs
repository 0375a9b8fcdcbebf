//! Tests of the SMTP client against a scripted relay on the loopback interface.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use shared::clock::{Clock, Timestamp};
use shared::config::HumanDuration;
use shared::random::Random;
use shared::secret::Secret;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::email::{AuthKind, EmailConfig, RawEmail, TlsMode};
use crate::notify::email::message::{MessageKind, OutgoingMail};
use crate::notify::email::{Mailer, Refusal, SendError};

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
async fn tls_in_both_ways_is_used_with_a_certificate_of_a_known_authority() {
    let authority = Authority::new();
    let acceptor = Some(authority.acceptor("localhost"));
    let starttls = Behaviour { acceptor: acceptor.clone(), extensions: &["STARTTLS"], ..Behaviour::default() };
    let (sent, seen) = send_one(starttls, TlsMode::Starttls, Some(&authority)).await;
    assert_eq!((sent, seen.mails().len()), (Ok(()), 1));
    assert_eq!(seen.lines()[..3], ["EHLO id.example.org", "STARTTLS", "EHLO id.example.org"]);
    let from_the_start = Behaviour { acceptor, tls_from_the_start: true, ..Behaviour::default() };
    let (sent, seen) = send_one(from_the_start, TlsMode::Tls, Some(&authority)).await;
    assert_eq!((sent, seen.mails().len()), (Ok(()), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_refused_before_anything_is_said() {
    let authority = Authority::new();
    let mut expired = CertificateParams::new(vec![String::from("localhost")]).unwrap();
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let own_key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec![String::from("localhost")]).unwrap().self_signed(&own_key).unwrap();
    let cases = [
        ("self-signed and not named", acceptor(own.der().clone(), &own_key)),
        ("another name", authority.acceptor("elsewhere.example")),
        ("a wildcard for another level", authority.acceptor("*.localhost")),
        ("expired", authority.acceptor_with(&expired)),
        ("another authority", Authority::new().acceptor("localhost")),
    ];
    for (case, acceptor) in cases {
        for tls in [TlsMode::Starttls, TlsMode::Tls] {
            let behaviour = Behaviour {
                acceptor: Some(acceptor.clone()),
                tls_from_the_start: tls == TlsMode::Tls,
                extensions: &["STARTTLS"],
                ..Behaviour::default()
            };
            let (sent, seen) = send_one(behaviour, tls, Some(&authority)).await;
            let Err(SendError::Refused(Refusal::Connect(detail))) = sent else { panic!("{case}: {sent:?}") };
            assert!(detail.contains("certificate"), "{case}: {detail}");
            assert!(!seen.saw("MAIL") && seen.mails().is_empty(), "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_that_the_operator_names_is_trusted_for_its_own_name() {
    for (name, is_ca, is_current, is_trusted) in [
        ("localhost", true, true, true),
        ("localhost", false, true, true),
        ("elsewhere.example", true, true, false),
        ("localhost", true, false, false),
    ] {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = if is_ca { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        if !is_current {
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let key = KeyPair::from_pem(&issuer.key().serialize_pem()).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(issuer.pem().as_bytes()).unwrap();
        let acceptor = acceptor(issuer.der().clone(), &key);
        let authority = Authority { issuer, file };
        for tls in [TlsMode::Starttls, TlsMode::Tls] {
            let behaviour = Behaviour {
                acceptor: Some(acceptor.clone()),
                tls_from_the_start: tls == TlsMode::Tls,
                extensions: &["STARTTLS"],
                ..Behaviour::default()
            };
            let (sent, _) = send_one(behaviour, tls, Some(&authority)).await;
            assert_eq!(sent.is_ok(), is_trusted, "{name}, CA: {is_ca}, current: {is_current}, {tls:?}: {sent:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_without_starttls_gets_no_login_and_no_mail() {
    let (port, seen) = relay(Behaviour { extensions: &["AUTH PLAIN LOGIN"], ..Behaviour::default() }).await;
    let login = (Some("user".into()), Some(Secret::new(String::from("hunter2"))));
    let config = RawEmail { username: login.0, password: login.1, ..config(port, TlsMode::Starttls) };
    let sent = mailer(config, None).send(&mail("bob@example.com", "hi\r\n")).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Connect(_)))), "{sent:?}");
    assert!(!seen.saw("MAIL") && !seen.saw("AUTH") && !seen.saw("HELO") && seen.mails().is_empty());
    // The same if it lists STARTTLS and then rejects it.
    let (sent, seen) =
        send_one(Behaviour { extensions: &["STARTTLS"], ..Behaviour::default() }, TlsMode::Starttls, None).await;
    assert_eq!(sent, Err(SendError::Refused(Refusal::Connect(String::from("reply 500")))));
    assert!(!seen.saw("MAIL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_text_that_was_slipped_in_before_tls_is_no_reply() {
    let authority = Authority::new();
    let behaviour = Behaviour {
        acceptor: Some(authority.acceptor("localhost")),
        extensions: &["STARTTLS"],
        injected: "250-relay.test\r\n250 AUTH PLAIN\r\n",
        ..Behaviour::default()
    };
    let (sent, seen) = send_one(behaviour, TlsMode::Starttls, Some(&authority)).await;
    assert!(matches!(sent, Err(SendError::Refused(Refusal::Connect(_)))), "{sent:?}");
    assert!(!seen.saw("MAIL"));
}

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
        let error =
            super::tests::mailer(raw(port), Some(&authority)).send(&mail("bob@example.com", "hi")).await.unwrap_err();
        assert_eq!(error.to_string(), "mail refused: login failed with reply 535 5.7.3");
        assert!(!seen.saw("MAIL"));
    }
    std::fs::write(token.path(), "two words").unwrap();
    let (port, seen) = relay(behaviour(&["STARTTLS", "AUTH XOAUTH2"])).await;
    let sent = super::tests::mailer(raw(port), Some(&authority)).send(&mail("bob@example.com", "hi")).await;
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
        let sent = super::tests::mailer(config, Some(&authority)).send(&mail("bob@example.com", "hi")).await;
        assert_eq!((sent.is_ok(), seen.saw("AUTH")), (is_good, is_good), "{command}: {sent:?}");
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
