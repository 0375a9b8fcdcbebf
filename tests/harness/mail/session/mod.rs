//! One SMTP session (RFC 5321, with STARTTLS of RFC 3207 and AUTH of RFC 4954).
//!
//! Invariant: the server accepts nothing that it did not offer, and nothing that a client sends out of turn.

mod login;

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Mail, Offer, Script, Shared, Stage, Tls};

/// RFC 5321, section 4.5.3.1.6, with the line end.
const LINE: usize = 1000;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

struct Session {
    stream: BufReader<Box<dyn Stream>>,
    shared: Arc<Shared>,
    offer: Offer,
    tls: bool,
    hello: Option<String>,
    extended: bool,
    user: Option<String>,
    envelope: Option<Envelope>,
}

struct Envelope {
    from: String,
    parameters: Vec<String>,
    to: Vec<String>,
}

/// The session has ended: the client or a script has closed the connection.
struct Over;

type Step = Result<(), Over>;

impl From<std::io::Error> for Over {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

pub(super) async fn run(stream: TcpStream, shared: Arc<Shared>) {
    let offer = shared.lock().offer.clone();
    let mut session = Session {
        stream: BufReader::new(Box::new(stream)),
        shared,
        offer,
        tls: false,
        hello: None,
        extended: false,
        user: None,
        envelope: None,
    };
    // Every session ends with this error; it needs no report.
    let Err(Over) = session.converse().await;
}

impl Session {
    async fn converse(&mut self) -> Result<std::convert::Infallible, Over> {
        if self.offer.tls == Tls::Implicit {
            self.start_tls().await?;
        }
        if self.scripted(Stage::Greeting).await? {
            return Err(Over);
        }
        self.say("220 mail.example ESMTP sink").await?;
        loop {
            let line = self.line().await?;
            let Ok(line) = String::from_utf8(line) else {
                self.say("500 5.5.2 not UTF-8").await?;
                continue;
            };
            let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
            let verb = verb.to_ascii_uppercase();
            let noted = if verb == "AUTH" { "AUTH".to_owned() } else { line.clone() };
            self.shared.lock().commands.push(noted);
            if !self.stream.buffer().is_empty() {
                // PIPELINING is never offered: a client that pipelines is out of step, or smuggles (RFC 3207, section 5).
                self.say("503 5.5.1 PIPELINING was not offered").await?;
                return Err(Over);
            }
            self.command(&verb, argument).await?;
        }
    }

    async fn command(&mut self, verb: &str, argument: &str) -> Step {
        match verb {
            "EHLO" | "HELO" => self.hello(verb, argument).await,
            "STARTTLS" => self.upgrade().await,
            "AUTH" => self.authenticate(argument).await,
            "MAIL" => self.mail(argument).await,
            "RCPT" => self.recipient(argument).await,
            "DATA" => self.data().await,
            "RSET" => {
                self.envelope = None;
                self.say("250 2.0.0 forgotten").await
            }
            "NOOP" => self.say("250 2.0.0 fine").await,
            "QUIT" => {
                self.say("221 2.0.0 bye").await?;
                Err(Over)
            }
            _ => self.say("500 5.5.1 unknown command").await,
        }
    }

    async fn hello(&mut self, verb: &str, name: &str) -> Step {
        if self.scripted(Stage::Hello).await? {
            return Ok(());
        }
        if name.trim().is_empty() {
            return self.say("501 5.5.4 a name, please").await;
        }
        self.extended = verb == "EHLO";
        if self.extended && !self.offer.ehlo {
            return self.say("502 5.5.1 EHLO is not known here").await;
        }
        self.hello = Some(name.trim().to_owned());
        self.envelope = None;
        let mut extensions = vec!["mail.example", "SIZE 10485760", "ENHANCEDSTATUSCODES"];
        if self.offer.tls == Tls::StartTls && !self.tls {
            extensions.push("STARTTLS");
        }
        if self.offer.credentials.is_some() && self.may_authenticate() {
            extensions.push("AUTH PLAIN LOGIN");
        }
        extensions.extend(self.offer.smtputf8.then_some("SMTPUTF8"));
        extensions.extend(self.offer.eight_bit_mime.then_some("8BITMIME"));
        let (last, lines) = extensions.split_last().expect("the name is always there");
        if !self.extended {
            return self.say("250 mail.example").await;
        }
        let mut reply: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
        reply.push_str(&format!("250 {last}"));
        self.say(&reply).await
    }

    async fn upgrade(&mut self) -> Step {
        if self.scripted(Stage::StartTls).await? {
            return Ok(());
        }
        if self.offer.tls != Tls::StartTls || self.tls {
            return self.say("502 5.5.1 STARTTLS was not offered").await;
        }
        self.say("220 2.0.0 go ahead").await?;
        self.start_tls().await?;
        // RFC 3207, section 4.2: the server discards the state from before TLS.
        (self.hello, self.extended, self.user, self.envelope) = (None, false, None, None);
        Ok(())
    }

    async fn start_tls(&mut self) -> Step {
        let config = Arc::clone(&self.shared.lock().certificate);
        let nothing: Box<dyn Stream> = Box::new(tokio::io::empty());
        let plain = std::mem::replace(&mut self.stream, BufReader::new(nothing)).into_inner();
        let stream = TlsAcceptor::from(config).accept(plain).await?;
        self.stream = BufReader::new(Box::new(stream));
        self.tls = true;
        Ok(())
    }

    async fn mail(&mut self, argument: &str) -> Step {
        if self.scripted(Stage::Mail).await? {
            return Ok(());
        }
        if self.hello.is_none() || self.envelope.is_some() {
            return self.say("503 5.5.1 out of order").await;
        }
        if self.offer.tls == Tls::StartTls && !self.tls {
            return self.say("530 5.7.0 STARTTLS first").await;
        }
        if self.offer.credentials.is_some() && self.user.is_none() {
            return self.say("530 5.7.0 AUTH first").await;
        }
        let Some((from, parameters)) = path(argument, "FROM:") else {
            return self.say("501 5.5.4 MAIL FROM:<address>").await;
        };
        let parameters: Vec<_> = parameters.split_whitespace().map(str::to_ascii_uppercase).collect();
        let offered = |parameter: &String| match parameter.as_str() {
            "SMTPUTF8" => self.offer.smtputf8,
            "BODY=8BITMIME" | "BODY=7BIT" => self.offer.eight_bit_mime,
            other => other.strip_prefix("SIZE=").is_some_and(|size| size.parse::<u64>().is_ok()),
        };
        if !self.extended && !parameters.is_empty() || !parameters.iter().all(offered) {
            return self.say("555 5.5.4 a parameter that was not offered").await;
        }
        if !from.is_ascii() && !parameters.iter().any(|parameter| parameter == "SMTPUTF8") {
            return self.say("550 5.6.7 an address that needs SMTPUTF8").await;
        }
        self.envelope = Some(Envelope { from: from.to_owned(), parameters, to: Vec::new() });
        self.say("250 2.1.0 from them, then").await
    }

    async fn recipient(&mut self, argument: &str) -> Step {
        if self.scripted(Stage::Recipient).await? {
            return Ok(());
        }
        let Some(envelope) = &mut self.envelope else { return self.say("503 5.5.1 MAIL first").await };
        let Some((to, "")) = path(argument, "TO:").filter(|(to, _)| !to.is_empty()) else {
            return self.say("501 5.5.4 RCPT TO:<address>").await;
        };
        if !to.is_ascii() && !envelope.parameters.iter().any(|parameter| parameter == "SMTPUTF8") {
            return self.say("553 5.6.7 an address that needs SMTPUTF8").await;
        }
        envelope.to.push(to.to_owned());
        self.say("250 2.1.5 to them, then").await
    }

    async fn data(&mut self) -> Step {
        if self.scripted(Stage::Data).await? {
            return Ok(());
        }
        let Some(envelope) = self.envelope.take_if(|envelope| !envelope.to.is_empty()) else {
            return self.say("503 5.5.1 RCPT first").await;
        };
        self.say("354 go on").await?;
        let mut raw = Vec::new();
        let mut problem = None;
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line).await?;
            let Some(content) = line.strip_suffix(b"\r\n") else {
                if !line.ends_with(b"\n") {
                    return Err(Over);
                }
                problem = Some("554 5.6.0 a line feed by itself");
                raw.extend_from_slice(&line);
                continue;
            };
            if content == b"." {
                break;
            }
            if line.len() > LINE {
                problem = Some("500 5.5.2 a line is too long");
            }
            raw.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let declared = ["SMTPUTF8", "BODY=8BITMIME"].iter().any(|p| envelope.parameters.iter().any(|q| q == p));
        if !raw.is_ascii() && !declared {
            problem = Some("554 5.6.3 8-bit content without a word about it");
        }
        if self.scripted(Stage::EndOfData).await? {
            return Ok(());
        }
        if let Some(problem) = problem {
            return self.say(problem).await;
        }
        let Envelope { from, parameters, to } = envelope;
        let hello = self.hello.clone().unwrap_or_default();
        let mail = Mail { hello, tls: self.tls, user: self.user.clone(), from, parameters, to, raw };
        // Recorded before the 250, so that a client that received it finds the mail.
        self.shared.lock().mails.push(mail);
        self.say("250 2.0.0 taken").await
    }

    /// Sends the scripted reply, if there is one.
    async fn scripted(&mut self, stage: Stage) -> Result<bool, Over> {
        let script = self.shared.lock().next_script(stage);
        match script {
            None => Ok(false),
            Some(Script::Say(line)) => self.say(&line).await.map(|()| true),
            Some(Script::Silence) => std::future::pending().await,
            Some(Script::Close) => Err(Over),
        }
    }

    async fn say(&mut self, line: &str) -> Step {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    async fn line(&mut self) -> Result<Vec<u8>, Over> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(content) if line.len() <= LINE => Ok(content.to_vec()),
            _ => Err(Over),
        }
    }
}

/// The address in `FROM:<address> parameters`, and the parameters.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let start = argument.get(..keyword.len()).filter(|start| start.eq_ignore_ascii_case(keyword))?;
    let rest = argument[start.len()..].trim_start().strip_prefix('<')?;
    let (address, parameters) = rest.split_once('>')?;
    (!address.contains(['<', ' '])).then_some((address, parameters.trim()))
}
