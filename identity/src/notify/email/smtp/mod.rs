//! Sends mail to a relay by SMTP (RFC 5321) over pooled connections.
//!
//! Invariant: a connection returns to the pool only after a complete mail transaction. lettre's own pool keeps a
//! connection whose transaction timed out, and then matches each late reply to the next command. So this module uses
//! lettre's connection without its pool.

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

/// The maximum number of open connections to the relay.
const MAX_CONNECTIONS: usize = 10;
/// An idle connection is not used again after this time; relays close idle connections after minutes.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long the relay may take to answer a NOOP.
const PROBE: Duration = Duration::from_secs(2);

/// The client of one relay.
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
    /// Required: without STARTTLS no mail is sent.
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

    /// Sends one mail to the relay.
    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        // If all connections stay busy, the relay is slow; the mail is not at fault.
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
                // Sends QUIT without waiting for the reply.
                tokio::spawn(timeout(PROBE, async move { connection.abort().await }));
                Err(error)
            }
            Err(_) => Err(SendError::Refused(Refusal::Broken)),
        }
    }

    /// An idle connection that still answers a NOOP.
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
            // RFC 5321 section 3.2: after a rejected EHLO the client sends HELO. Such a relay supports neither STARTTLS
            // nor AUTH, so this applies only if the configuration requires neither.
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

    /// Opens a connection and sends EHLO or HELO, under TLS if the configuration requires it.
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

/// Why a connection failed before the first mail.
#[derive(Debug, thiserror::Error)]
enum Greeting {
    #[error("{0}")]
    Network(#[from] ConnectError),
    #[error("{0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
}

/// Runs one mail transaction, from MAIL to the final reply. It does not use lettre's `send`, which sends QUIT after a
/// rejection and waits for the reply: a slow reply would hide whether the rejection was permanent.
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
    // lettre appends a line end to the message.
    let text = message.strip_suffix("\r\n").unwrap_or(&message);
    let taken = connection.message(text.as_bytes()).await.map_err(broken)?;
    if taken.code().severity == lettre::transport::smtp::response::Severity::PositiveCompletion {
        Ok(())
    } else {
        Err(SendError::Refused(Refusal::Broken))
    }
}

fn envelope_address(address: &str) -> Result<Address, SendError> {
    // A queued mail is checked again: another process, maybe of another version, checked its parts.
    let address = super::address::sendable(address).ok_or(SendError::ImpossibleAddress)?;
    let (local, domain) = address.rsplit_once('@').ok_or(SendError::ImpossibleAddress)?;
    Ok(Address::new_dangerous(local, domain))
}

/// Converts a failure: 4xx is temporary, every other failure permanent. The relay's text may contain the address, so it
/// is discarded; `refusal` makes the kind of rejection from the failure and its reply code.
fn failure(error: &Greeting, refusal: impl FnOnce(&Greeting, Option<u16>) -> Refusal) -> SendError {
    let Greeting::Smtp(smtp) = error else { return SendError::Refused(refusal(error, None)) };
    match smtp.status().map(u16::from) {
        Some(code) if smtp.is_transient() => SendError::TryLater { code: Some(code) },
        code => SendError::Refused(refusal(error, code)),
    }
}

/// The detail for the operator. Before MAIL no reply can contain an address.
fn connect_detail(error: &Greeting, code: Option<u16>) -> String {
    match (error, code) {
        (_, Some(code)) => format!("reply {code}"),
        (Greeting::Smtp(smtp), None) if smtp.is_response() => String::from("the server does not speak SMTP"),
        (error, None) => error.to_string(),
    }
}

fn does_not_know_ehlo(error: &Greeting) -> bool {
    // RFC 5321 section 4.1.4 lists these codes.
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
