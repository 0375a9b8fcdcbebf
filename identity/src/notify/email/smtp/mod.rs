//! Mail to a relay by SMTP (RFC 5321), over connections that are kept for the next mail.
//!
//! Invariant: a connection goes back to the pool only after a complete conversation. lettre's own pool takes back one
//! whose conversation was cut by a timeout, and then each later reply is taken for the answer to the next question; so
//! only lettre's connection is used here, not its pool.

mod stream;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use parking_lot::{Mutex, MutexGuard};
use shared::outbound::connector::{Connector, Target};
use shared::outbound::failure::{ConnectError, Failure};
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::stream::{Hello, SmtpStream};
use super::message::OutgoingMail;
use super::{MailerError, Refusal, SendError, mime};
use crate::config::email::{Relay, TlsMode};

/// How many connections to the relay there may be at once.
const MAX_CONNECTIONS: usize = 10;
/// After this time without a mail a connection is not used again; relays close theirs after minutes.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long a kept connection may take to say that it still lives.
const PROBE: Duration = Duration::from_secs(2);

/// The way to one relay.
pub(super) struct Smtp {
    host: String,
    port: u16,
    /// `None` if the host is not a host name.
    target: Option<Target>,
    connector: Connector,
    tls: Tls,
    credentials: Option<Credentials>,
    hello_name: ClientId,
    timeout: Duration,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
    slots: Semaphore,
}

enum Tls {
    None,
    /// Required: without it the conversation ends before it began.
    Starttls(TlsParameters),
    Implicit,
}

impl Smtp {
    pub(super) fn new(relay: &Relay, timeout: Duration, extra_ca: Option<&Path>) -> Result<Self, MailerError> {
        let login = relay.login.as_ref();
        let credentials = login.map(|login| Credentials::new(login.username.clone(), login.password.expose().clone()));
        let plain = || (Target::tcp(&relay.host, relay.port), Connector::plain(timeout));
        let (tls, (target, connector)) = match relay.tls {
            TlsMode::None => (Tls::None, plain()),
            TlsMode::Starttls => (Tls::Starttls(tls_parameters(&relay.host, extra_ca)?), plain()),
            TlsMode::Tls => {
                let tls = shared::outbound::tls::client_config(extra_ca, true);
                let tls = tls.map_err(|error| MailerError::Tls(error.to_string()))?;
                let connector = Connector::new(Resolver::System, ProxyRule::default(), tls, timeout);
                (Tls::Implicit, (Target::tls(&relay.host, relay.port), connector))
            }
        };
        Ok(Self {
            host: relay.host.clone(),
            port: relay.port,
            target,
            connector,
            tls,
            credentials,
            hello_name: relay.helo_name.clone().map_or_else(ClientId::default, ClientId::Domain),
            timeout,
            idle: Mutex::default(),
            slots: Semaphore::new(MAX_CONNECTIONS),
        })
    }

    pub(super) fn describe(&self) -> String {
        let protection = match self.tls {
            Tls::None => "without TLS",
            Tls::Starttls(_) => "with STARTTLS",
            Tls::Implicit => "with TLS",
        };
        format!("SMTP through {}:{} {protection}", self.host, self.port)
    }

    /// Hands one mail to the relay.
    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        // All connections busy for so long is the relay's pace, not the mail's fault.
        let Ok(Ok(_slot)) = timeout(self.timeout, self.slots.acquire()).await else {
            return Err(SendError::TryLater { code: None });
        };
        let mut connection = match self.kept().await {
            Some(connection) => connection,
            None => timeout(self.timeout, self.connect())
                .await
                .unwrap_or_else(|_| Err(SendError::Refused(Refusal::Connect(String::from("timed out")))))?,
        };
        match timeout(self.timeout, converse(&mut connection, mail)).await {
            Ok(Ok(())) => {
                self.idle().push((connection, Instant::now()));
                Ok(())
            }
            Ok(Err(error)) => {
                // To say goodbye is polite, to wait for the answer is not needed.
                tokio::spawn(timeout(PROBE, async move { connection.abort().await }));
                Err(error)
            }
            Err(_) => Err(SendError::Refused(Refusal::Broken)),
        }
    }

    /// A connection that is left from an earlier mail and still answers.
    async fn kept(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (mut connection, since) = self.idle().pop()?;
            if since.elapsed() < MAX_IDLE && timeout(PROBE, connection.test_connected()).await == Ok(true) {
                return Some(connection);
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(AsyncSmtpConnection, Instant)>> {
        self.idle.lock()
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SendError> {
        let mut connection = match self.greet(Hello::Ehlo).await {
            // RFC 5321 section 3.2: a server that does not know EHLO is greeted with HELO. It knows no STARTTLS and no
            // login either, so this helps only where neither is asked for.
            Err(error) if does_not_know_ehlo(&error) && matches!(self.tls, Tls::None) && self.credentials.is_none() => {
                self.greet(Hello::Helo).await
            }
            greeted => greeted,
        }
        .map_err(|error| failure(&error, |error, code| Refusal::Connect(connect_detail(error, code))))?;
        if let Some(credentials) = &self.credentials {
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], credentials)
                .await
                .map_err(|error| failure(&error.into(), |_, code| Refusal::Login(code)))?;
        }
        Ok(connection)
    }

    /// Opens a connection up to the server's answer to our name, under TLS if that is asked for.
    async fn greet(&self, hello: Hello) -> Result<AsyncSmtpConnection, Greeting> {
        let target = self.target.as_ref().ok_or(ConnectError::from(Failure::Dns))?;
        let stream = self.connector.connect(target).await?;
        let stream = Box::new(SmtpStream::new(stream, hello));
        let mut connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello_name).await?;
        if let Tls::Starttls(parameters) = &self.tls {
            connection.starttls(parameters.clone(), &self.hello_name).await?;
        }
        Ok(connection)
    }
}

/// Why no conversation came about.
#[derive(Debug, thiserror::Error)]
enum Greeting {
    #[error("{0}")]
    Network(#[from] ConnectError),
    #[error("{0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

/// One mail from MAIL to the final reply. Commands are sent one by one, and not by lettre's `send`, because that says
/// QUIT after a refusal and waits for the answer, and a slow answer would hide whether the refusal was for good.
async fn converse(connection: &mut AsyncSmtpConnection, mail: &OutgoingMail) -> Result<(), SendError> {
    let knows = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    if !mail.to.is_ascii() || !mail.from.is_ascii() {
        if !knows(Extension::SmtpUtfEight) {
            return Err(SendError::ImpossibleAddress);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let mut message = std::borrow::Cow::Borrowed(mail.message.as_str());
    if !message.is_ascii() && !knows(Extension::EightBitMime) && parameters.is_empty() {
        message = mime::transportable(&message, false).into();
    }
    if !message.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let broken = |error: lettre::transport::smtp::Error| {
        failure(&Greeting::Smtp(error), |_, code| code.map_or(Refusal::Broken, Refusal::Reply))
    };
    connection.command(Mail::new(Some(envelope_address(&mail.from)?), parameters)).await.map_err(broken)?;
    connection.command(Rcpt::new(envelope_address(&mail.to)?, Vec::new())).await.map_err(broken)?;
    let go_ahead = connection.command(Data).await.map_err(broken)?;
    if !go_ahead.has_code(354) {
        return Err(SendError::Refused(Refusal::Broken));
    }
    // lettre ends the message with a line end of its own.
    let text = message.strip_suffix("\r\n").unwrap_or(&message);
    let taken = connection.message(text.as_bytes()).await.map_err(broken)?;
    if taken.code().severity == lettre::transport::smtp::response::Severity::PositiveCompletion {
        Ok(())
    } else {
        Err(SendError::Refused(Refusal::Broken))
    }
}

fn envelope_address(address: &str) -> Result<Address, SendError> {
    // A mail from a queue is checked again: what it was built from was checked by another process, maybe another version.
    let address = super::address::sendable(address).ok_or(SendError::ImpossibleAddress)?;
    let (local, domain) = address.rsplit_once('@').ok_or(SendError::ImpossibleAddress)?;
    Ok(Address::new_dangerous(local, domain))
}

/// What a failure means: 4xx is for later, all else for good. The server's own words may name the address and are
/// dropped; `refusal` says what was refused, from the failure and its reply code, if it has one.
fn failure(error: &Greeting, refusal: impl FnOnce(&Greeting, Option<u16>) -> Refusal) -> SendError {
    let Greeting::Smtp(smtp) = error else { return SendError::Refused(refusal(error, None)) };
    match smtp.status().map(u16::from) {
        Some(code) if smtp.is_transient() => SendError::TryLater { code: Some(code) },
        code => SendError::Refused(refusal(error, code)),
    }
}

/// Before a mail is begun no reply can name anybody, and certificates and names are what an operator needs to see.
fn connect_detail(error: &Greeting, code: Option<u16>) -> String {
    match (error, code) {
        (_, Some(code)) => format!("reply {code}"),
        (Greeting::Smtp(smtp), None) if smtp.is_response() => String::from("the server does not speak SMTP"),
        (error, None) => error.to_string(),
    }
}

fn does_not_know_ehlo(error: &Greeting) -> bool {
    // RFC 5321 section 4.1.4 names these four.
    let Greeting::Smtp(smtp) = error else { return false };
    smtp.status().is_some_and(|code| matches!(u16::from(code), 500 | 501 | 502 | 504 | 550))
}

fn tls_parameters(host: &str, extra_ca: Option<&Path>) -> Result<TlsParameters, MailerError> {
    let wrong = |error: lettre::transport::smtp::Error| MailerError::Tls(error.to_string());
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = extra_ca {
        let pem = std::fs::read(path).map_err(|source| MailerError::Unreadable { path: path.to_path_buf(), source })?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem).map_err(wrong)?);
    }
    builder.build().map_err(wrong)
}
